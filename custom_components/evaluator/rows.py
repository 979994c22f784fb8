"""Reads rows in batches, and lets every model predict each of them whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from custom_components.evaluator.candidates import Answers, Models, load
from custom_components.evaluator.metrics import BLOCKS
from models.bundle import Bundle
from pipeline import progress

BATCH_ROWS = 8192
"""Rows that are in memory at once."""


Predictions = Mapping[str, NDArray[np.float64]]
"""By model, [rows] or, of more than two classes, [rows, classes]."""


@dataclass(frozen=True)
class Batch:
    """Some rows, with what each model predicts for them."""

    examples: NDArray[np.object_]
    """Serialized tf.Examples."""
    columns: pa.RecordBatch
    """The same rows decoded, a list of values for each column."""
    predictions: Predictions
    """What the models say when they are asked."""
    judged: Sequence[Predictions]
    """What judges them: the same, or in a cross-validation, for each repeat, what models say that
    have not learned from the row."""

    @classmethod
    def of(
        cls,
        examples: NDArray[np.object_],
        predictions: Predictions,
        judged: Sequence[Predictions] = (),
    ) -> Batch:
        """Decodes serialized tf.Examples."""
        columns = ExamplesToRecordBatchDecoder().DecodeBatch(list(examples))
        return cls(examples, columns, predictions, judged or [predictions])

    def values(self, column: str) -> pa.Array:
        """One value per row, null where it is missing."""
        if column not in self.columns.schema.names:
            return pa.nulls(len(self.examples))
        lists = self.columns.column(column)
        if pa.types.is_null(lists.type):
            return lists
        empty = pc.fill_null(pc.equal(pc.list_value_length(lists), 0), True)
        first = pc.if_else(empty, None, lists.offsets[:-1])
        return lists.values.take(first)

    @cached_property
    def hashes(self) -> NDArray[np.int64]:
        """A number [rows] from 0 to 2^32 - 1, the same wherever and whenever the row is read."""
        return np.fromiter(map(zlib.crc32, self.examples), np.int64, len(self.examples))

    def blocks(self, group_by: str) -> NDArray[np.int64]:
        """Which block [rows] of the bootstrap each row is in.

        By the value of the column `group_by`, or each row by itself where that is empty.
        """
        if not group_by:
            return self.hashes % BLOCKS
        values = self.values(group_by).dictionary_encode(null_encoding="encode")
        hashes = [zlib.crc32(str(value).encode()) for value in values.dictionary.to_pylist()]
        of_rows = np.array(hashes, np.int64)[values.indices.to_numpy()]
        return np.asarray(of_rows % BLOCKS, np.int64)


class Predict(beam.DoFn):
    """Reads a file of tf.Examples and gives batches with every model's predictions."""

    def __init__(self, models: Models) -> None:
        """Takes the models' locations."""
        self._models = models

    def setup(self) -> None:
        """Loads the models, once for each process."""
        for folder in self._models.folders.values():
            load(folder)
        self._done = 0

    def process(self, file: str) -> Iterator[Batch]:
        """Gives the file's rows."""
        compression = "GZIP" if file.endswith(".gz") else ""
        dataset = tf.data.TFRecordDataset(file, compression).batch(BATCH_ROWS).prefetch(1)
        for examples in dataset.as_numpy_iterator():
            answers = self._models.ask(partial(_predict, examples=examples))
            judged = self._models.unlearned(examples, answers)
            yield Batch.of(examples, _precise(answers), [_precise(part) for part in judged])
            self._done += len(examples)
            progress.report(self._done, None, "rows")


def _predict(bundle: Bundle, examples: Sequence[bytes]) -> NDArray[np.float32]:
    return bundle.predict_examples(examples)


def _precise(answers: Answers) -> Predictions:
    return {name: np.asarray(answer, np.float64) for name, answer in answers.items()}
