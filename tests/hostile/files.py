"""Files and folders that are no table to learn from, and the sentence that each of them gets."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HEADER = "day,temp,town,late"


def good(rows: int = 120, header: str = HEADER) -> list[str]:
    """Lines of CSV from which anyone could learn."""
    towns = ("Ulm", "Bonn", "Kiel")
    return [header] + [
        f"d{row % 9},{row * 7 % 31}.5,{towns[row % 3]},{int(row * 7 % 31 > 15)}"
        for row in range(rows)
    ]


def text(lines: Sequence[str], encoding: str = "utf-8", end: str = "\n") -> bytes:
    """Lines as a file holds them."""
    return "".join(line + end for line in lines).encode(encoding)


def changed(row: int, line: str) -> bytes:
    """A good file with another line as its row, the header being row 1."""
    lines = good()
    lines[row - 1] = line
    return text(lines)


def parquet(columns: dict[str, Any]) -> bytes:
    """A Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


def archive(name: str) -> bytes:
    """A ZIP archive with a file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr(name, "x" * 99)
    return packed.getvalue()


def labels(values: Sequence[str]) -> bytes:
    """A good file but for its labels."""
    rows = [line.rpartition(",")[0] for line in good(len(values))[1:]]
    return text([HEADER, *(f"{row},{value}" for row, value in zip(rows, values, strict=True))])


@dataclass(frozen=True)
class Hostile:
    """What lies in a folder, and what is said of it.

    Attributes:
      name: what is wrong.
      files: by name below the folder.
      message: with {folder} for the folder.
      source: what is asked for: by default the only file.
      options: of the command, besides the source.
      make: makes what is more than a file.
    """

    name: str
    files: dict[str, bytes]
    message: str
    source: str | None = None
    options: tuple[str, ...] = ()
    make: Callable[[Path], object] = lambda folder: None

    def build(self, folder: Path) -> list[str]:
        """Makes it; the source and the options."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self.make(folder)
        source = self.source or next(iter(self.files))
        is_url = "://" in source
        options = self.options if "--label" in self.options else ("--label", "late", *self.options)
        return [source.format(folder=folder) if is_url else str(folder / source), *options]


def csv(name: str, content: bytes, message: str, *options: str) -> Hostile:
    """A file of CSV; a message that begins with a blank or a mark goes on behind its name."""
    place = "{folder}/a.csv" if message[0] in " ,:" else ""
    return Hostile(name, {"a.csv": content}, place + message, options=options)
