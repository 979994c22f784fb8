"""The newest whole version of a serving folder, loaded; the next one takes over by itself."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from models import features, manifest
from models.manifest import Manifest
from pipeline.errors import UserError
from pipeline.files import storage

if TYPE_CHECKING:
    from models.bundle import Bundle

MOST_CHOICES = 500
"""Of a column with more values none are offered."""


@dataclass(frozen=True)
class Served:
    """A version of the model, loaded.

    Attributes:
      version: the name of its folder.
      bundle: what is asked.
      choices: values that training has met, by column, where they are few.
    """

    version: str
    bundle: Bundle
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class ServingFolder:
    """The newest whole version in a serving folder; when a newer one is there, that takes over.

    The folder may lie on an object store: then a version is copied to this machine and loaded.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self.served: Served | None = None
        self._said: set[str] = set()

    def refresh(self) -> None:
        """Loads a newer version if there is one; what is served stays until that can answer."""
        for version in self._versions():
            if self.served is not None and self.served.version == version:
                return
            if self._load(version):
                return

    def _versions(self) -> list[str]:
        """The numbered folders, the newest first."""
        try:
            if storage.is_remote(self.location):
                files = [entry.name.split("/") for entry in storage.entries(self.location)]
                names = {file[0] for file in files if file[1:] == [manifest.FILE]}  # The last one.
            else:
                names = {folder.name for folder in Path(self.location).iterdir()}
        except FileNotFoundError:  # Nothing has been pushed yet.
            return []
        except (OSError, UserError) as error:
            self._say_once(f"{self.location} cannot be read: {error}")
            return []
        return sorted(filter(str.isdecimal, names), key=int, reverse=True)

    def _load(self, version: str) -> bool:
        from models.bundle import Bundle

        try:
            with tempfile.TemporaryDirectory() as copy:
                folder = Path(self.location, version)
                if storage.is_remote(self.location):
                    folder = Path(copy, version)
                    storage.download(f"{self.location}/{version}", folder)
                bundle = Bundle.load(folder)
                bundle.predict([bundle.manifest.example])  # The first answer is the slow one.
                known = choices(folder, bundle.manifest)
        except Exception as error:  # It is tried again: perhaps its files are still being copied.
            reason = str(error) if isinstance(error, UserError) else repr(error)
            self._say_once(f"version {version} is not served: {reason}")
            return False
        self.served = Served(version, bundle, known)
        say(f"version {version} is served ({bundle.manifest.framework})")
        return True

    def _say_once(self, words: str) -> None:
        if words not in self._said:
            self._said.add(words)
            say(words)


def say(words: str) -> None:
    """Tells whoever reads the server's log."""
    print(words, file=sys.stderr, flush=True)


def choices(folder: Path, model: Manifest) -> dict[str, tuple[str, ...]]:
    """The values of each categorical column, the most frequent first, where they are few.

    They are the vocabularies in a bundle's transform graph. Those of texts, which hold words, are
    told by an example that is none of theirs.
    """
    found = {}
    for column in model.inputs:
        files = folder.rglob(f"assets/{features.vocabulary(column)}")
        for file in list(files)[:1]:
            values = tuple(file.read_text(errors="replace").splitlines())
            example = model.example.get(column)
            if len(values) <= MOST_CHOICES and (example is None or str(example) in values):
                found[column] = values
    return found
