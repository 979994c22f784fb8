"""Reading the files of a span, block by block, the columns still as they stand there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from custom_components.example_gen.read_csv import read_csv
from custom_components.example_gen.read_parquet import read_parquet
from custom_components.example_gen.rows import Block
from custom_components.example_gen.settings import IngestSettings
from pipeline.data_config import FileFormat
from pipeline.errors import UserError

_FORMATS = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".txt": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
}


def read(file: str, columns: Sequence[str], *, settings: IngestSettings) -> Iterator[Block]:
    """The rows of `file`, in its order.

    Args:
        file: a path, or a URL of a file system that TFX knows.
        columns: the names of the columns to read.
        settings: format and spelling of the file.

    Raises:
        UserError: if the file is empty, damaged or cut short, or lacks a column or has it twice.
    """
    blocks = (
        read_csv(file, columns, options=settings.csv)
        if (settings.format or _format_of(file)) is FileFormat.CSV
        else read_parquet(file, columns)
    )
    seen = 0
    for block in blocks:
        seen += len(block.rows) + len(block.bad)
        yield block
    if not seen:
        raise UserError(f"{file} holds no rows. Write its rows, or take the file away.")


def _format_of(file: str) -> FileFormat:
    suffix = PurePosixPath(file.lower().removesuffix(".gz")).suffix
    if suffix not in _FORMATS:
        raise UserError(
            f"{file}: its name does not tell its format. Set data.format to csv or parquet, or let "
            "data.pattern match data files only, as in '*.csv'."
        )
    return _FORMATS[suffix]
