"""What passes between the steps of ingest: blocks of rows as read, and rows that do not fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UNDECODABLE = "\uffff"
"""Stands in CSV text for what is not in the file's encoding: Unicode keeps it out of all text."""

_SHOWN = 80


def shown(value: object) -> str:
    """`value` as a message shows it: quoted, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


@dataclass(frozen=True)
class BadRow:
    """A row that does not fit: where it is, what it holds, and what was expected."""

    file: str
    row: int
    """As a spreadsheet counts: in CSV the header is row 1; in Parquet the first row is 1."""
    column: str | None
    """The first column that does not fit; None if the row as a whole does not."""
    value: str | None
    """What stands there; None if the value is missing."""
    reason: str
    record: dict[str, Any] = field(default_factory=dict, compare=False)
    """The row's ingested columns as they were read."""

    def __str__(self) -> str:
        place = f"{self.file}, row {self.row}"
        if self.column is None:
            return f"{place}: {self.reason}"
        value = "the value is missing" if self.value is None else f"{shown(self.value)}"
        return f"{place}, column {self.column!r}: {value}, {self.reason}"


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of one file, with the number of each."""

    columns: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    bad: list[BadRow]
    """Rows of this stretch of the file that are not in `columns`."""
