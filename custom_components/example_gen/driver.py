"""The driver of TabularExampleGen: TFX's own, which finds the span, with its errors in words."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfx.components.example_gen import driver, input_processor
from tfx.dsl.io import fileio
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2, range_config_pb2

from custom_components.example_gen.settings import SETTINGS_KEY, IngestSettings
from custom_components.example_gen.spans import spans_there, with_span
from pipeline.data_config import ONLY_SPAN
from pipeline.errors import UserError
from pipeline.sources.files import damage_in_words


class Driver(driver.FileBasedDriver):
    """Resolves the span to ingest and fingerprints its rows, before the cache is asked.

    A driver decides what an execution is about; what it puts in the execution properties becomes
    part of the cache key. TFX's does all that files need, so it is only taught to explain. The rows
    of a query are written to files first, in a folder that is named by their content.
    """

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """The properties with the span's number, its files and their fingerprint."""
        self._settings = IngestSettings.model_validate_json(exec_properties[SETTINGS_KEY])
        resolved: dict[str, Any] = super().resolve_exec_properties(
            exec_properties, pipeline_info, component_info
        )
        return resolved

    def get_input_processor(
        self,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
        input_base_uri: str | None = None,
    ) -> input_processor.InputProcessor:
        """The processor that knows spans of files, or the one that asks a database."""
        assert input_base_uri
        if self._settings.query:
            return QueryProcessor(self._settings, input_base_uri, splits, range_config)
        return SpanProcessor(input_base_uri, splits, range_config)


class SpanProcessor(input_processor.FileBasedInputProcessor):
    """Finds the span that the range config asks for, or the latest."""

    def __init__(
        self,
        input_base_uri: str,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
    ):
        """Takes what TFX's takes; a range without {SPAN} in the pattern, too."""
        self._asked = _asked(range_config)
        self._has_spans = "{SPAN" in next(iter(splits)).pattern
        super().__init__(input_base_uri, splits, range_config if self._has_spans else None)

    def resolve_span_and_version(self) -> tuple[int, int | None]:
        """The span and, where the pattern has one, its latest version.

        Raises:
            UserError: if no file is there, or a file's name has no number where the span should be.
        """
        if not self._has_spans and self._asked not in (None, ONLY_SPAN):
            raise UserError(self._not_found(""))
        try:
            span, version = super().resolve_span_and_version()
        except ValueError as error:
            # What TFX says when nothing matches says no more than the sentence here.
            nothing = "Cannot find matching", "does not match any files"
            cause = "" if any(words in str(error) for words in nothing) else f" ({error})"
            raise UserError(self._not_found(cause)) from error
        span = span if self._has_spans else ONLY_SPAN
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
        wanted = "the latest span" if self._asked is None else f"span {self._asked}"
        spans = ", ".join(spans_there(self._base, self._pattern))
        there = f"Spans there: {spans}" if spans else "No file there fits the pattern"
        return (
            f"Cannot find {wanted} below {self._base} by the pattern {self._pattern!r}{cause}. "
            f"{there}. Check data.path, data.pattern and data.span."
        )


class QueryProcessor(input_processor.InputProcessor):
    """Asks a database for the rows of a span, and keeps them as Parquet."""

    def __init__(
        self,
        settings: IngestSettings,
        folder: str,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
    ):
        """Takes the query from `settings`; its rows are kept below `folder`."""
        super().__init__(splits, range_config)
        self._settings, self._folder = settings, folder
        self._asked = _asked(range_config)
        self._digest = ""

    def resolve_span_and_version(self) -> tuple[int, None]:
        """The span that is asked for: a database cannot be asked which there are."""
        return ONLY_SPAN if self._asked is None else self._asked, None

    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        """The digest of the rows, whatever their order; they are kept when this returns.

        Raises:
            UserError: if the database cannot be asked, or has no rows.
        """
        from pipeline.sources.kept import keep  # SQLAlchemy takes its time.

        assert self._settings.database and self._settings.query
        query = with_span(self._settings.query, span)
        self._digest = keep(self._settings.database, query, self._folder)
        return self._digest

    def get_pattern_for_span_version(self, pattern: str, span: int, version: int | None) -> str:
        """The files with the rows."""
        return f"{self._digest}/{pattern}"

    def get_latest_span(self) -> int:
        """The only one."""
        return ONLY_SPAN


def _asked(range_config: range_config_pb2.RangeConfig | None) -> int | None:
    """The span that a range of one names."""
    if range_config and range_config.HasField("static_range"):
        return int(range_config.static_range.start_span_number)
    return None
