"""Reads the eval split in batches, and lets every model predict each of them whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from models import bundle
from pipeline import progress

BATCH_ROWS = 8192
"""Rows that are in memory at once."""


@dataclass(frozen=True)
class Batch:
    """Some rows of the eval split, with one column of predictions per model."""

    examples: NDArray[np.object_]
    """Serialized tf.Examples."""
    columns: pa.RecordBatch
    """The same rows decoded, a list of values for each column."""
    predictions: Mapping[str, NDArray[np.float64]]
    """Probability of label 1, by model."""

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


class Predict(beam.DoFn):
    """Reads a file of tf.Examples and gives batches with every model's predictions."""

    def __init__(self, models: Mapping[str, str]) -> None:
        """Takes the location of each model's SavedModel by the model's name."""
        self._models = models

    def setup(self) -> None:
        """Loads the models, once for each worker."""
        self._bundles = {name: bundle.load(path) for name, path in self._models.items()}
        self._decoder = ExamplesToRecordBatchDecoder()
        self._done = 0

    def process(self, file: str) -> Iterator[Batch]:
        """Gives the file's rows."""
        compression = "GZIP" if file.endswith(".gz") else ""
        dataset = tf.data.TFRecordDataset(file, compression).batch(BATCH_ROWS).prefetch(1)
        for examples in dataset.as_numpy_iterator():
            yield Batch(
                examples,
                self._decoder.DecodeBatch(list(examples)),
                {
                    name: np.asarray(model.predict_examples(examples), np.float64).reshape(-1)
                    for name, model in self._bundles.items()
                },
            )
            self._done += len(examples)
            progress.report(self._done, None, "rows")
