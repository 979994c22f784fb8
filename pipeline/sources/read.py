"""Reading any file of rows, block by block, the columns still as they stand there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from pipeline.data_config import CsvOptions, FileFormat
from pipeline.errors import UserError
from pipeline.sources.csv_file import header_of, read_csv, spelled
from pipeline.sources.files import unpacked_name
from pipeline.sources.parquet_file import names_of, read_parquet
from pipeline.sources.rows import Block

FORMATS = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".txt": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
}
"""By the end of a file's name."""


def read(
    file: str,
    columns: Sequence[str],
    *,
    format: FileFormat | None = None,
    csv: CsvOptions | None = None,
) -> Iterator[Block]:
    """The rows of `file`, in its order.

    Args:
        file: a path, or gs://… or s3://…
        columns: the names of the columns to read.
        format: of the file; by default its name tells it.
        csv: how it is written, if it is CSV; by default as a `CsvOptions` says.

    Raises:
        UserError: if the file is empty, damaged or cut short, or lacks a column or has it twice.
    """
    format = format or format_of(file)
    blocks = (
        read_csv(file, columns, options=csv or CsvOptions())
        if format is FileFormat.CSV
        else read_parquet(file, columns)
    )
    seen = 0
    for block in blocks:
        seen += len(block.rows) + len(block.bad)
        yield block
    if not seen:
        raise UserError(f"{file} holds no rows. Write its rows, or take the file away.")


def column_names(
    file: str, *, format: FileFormat | None = None, csv: CsvOptions | None = None
) -> list[str]:
    """The names of all columns of `file`, in its order.

    Raises:
        UserError: if it cannot be read.
    """
    if (format or format_of(file)) is FileFormat.CSV:
        return header_of(file, spelled(file, csv or CsvOptions()))
    return names_of(file)


def format_of(file: str) -> FileFormat:
    """What the name of a file says of its format.

    Raises:
        UserError: if it says nothing.
    """
    suffix = PurePosixPath(unpacked_name(file)).suffix
    if suffix not in FORMATS:
        raise UserError(
            f"{file}: its name does not tell its format. Set data.format to csv or parquet, or let "
            "data.pattern match data files only, as in '*.csv'."
        )
    return FORMATS[suffix]
