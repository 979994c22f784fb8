"""What reading any file needs: opening it, and saying in words what is wrong with it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO

import pyarrow as pa
from tfx.dsl.io import fileio

from pipeline.errors import UnreachableError, UserError


def open_binary(file: str) -> IO[bytes]:
    """`file`, opened for reading, wherever it lies."""
    return fileio.open(file, "rb") if "://" in file else Path(file).open("rb")


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
        cause = str(error).strip().partition("\n")[0]
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
