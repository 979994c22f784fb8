"""The rows of a query as a file of Parquet: as they were when the database was asked.

A database answers each time with what it holds then, and in any order. What has been read twice has
to be the same rows, and whoever asks for the lineage of a model wants those that it learned from.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.sources.database import rows_of
from pipeline.sources.plain import is_moment, iso

_FILE = "rows.parquet"
_KEYS = ("rows of a query.", "read once again.")


def keep(database: str, query: str, folder: str) -> str:
    """Asks for the rows and keeps them below `folder`, if it does not have them already.

    Args:
      database: as data.database names it.
      query: SQL, or the name of a table.
      folder: absolute, or gs://… or s3://…; the rows lie in DIGEST/rows.parquet.

    Returns:
      The digest of the rows, whatever their order.

    Raises:
      UserError: the database cannot be asked, or has no rows.
    """
    with tempfile.TemporaryDirectory(prefix="query-") as temporary:
        file = Path(temporary, _FILE)
        digest = write(rows_of(database, query), file, said=database)
        if storage.is_remote(folder):
            if not storage.exists(f"{folder}/{digest}/{_FILE}"):
                storage.upload(file, f"{folder}/{digest}/{_FILE}")
            return digest
        place = Path(folder, digest, _FILE)
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_suffix(".part")
            part.write_bytes(file.read_bytes())
            part.replace(place)
    return digest


def write(batches: Iterable[pa.RecordBatch], file: Path, *, said: str) -> str:
    """Writes rows, of which the types may differ from batch to batch; returns their digest.

    Raises:
      UserError: there are none; the message begins with `said`.
    """
    parts: list[Path] = []
    schemas: list[pa.Schema] = []
    for batch in batches:
        parts.append(file.with_name(f"part-{len(parts)}"))
        schemas.append(batch.schema)
        pq.write_table(pa.Table.from_batches([batch]), parts[-1])
    if not parts or not sum(pq.read_metadata(part).num_rows for part in parts):
        raise UserError(f"{said}: the query gives no rows. Expected some.")
    schema = _fitting(schemas)
    sums = np.zeros(len(_KEYS), np.uint64)
    with pq.ParquetWriter(file, schema) as writer:
        for table in _tables(parts, schema):
            writer.write_table(table)
            sums += _sums(table)

    for part in parts:
        part.unlink()
    return hashlib.sha256(f"{schema}".encode() + sums.tobytes()).hexdigest()[:32]


def _sums(table: pa.Table) -> np.ndarray:
    """Sums of the hashes of rows, which are the same in any order."""
    frame = table.to_pandas(ignore_metadata=True)
    hashes = [pd.util.hash_pandas_object(frame, index=False, hash_key=key) for key in _KEYS]
    return np.array([one.to_numpy().sum(dtype=np.uint64) for one in hashes], np.uint64)


def _tables(parts: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    for part in parts:
        table = pq.read_table(part)
        columns = [_as(table.column(one.name), one.type) for one in schema]
        yield pa.Table.from_arrays(columns, schema=schema)


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if kind == pa.string() and is_moment(column.type):
        return pa.chunked_array([iso(chunk) for chunk in column.chunks], pa.string())
    return column.cast(kind)


def _fitting(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The types that fit all batches: text, where they have nothing else in common."""
    made = []
    for name in schemas[0].names:
        fields = [pa.schema([schema.field(name)]) for schema in schemas]
        try:
            made.append(pa.unify_schemas(fields, promote_options="permissive").field(0))
        except pa.ArrowTypeError:
            made.append(pa.field(name, pa.string()))
    return pa.schema([pa.field(one.name, one.type) for one in made])
