"""What tells that the files of raw rows have changed, without reading them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.data_config import FileFormat
from pipeline.files import storage
from pipeline.sources import places


def stamps(patterns: Iterable[str], format: FileFormat | None) -> str:
    """Name, size and time of change of each file, a line each.

    Args:
      patterns: each a file, a folder or a glob.
      format: of the files, where their names do not tell it.

    Raises:
      UserError: a pattern names no file.
    """
    found = [places.find(pattern, format) for pattern in patterns]
    return "\n".join(_stamp(file) for place in found for file in place.files)


def _stamp(file: str) -> str:
    if storage.is_remote(file):
        with storage.in_words(file):
            store, path = storage.at(file)
            info = store.get_file_info(path)
        return f"{file} {info.size} {info.mtime_ns}"
    local = Path(file).stat()
    return f"{file} {local.st_size} {local.st_mtime_ns}"
