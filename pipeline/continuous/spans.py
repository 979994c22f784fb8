"""Which spans have come, whole, and whether one came before: by looking where the data is."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import PipelineConfig
from pipeline.data_config import ONLY_SPAN
from pipeline.errors import UserError
from pipeline.files import storage

_SPAN = re.compile(r"\{SPAN(?::\d+)?\}")
_VERSION = re.compile(r"\{VERSION(?::\d+)?\}")
_CHUNK = 1 << 20

Listing = tuple[tuple[str, int, int], ...]
"""The files of a span: name below the data's folder, bytes, time of change in nanoseconds."""


@dataclass(frozen=True)
class Arrival:
    """A span that is there."""

    span: int
    listing: Listing
    complete: bool
    """Whether nothing more is expected to come."""

    @property
    def digest(self) -> str:
        """SHA-256 of the listing."""
        return hashlib.sha256(repr(self.listing).encode()).hexdigest()


class Watch:
    """Looks at the folder again and again, and remembers since when it looks as it does."""

    def __init__(self, config: PipelineConfig, clock: Callable[[], float]) -> None:
        """Takes the time in seconds from `clock`, which never goes back."""
        if config.data.query:
            raise UserError(
                "data.query: the policy looks at files as they come, and a database does not say "
                "when it has new rows. Run the pipeline by a clock, or have the rows written to "
                "files: data.path"
            )
        self._folder = config.data_folder
        before, *after = _SPAN.split(_VERSION.sub("*", config.data.pattern))
        self._name = re.compile(
            _regex(before) + "".join(f"(?P<span>[0-9]+){_regex(part)}" for part in after)
        )
        self._marker = config.continuous.marker
        self._rest = config.continuous.rest_seconds
        self._clock = clock
        self._since: dict[int, tuple[Listing, float]] = {}
        self._contents: dict[Listing, str] = {}

    def look(self) -> list[Arrival]:
        """The spans that are there now, in their order.

        Raises:
          UserError: there is no such folder, or the object store cannot be asked.
        """
        names: set[str] = set()
        files: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
        for name, length, changed in self._entries():
            names.add(name)
            if found := self._name.fullmatch(name):
                span = int(found["span"]) if self._name.groups else ONLY_SPAN
                files[span].append((name, length, changed))
        return [self._arrival(span, tuple(sorted(files[span])), names) for span in sorted(files)]

    def _arrival(self, span: int, listing: Listing, names: set[str]) -> Arrival:
        before, since = self._since.get(span, (None, 0.0))
        if before != listing:
            since = self._clock()
            self._since[span] = listing, since
        if self._marker:
            folders = {name.rpartition("/")[0] for name, _, _ in listing}
            complete = all(f"{folder}/{self._marker}".lstrip("/") in names for folder in folders)
        else:
            complete = self._clock() - since >= self._rest
        return Arrival(span, listing, complete)

    def content(self, arrival: Arrival) -> str:
        """SHA-256 of the span's files: the same for what is delivered twice, whenever it is.

        The files are read, in a bucket too: what S3 calls a file's ETag depends on how it was
        uploaded and encrypted, so the same rows sent again would look like others.

        Raises:
          UserError: a file cannot be read.
        """
        if arrival.listing not in self._contents:
            sha = hashlib.sha256()
            for name, length, _ in arrival.listing:
                sha.update(f"{name}\0{length}\0".encode())
                try:
                    for chunk in self._chunks(name):
                        sha.update(chunk)
                except OSError as error:
                    reason = error.strerror or "it went away"
                    raise UserError(f"{self._folder}/{name} cannot be read: {reason}") from None
            self._contents[arrival.listing] = sha.hexdigest()
        return self._contents[arrival.listing]

    def _chunks(self, name: str) -> Iterator[bytes]:
        if storage.is_remote(self._folder):
            yield from storage.chunks(f"{self._folder}/{name}")
            return
        with (Path(self._folder) / name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def _entries(self) -> Iterator[tuple[str, int, int]]:
        if storage.is_remote(self._folder):
            for entry in storage.entries(self._folder):
                if not entry.is_folder:
                    yield entry.name, entry.length, entry.mtime_nsec
            return
        folder = Path(self._folder)
        if not folder.is_dir():
            raise UserError(
                f"data.path: there is no folder {folder}; expected the one with the spans' files"
            )
        for file in folder.rglob("*"):
            try:
                facts = file.stat()
            except FileNotFoundError:  # It went as we looked.
                continue
            if file.is_file():
                yield file.relative_to(folder).as_posix(), facts.st_size, facts.st_mtime_ns


def _regex(glob: str) -> str:
    """What a glob's * and ? match, as a regular expression."""
    return re.escape(glob).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
