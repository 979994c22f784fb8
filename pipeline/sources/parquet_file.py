"""Reading Parquet, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow.parquet as pq

from pipeline.sources.files import check_columns, damage_in_words, open_binary
from pipeline.sources.rows import Block

BATCH_ROWS = 1 << 15
"""Rows of a file that are in memory at once."""


def read_parquet(file: str, columns: Sequence[str]) -> Iterator[Block]:
    """The rows of a Parquet file, as the types that they have there."""
    with damage_in_words(file), open_binary(file) as stream:
        parquet = pq.ParquetFile(stream)
        check_columns(file, parquet.schema_arrow.names, columns)
        first = 1
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
            rows = np.arange(first, first + len(batch), dtype=np.int64)
            first += len(batch)
            yield Block(batch.select(list(columns)), rows, [])


def names_of(file: str) -> list[str]:
    """The names of its columns."""
    with damage_in_words(file), open_binary(file) as stream:
        names: list[str] = pq.ParquetFile(stream).schema_arrow.names
    return names
