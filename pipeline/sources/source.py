"""What every source of rows gives, wherever they are: their columns, a sample, and all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data_config import CsvOptions, FileFormat


@dataclass(frozen=True)
class ReadOptions:
    """What the user says of a source; what is None is found by looking, and told in the notes."""

    format: FileFormat | None = None
    delimiter: str | None = None
    quote: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    null_values: tuple[str, ...] | None = None
    query: str | None = None
    """Of a database: SQL, or the name of a table."""


@dataclass(frozen=True)
class DataSettings:
    """What goes into the section [data] so that the pipeline reads the same rows."""

    path: str | None = None
    """A folder: relative to the project's where it is below that, absolute, gs://… or s3://…"""
    pattern: str | None = None
    format: FileFormat | None = None
    csv: CsvOptions = field(default_factory=CsvOptions)
    database: str | None = None
    query: str | None = None

    def settings(self) -> dict[str, Any]:
        """Keys and values of [data], without those that are the defaults."""
        given = vars(self) | {"csv": self.csv.model_dump(exclude_defaults=True)}
        return {key: value for key, value in given.items() if value}


class Source(ABC):
    """Rows with the same columns, in an order that stays; they may be read again and again."""

    schema: pa.Schema
    """Names, and types as they fit all rows: int64, float64, bool, date32, timestamp or string.

    Of CSV all is a string, as it is spelled, but numbers."""
    rows: int
    """How many there are."""
    notes: tuple[str, ...]
    """What was found by looking and could be otherwise, a sentence each."""
    location: DataSettings
    files: tuple[str, ...] = ()
    """Those that hold them, if they are in files."""

    @abstractmethod
    def describe(self) -> str:
        """Where the rows are and how they are written, in a few words."""

    @abstractmethod
    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, in their order; a missing value is null.

        Args:
          columns: the columns to read, in this order; by default all.

        Raises:
          UserError: the source changed since it was opened, or cannot be read any more.
        """

    def sample(self, rows: int) -> pa.Table:
        """So many rows, or all if there are fewer, spread evenly over the whole, in their order."""
        wanted = np.unique(np.linspace(0, self.rows - 1, min(rows, self.rows)).astype(np.int64))
        taken, first = [], 0
        for batch in self.batches():
            here = wanted[(wanted >= first) & (wanted < first + len(batch))] - first
            taken.append(batch.take(pa.array(here)))
            first += len(batch)
        return pa.Table.from_batches(taken, self.schema)
