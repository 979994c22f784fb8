"""Asks a model about every row of raw files: the rows come out again, with its predictions."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from custom_components.example_gen.settings import ColumnType
from custom_components.example_gen.values import typed
from models.manifest import Manifest, Type
from pipeline.data_config import CsvOptions, FileFormat
from pipeline.errors import UserError, nearest
from pipeline.features_config import Problem
from pipeline.sources import places as places_
from pipeline.sources.plain import decoded
from pipeline.sources.read import column_names, read
from pipeline.sources.rows import BadRow, Block, shown

if TYPE_CHECKING:
    from models.bundle import Bundle, Predictions

PROBABILITY = "probability"
PREDICTION = "prediction"
VERSION = "model_version"

_AT_ONCE = 16
"""Blocks of rows that are predicted at the same time at most, each by one thread."""
_TYPES: dict[Type, ColumnType] = {
    "string": ColumnType.STRING,
    "int64": ColumnType.INT,
    "float64": ColumnType.INT,
    "float32": ColumnType.FLOAT,
}
_EXPECTED = {
    ColumnType.STRING: "expected text",
    ColumnType.INT: "expected a whole number",
    ColumnType.FLOAT: "expected a number",
}


@dataclass(frozen=True)
class _File:
    name: str
    format: FileFormat


_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Scorer:
    """A model, and how files of raw rows are read for it.

    Attributes:
      bundle: what is asked.
      version: what its rows are marked with.
      csv: how files of CSV are written.
      format: of the files, where neither their names nor their first bytes tell it.
      typed: whether the columns of a CSV file that the model takes come out as numbers, where it
        takes numbers; by default all come out as text, as they are spelled there.
    """

    bundle: Bundle
    version: str
    csv: CsvOptions
    format: FileFormat | None = None
    typed: bool = False

    def scored(self, patterns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of files, in their order, with the columns of `added`.

        A missing value is null. Some blocks of rows are in memory at once, whatever the files'
        size.

        Args:
          patterns: each a file, a folder or a glob, as `pipeline.sources.places` finds them.

        Raises:
          UserError: there is no such file, one cannot be read, has other columns than the first,
            lacks one that the model takes, or has a value that is not what that takes: says which
            row.
        """
        places = [places_.find(pattern, self.format) for pattern in patterns]
        files = [_File(file, place.format) for place in places for file in place.files]
        blocks = ((file, block) for file in files for block in self._blocks(file))
        schema: pa.Schema | None = None
        for file, batch in _in_order(lambda item: (item[0], self._scored(*item)), blocks):
            schema = schema or batch.schema
            yield _alike(file.name, batch, schema, first=files[0].name)

    def added(self, predictions: Predictions) -> dict[str, pa.Array]:
        """The columns that rows get: what is predicted, and by which version.

        Args:
          predictions: as `Bundle.predict` gives them.
        """
        columns = prediction_columns(self.bundle.manifest, predictions)
        version = pa.scalar(self.version)
        return columns | {VERSION: pa.repeat(version, len(predictions))}

    def _blocks(self, file: _File) -> Iterator[Block]:
        names = column_names(file.name, format=file.format, csv=self.csv)
        for name in self.bundle.manifest.inputs:
            if name not in names:
                raise UserError(
                    f"{file.name} has no column {name!r}, which the model takes"
                    f"{nearest(name, names)}. It has: {', '.join(map(repr, names))}. Name it so, "
                    "or add it: empty where it is missing."
                )
        none = np.empty((0, len(self.bundle.manifest.classes)), np.float32)
        for name in self.added(none):
            if name in names:
                raise UserError(
                    f"{file.name} has a column {name!r}, which is what the predictions are called. "
                    "Rename it, or take it out."
                )
        return read(file.name, names, format=file.format, csv=self.csv)

    def _scored(self, file: _File, block: Block) -> pa.RecordBatch:
        """A block's rows as they were read, and what is predicted of them."""
        if block.bad:
            raise UserError(str(block.bad[0]))
        takes = self.bundle.manifest.inputs
        raw = {name: decoded(block.columns.column(name)) for name in block.columns.schema.names}
        inputs = {
            name: self._typed(file.name, block, name, raw[name], type_)
            for name, type_ in takes.items()
        }
        if file.format is FileFormat.CSV:
            raw = {
                name: inputs[name]
                if self.typed and takes.get(name, "string") != "string"
                else self._text(file.name, block, name, column)
                for name, column in raw.items()
            }
        try:
            said = self.bundle.predict(pa.RecordBatch.from_pydict(inputs))
        except UserError as error:
            rows = f"rows {block.rows[0]} to {block.rows[-1]}" if len(block.rows) else "no rows"
            raise UserError(f"{file.name}, {rows}: {error}") from None
        return pa.RecordBatch.from_pydict(raw | self.added(said))

    def _typed(self, file: str, block: Block, name: str, column: pa.Array, type_: Type) -> pa.Array:
        """A column as the model takes it, by the rules of ingest."""
        kind = _TYPES[type_]
        values, misfit = typed(column, kind, self.csv)
        if misfit is not None:
            _refuse(file, block, name, column, int(misfit.argmax()), _EXPECTED[kind])
        if type_ == "int64" and values.null_count:
            at = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
            _refuse(file, block, name, column, at, "expected a whole number in every row")
        return values

    def _text(self, file: str, block: Block, name: str, column: pa.Array) -> pa.Array:
        """A column of a CSV file as it is spelled there."""
        values, misfit = typed(column, ColumnType.STRING, self.csv)
        if misfit is not None:
            expected = f"expected text in {self.csv.encoding}"
            _refuse(file, block, name, column, int(misfit.argmax()), expected)
        return values.cast(pa.string())


