"""The driver of TabularExampleGen: TFX's own, which finds the span, with its errors in words."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tfx.components.example_gen import driver, input_processor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2, range_config_pb2

from custom_components.example_gen.files import damage_in_words
from custom_components.example_gen.spans import spans_there
from pipeline.errors import UserError


class Driver(driver.FileBasedDriver):
    """Resolves the span to ingest and fingerprints its files, before the cache is asked.

    A driver decides what an execution is about; what it puts in the execution properties becomes
    part of the cache key. TFX's does all that is needed here, so it is only taught to explain.
    """

    def get_input_processor(
        self,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
        input_base_uri: str | None = None,
    ) -> input_processor.InputProcessor:
        """The processor that knows spans."""
        return SpanProcessor(input_base_uri, splits, range_config)


class SpanProcessor(input_processor.FileBasedInputProcessor):
    """Finds the span that the range config asks for, or the latest."""

    def resolve_span_and_version(self) -> tuple[int, int | None]:
        """The span and, where the pattern has one, its latest version.

        Raises:
            UserError: if no file is there, or a file's name has no number where the span should be.
        """
        try:
            span, version = super().resolve_span_and_version()
        except ValueError as error:
            # What TFX says when nothing matches says no more than the sentence here.
            cause = "" if "Cannot find matching" in str(error) else f" ({error})"
            raise UserError(self._not_found(cause)) from error
        if not self._files(span, version):
            raise UserError(self._not_found(""))
        return span, version

    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        """Names, sizes and times of the span's files: what changes when they do.

        TFX's takes times to the second, so that an edit right after a run would go unseen.
        """
        return "\n".join(map(self._stamp, sorted(self._files(span, version))))

    def _stamp(self, file: str) -> str:
        name = file.removeprefix(self._base)
        if "://" in file:
            remote = fileio.stat(file)
            return f"{name} {remote.length} {remote.mtime_nsec}"
        with damage_in_words(file):
            local = Path(file).stat()
        return f"{name} {local.st_size} {local.st_mtime_ns}"

    @property
    def _base(self) -> str:
        base: str = os.path.join(self._input_base_uri, "")  # noqa: PTH118 (it may be a URL)
        return base

    @property
    def _pattern(self) -> str:
        pattern: str = next(iter(self._splits)).pattern
        return pattern

    def _files(self, span: int, version: int | None) -> list[str]:
        pattern = self.get_pattern_for_span_version(self._pattern, span, version)
        files: list[str] = fileio.glob(self._base + pattern)
        return files

    def _not_found(self, cause: str) -> str:
        wanted = "the latest span"
        if self._range_config and self._range_config.HasField("static_range"):
            wanted = f"span {self._range_config.static_range.start_span_number}"
        spans = ", ".join(spans_there(self._base, self._pattern))
        there = f"Spans there: {spans}" if spans else "No file there fits the pattern"
        return (
            f"Cannot find {wanted} below {self._base} by the pattern {self._pattern!r}{cause}. "
            f"{there}. Check data.path, data.pattern and data.span."
        )
