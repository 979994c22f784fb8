"""Writes rows as CSV or Parquet, one batch after the other: a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.files import storage

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_PARQUET = (".parquet", ".pq")


def is_parquet(output: str) -> bool:
    """Whether a file to be is Parquet, and not CSV.

    Raises:
      UserError: its name does not tell, or its folder is not there.
    """
    suffix, compression = _suffixes(output)
    if suffix not in (*_DELIMITERS, *_PARQUET) or (compression and suffix in _PARQUET):
        raise UserError(
            f"{output}: its name tells no format; expected one that ends in .csv or .tsv (and then "
            ".gz or .zst, if you like) or in .parquet"
        )
    if not storage.is_remote(output) and not Path(output).absolute().parent.is_dir():
        raise UserError(f"{output}: there is no folder {Path(output).parent}; make it first")
    return suffix in _PARQUET


def write(batches: Iterable[pa.RecordBatch], output: str) -> int:
    """Writes `batches`, of one schema, to a file of this machine or of an object store.

    Returns:
      How many rows.

    Raises:
      UserError: a column is of a type that the format does not have.
    """
    suffix, compression = _suffixes(output)
    packing = _COMPRESSIONS.get(compression)
    with _whole(output) as file, pa.output_stream(file, compression=packing) as sink:
        if suffix in _PARQUET:
            return _write_parquet(batches, sink)
        return write_csv(batches, sink, delimiter=_DELIMITERS[suffix])


def write_csv(
    batches: Iterable[pa.RecordBatch], stream: SupportsWrite[Any], *, delimiter: str = ","
) -> int:
    """Writes `batches` as CSV to a stream of bytes; gives how many rows.

    Raises:
      UserError: a column holds lists or other values that CSV has no form for.
    """
    rows = 0
    for number, batch in enumerate(batches):
        if not number:
            _check_flat(batch.schema)
            stream.write(_header(batch.schema.names, delimiter))
        stream.write(_csv(batch, delimiter))
        rows += len(batch)
    return rows


def _header(names: Sequence[str], delimiter: str) -> bytes:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(names)
    return line.getvalue().encode()


def _csv(batch: pa.RecordBatch, delimiter: str) -> pa.Buffer:
    """`batch` as CSV, without a header."""
    batch = _without_fractions(batch)
    text = pa.BufferOutputStream()
    options = pa_csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="none")
    try:
        pa_csv.write_csv(batch, text, options)
    except pa.ArrowInvalid:  # A text needs quotes: then Arrow puts them around every one.
        text = pa.BufferOutputStream()
        options.quoting_style = "needed"
        pa_csv.write_csv(batch, text, options)
    return text.getvalue()


def _without_fractions(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with times in seconds where all are whole: Arrow spells out a fraction of zeros."""
    for place, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type):
            with contextlib.suppress(pa.ArrowInvalid):
                times = batch.column(place).cast(pa.timestamp("s", column.type.tz))
                batch = batch.set_column(place, column.name, times)
    return batch


def _write_parquet(batches: Iterable[pa.RecordBatch], sink: pa.NativeFile) -> int:
    rows = 0
    with contextlib.ExitStack() as opened:
        writer: pq.ParquetWriter | None = None
        for batch in batches:
            writer = writer or opened.enter_context(pq.ParquetWriter(sink, batch.schema))
            writer.write_batch(batch)
            rows += len(batch)
    return rows


def _check_flat(schema: pa.Schema) -> None:
    for column in schema:
        if pa.types.is_nested(column.type):
            raise UserError(
                f"the column {column.name!r} holds {column.type}, for which CSV has no form; write "
                "Parquet: --output FILE.parquet"
            )


def _suffixes(output: str) -> tuple[str, str]:
    """The ending that tells the format, and the one behind it that tells the compression."""
    name = PurePosixPath(output.lower())
    if name.suffix in _COMPRESSIONS:
        return name.with_suffix("").suffix, name.suffix
    return name.suffix, ""


@contextlib.contextmanager
def _whole(output: str) -> Iterator[str]:
    """A file to write, which takes the place of `output` once it is whole."""
    if storage.is_remote(output):
        with tempfile.TemporaryDirectory() as folder:
            unfinished = Path(folder, "unfinished")
            yield str(unfinished)
            storage.upload(unfinished, output)
        return
    unfinished = Path(output).with_name(f".{Path(output).name}.unfinished")
    try:
        yield str(unfinished)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
