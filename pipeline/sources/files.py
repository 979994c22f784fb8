"""What reading any file needs: opening it, and saying in words what is wrong with it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, cast

import pyarrow as pa

from pipeline.errors import UnreachableError, UserError
from pipeline.files import storage

_NO_TABLE = {
    b"PK\x03\x04": "is a ZIP archive, or a workbook of Excel, which is one: unpack it, or save the "
    "sheet as CSV.",
    b"\xd0\xcf\x11\xe0": "is a file of Microsoft Office: save the sheet as CSV.",
    b"BZh": "is packed by bzip2: unpack it, or pack it by gzip or zstd.",
    b"\xfd7zXZ": "is packed by xz: unpack it, or pack it by gzip or zstd.",
    b"7z\xbc\xaf": "is a 7-Zip archive: unpack it.",
    b"%PDF": "is a PDF document: export its table as CSV.",
    b"SQLite format 3": "is an SQLite database: name it as sqlite:///FILE, with a query.",
    b"ARROW1": "is an Arrow file: write it as Parquet.",
    b"ORC": "is an ORC file: write it as Parquet.",
    b"Obj\x01": "is an Avro file: write it as Parquet.",
    b"PAR1": "is a Parquet file: end its name in .parquet, or say --format parquet.",
}
"""What files that hold no text begin with, and what to say of each."""
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def open_binary(file: str) -> IO[bytes]:
    """`file`, opened for reading, wherever it lies."""
    if storage.is_remote(file):
        with storage.in_words(file):
            store, path = storage.at(file)
            return cast(IO[bytes], store.open_input_file(path))
    return Path(file).open("rb")


def open_unpacked(stream: IO[bytes], file: str) -> IO[bytes]:
    """What `stream`, opened on `file`, holds: unpacked where it is gzipped or packed by zstd.

    Raises:
        UserError: it begins as files do that hold no text.
    """
    begin = stream.read(16)
    stream.seek(0)
    for magic, meaning in _NO_TABLE.items():
        if begin.startswith(magic):
            raise UserError(f"{file} {meaning}")
    for magic, packing in _PACKED.items():
        if begin.startswith(magic):
            return cast(IO[bytes], pa.CompressedInputStream(stream, packing))
    return stream


def unpacked_name(file: str) -> str:
    """The name of a file in lower case, without what tells how it is packed."""
    name = file.lower()
    for packed in (".gz", ".zst", ".zstd"):
        name = name.removesuffix(packed)
    return name


@contextmanager
def damage_in_words(file: str, known: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Turns what a reader raises on a file that it cannot read into words.

    Args:
        file: what is read.
        known: what to say of the file where the reader's words hold a key.

    Raises:
        UnreachableError: the system could not read it; what it holds may be right.
        UserError: it does not hold what it should.
    """
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
        cause = str(error).strip().partition("\n")[0].rstrip(".")
        for words, meaning in known.items():
            if words in cause:
                raise UserError(f"{file} {meaning}") from error
        if isinstance(error, OSError) and error.errno is not None:  # A reader's own have none.
            raise UnreachableError(f"{file} cannot be read: {cause}.") from error
        raise UserError(
            f"{file} cannot be read: {cause}. The file may be damaged or cut short (compare its "
            "size with the original), or be no such file as its name says."
        ) from error


def check_columns(file: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Sees to it that `file`, whose columns are `found`, has each of the `wanted` once.

    Raises:
        UserError: if a column is missing or is there more than once.
    """
    times = Counter(found)
    for name in wanted:
        if times[name] > 1:
            raise UserError(
                f"{file} has the column {name!r} {times[name]} times, expected once. "
                "Rename or remove the others."
            )
        if times[name] == 0:
            close = difflib.get_close_matches(name, found, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UserError(
                f"{file} has no column {name!r}, which is to be ingested.{hint} "
                f"It has: {', '.join(map(repr, found))}. Correct the name in the configuration and "
                "the schema, or add the column to the file."
            )