def prediction_columns(model: Manifest, predictions: Predictions) -> dict[str, pa.Array]:
    """What is predicted of rows, as columns.

    Binary: `probability`, of the second class. Several classes: `prediction`, the most probable
    one, and `probability_CLASS` of each. Regression: `prediction`.

    Args:
      model: says what is predicted.
      predictions: [rows], or [rows, classes].
    """
    if model.problem is Problem.BINARY:
        return {PROBABILITY: pa.array(predictions.reshape(-1))}
    if model.problem is Problem.REGRESSION:
        return {PREDICTION: pa.array(predictions.reshape(-1))}
    said = predictions.reshape(-1, len(model.classes))
    named = pa.array(model.classes).take(pa.array(said.argmax(axis=1)))
    return {PREDICTION: named} | {
        f"{PROBABILITY}_{name}": pa.array(np.ascontiguousarray(said[:, at]))
        for at, name in enumerate(model.classes)
    }


def _refuse(file: str, block: Block, name: str, column: pa.Array, at: int, expected: str) -> None:
    value = column[at].as_py()
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
    spelled = None if text in (None, "") else str(text)
    raise UserError(str(BadRow(file, int(block.rows[at]), name, spelled, expected)))


def _alike(file: str, batch: pa.RecordBatch, schema: pa.Schema, *, first: str) -> pa.RecordBatch:
    """`batch` with the columns and types of the first file's."""
    if batch.schema == schema:
        return batch
    missing = [name for name in schema.names if name not in batch.schema.names]
    more = [name for name in batch.schema.names if name not in schema.names]
    if missing or more:
        raise UserError(
            f"{file} has other columns than {first}: "
            + "; ".join(
                f"{what} {', '.join(map(shown, names))}"
                for what, names in (("it lacks", missing), ("only it has", more))
                if names
            )
            + ". Predict them one by one, or give both the same columns."
        )
    try:
        return batch.select(schema.names).cast(schema)
    except pa.ArrowException as error:
        raise UserError(
            f"{file} has columns of other types than {first}: {error}. Predict them one by one."
        ) from None


def _in_order(work: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """What `work` gives for each item, in the items' order, some of them at the same time."""
    threads = min(os.cpu_count() or 1, _AT_ONCE)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Out]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
