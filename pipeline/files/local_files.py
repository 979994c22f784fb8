"""Lets TFX's `fileio` reach files of this machine without TensorFlow, and with the same answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.dsl.io.filesystem import NotFoundError
from tfx.dsl.io.filesystem_registry import DEFAULT_FILESYSTEM_REGISTRY
from tfx.dsl.io.plugins.local import LocalFilesystem

_PRIORITY = 5  # TensorFlow's is 10; the lower one goes first.


def register() -> None:
    """Has TFX use it in this process, from now on."""
    DEFAULT_FILESYSTEM_REGISTRY.register(LocalFiles, priority=_PRIORITY)


@dataclass(frozen=True)
class FileStatistics:
    """What TFX asks of a file: its bytes, and when it was written; TensorFlow's names."""

    length: int
    mtime_nsec: int
    is_directory: bool


class LocalFiles(LocalFilesystem):
    """TFX's own, which it uses where TensorFlow is not installed, made to answer as TensorFlow's.

    Text is UTF-8 whatever the locale, line ends are left alone, and `stat` has TensorFlow's names.
    """

    @staticmethod
    def open(name: str | bytes, mode: str = "r") -> Any:
        """A file: text, or bytes where the mode says so."""
        file = Path(_text(name))
        try:
            return (
                file.open(mode) if "b" in mode else file.open(mode, encoding="utf-8", newline="\n")
            )
        except FileNotFoundError as error:
            raise NotFoundError(str(error)) from error

    @staticmethod
    def stat(path: str | bytes) -> FileStatistics:
        """Its size and time."""
        file = Path(_text(path))
        try:
            status = file.stat()
        except FileNotFoundError as error:
            raise NotFoundError(str(error)) from error
        return FileStatistics(status.st_size, status.st_mtime_ns, file.is_dir())


def _text(path: str | bytes) -> str:
    return path.decode() if isinstance(path, bytes) else path
