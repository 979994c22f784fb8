"""An evaluation: one pass over the eval split, for all models and slices, by Beam or without."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import MetricsForSlice
from tfx.dsl.io import fileio

from custom_components.evaluator import tfma_files
from custom_components.evaluator.metrics import Tally, add_up, measure, tally
from custom_components.evaluator.rows import Batch, Predict
from custom_components.evaluator.verdict import (
    CANARY_FILE,
    COUNTERS,
    UNUSABLE_LABELS,
    UNUSABLE_PREDICTIONS,
    Value,
)
from pipeline.config import EvaluateConfig

Tallies = dict[str, Tally]
"""A tally of the same rows for each model."""
Count = Callable[[str, int], None]
Sample = list[tuple[int, bytes, float]]
"""Rows: a hash, the serialized tf.Example, the candidate's prediction."""


@dataclass(frozen=True)
class Asked:
    """What is to be evaluated, and where to write it."""

    files: Sequence[str]
    """The eval split: TFRecords of tf.Examples."""
    models: Mapping[str, str]
    """Location of each model by its name."""
    candidate: str
    """The model whose predictions the canary rows carry."""
    label: str
    """The label's column."""
    config: EvaluateConfig
    """Slices and metrics."""
    canary_rows: int
    """How many raw rows to keep for the canary."""
    folder: str
    """Where to write."""


def evaluate(pipeline: beam.Pipeline, asked: Asked) -> None:
    """Adds an evaluation to the Beam pipeline: when it runs, it writes metrics and canary rows."""
    folder = asked.folder
    batches = (
        pipeline
        | "Files" >> beam.Create(asked.files)
        | "Predict" >> beam.ParDo(Predict(dict(asked.models)))
    )
    _ = (
        batches
        | "Tally" >> beam.FlatMap(tally_slices, asked.label, asked.config)
        | "AddUp" >> beam.CombinePerKey(_add_up)
        | "Measure" >> beam.Map(_measure, asked.config)
        | "Collect" >> beam.combiners.ToList()
        | "WriteMetrics" >> beam.Map(lambda slices: tfma_files.write_metrics(folder, slices))
    )
    _ = (
        batches
        | "Sample" >> beam.Map(_sample, asked.candidate, asked.canary_rows)
        | "Thin" >> beam.CombineGlobally(_first, asked.canary_rows)
        | "WriteCanary" >> beam.Map(_write_canary, folder)
    )


def evaluate_here(asked: Asked) -> dict[str, int]:
    """Does in this process what `evaluate` adds to a Beam pipeline, in the memory of one batch.

    Returns:
        How many rows could not be used, by the reason.
    """
    unusable: Counter[str] = Counter()

    def count(reason: str, rows: int) -> None:
        unusable[reason] += rows

    predict = Predict(dict(asked.models))
    predict.setup()
    totals: dict[tfma_files.SliceKey, Tallies] = {}
    sample: Sample = []
    for batch in chain.from_iterable(map(predict.process, asked.files)):
        for key, tallies in tally_slices(batch, asked.label, asked.config, count):
            totals[key] = _add_up([totals[key], tallies]) if key in totals else tallies
        rows = _sample(batch, asked.candidate, asked.canary_rows)
        sample = _first([sample, rows], asked.canary_rows)
    measured = [_measure(part, asked.config) for part in totals.items()]
    tfma_files.write_metrics(asked.folder, measured)
    _write_canary(sample, asked.folder)
    return unusable


def _count_in_beam(reason: str, rows: int) -> None:
    beam.metrics.Metrics.counter(COUNTERS, reason).inc(rows)


def tally_slices(
    batch: Batch, label: str, config: EvaluateConfig, count: Count = _count_in_beam
) -> Iterator[tuple[tfma_files.SliceKey, Tallies]]:
    """Counts a batch's rows: all of them, then those of each slice, for every model.

    `count` is told of rows that cannot be used: the reason, and how many.
    """
    labels = _labels(batch, label, count)
    usable = {name: _usable(name, values, count) for name, values in batch.predictions.items()}

    def tallies(rows: Any) -> Tallies:
        return {
            name: tally(labels[rows], predictions[rows], config.decision_threshold)
            for name, predictions in usable.items()
        }

    yield (), tallies(slice(None))
    for columns in config.slices:
        for values, rows in _groups([batch.values(column) for column in columns]):
            yield tuple(zip(columns, values, strict=True)), tallies(rows)


def _groups(
    columns: Sequence[pa.Array],
) -> Iterator[tuple[tuple[Value, ...], NDArray[np.int64]]]:
    """The rows of each combination of values; a row that lacks one is in none, as in TFMA."""
    keys = [str(position) for position in range(len(columns))]
    table = pa.table([*columns, np.arange(len(columns[0]))], names=[*keys, "row"])
    groups = table.group_by(keys).aggregate([("row", "list")])
    for *values, rows in zip(*(groups[name] for name in [*keys, "row_list"]), strict=True):
        if all(value.is_valid for value in values):
            yield tuple(_plain(value.as_py()) for value in values), rows.values.to_numpy()


def _labels(batch: Batch, label: str, count: Count) -> NDArray[np.bool_]:
    """The labels; those that are neither 0 nor 1 are counted, for the run to be refused."""
    labels = batch.values(label).to_numpy(zero_copy_only=False)
    ones = labels == 1
    unusable = len(labels) - int((ones | (labels == 0)).sum())
    if unusable:
        count(UNUSABLE_LABELS, unusable)
    return np.asarray(ones, bool)


def _usable(model: str, predictions: NDArray[np.float64], count: Count) -> NDArray[np.float64]:
    """The predictions; those that are no probability are counted, for the run to be refused."""
    usable = (predictions >= 0) & (predictions <= 1)
    if not usable.all():
        count(UNUSABLE_PREDICTIONS + model, int((~usable).sum()))
    return np.where(usable, predictions, 0)


def _plain(value: Any) -> Value:
    """A slice's value: text, not bytes."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _add_up(parts: Iterable[Tallies]) -> Tallies:
    tallies = list(parts)
    return {name: add_up(part[name] for part in tallies) for name in tallies[0]}


def _measure(part: tuple[tfma_files.SliceKey, Tallies], config: EvaluateConfig) -> MetricsForSlice:
    key, tallies = part
    models = {}
    for name, rows in tallies.items():
        metrics = measure(rows)
        models[name] = {
            tfma_files.ROWS: rows.rows,
            tfma_files.LABEL_MEAN: rows.positives / rows.rows,
            **{str(metric): metrics[metric] for metric in config.metrics},
        }
    return tfma_files.metrics_proto(key, models)


def _sample(batch: Batch, candidate: str, size: int) -> Sample:
    """The rows of a batch with the smallest hashes: spread evenly, and the same ones each time."""
    hashes = map(zlib.crc32, batch.examples)
    rows = zip(hashes, batch.examples, batch.predictions[candidate].tolist(), strict=True)
    return sorted(rows)[:size]


def _first(samples: Iterable[Sample], size: int) -> Sample:
    return sorted(chain.from_iterable(samples))[:size]


def _write_canary(rows: Sample, folder: str) -> None:
    _, examples, predictions = zip(*rows, strict=True) if rows else ((), (), ())
    table = pa.table(
        {
            "example": pa.array(examples, pa.binary()),
            "prediction": pa.array(predictions, pa.float64()),
        }
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    with fileio.open(f"{folder}/{CANARY_FILE}", "wb") as file:
        file.write(buffer.getvalue().to_pybytes())
