"""An evaluation: one pass over the rows that judge, for all models and slices, with Beam or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from custom_components.evaluator import curves, tfma_files
from custom_components.evaluator.bootstrap import Samples, intervals, resample
from custom_components.evaluator.candidates import Models
from custom_components.evaluator.metrics import (
    POSITIVES,
    ROWS,
    Tally,
    add_up,
    measure,
    score,
    tally,
)
from custom_components.evaluator.rows import Batch, Predict
from custom_components.evaluator.verdict import (
    BOOTSTRAP_FILE,
    CANARY_FILE,
    COUNTERS,
    UNUSABLE_LABELS,
    UNUSABLE_PREDICTIONS,
    Value,
)
from pipeline.evaluate_config import EvaluateConfig

Tallies = dict[str, Tally]
"""A tally of the same rows for each model."""
Count = Callable[[str, int], None]
Kept = list[tuple[int, bytes, tuple[float, ...]]]
"""Rows: a hash, the serialized tf.Example, each candidate's prediction."""


@dataclass(frozen=True)
class Asked:
    """What is to be evaluated, and where to write it."""

    files: Sequence[str]
    """The rows that judge: TFRecords of tf.Examples."""
    judged_on: str
    """Which rows they are, in words."""
    models: Models
    """What is evaluated."""
    label: str
    """The label's column."""
    group_by: str
    """The column whose values the bootstrap keeps together; empty: each row is by itself."""
    config: EvaluateConfig
    """Slices, metrics, and how many samples the bootstrap draws."""
    canary_rows: int
    """How many raw rows to keep for the canary."""
    folder: str
    """Where to write."""


@dataclass(frozen=True)
class Measured:
    """What is found out about a slice."""

    metrics: MetricsForSlice
    samples: dict[str, Samples]
    """The bootstrap's, by model; kept of all rows alone."""


def evaluate(pipeline: beam.Pipeline, asked: Asked) -> None:
    """Adds an evaluation to the Beam pipeline: it writes metrics, canary rows and curves."""
    batches = (
        pipeline
        | "Files" >> beam.Create(asked.files)
        | "Predict" >> beam.ParDo(Predict(asked.models))
    )
    _ = (
        batches
        | "Tally" >> beam.FlatMap(tally_slices, asked)
        | "AddUp" >> beam.CombinePerKey(_add_up)
        | "Measure" >> beam.Map(_measure, asked.config)
        | "Collect" >> beam.combiners.ToList()
        | "WriteMetrics" >> beam.Map(_write, asked)
    )
    _ = (
        batches
        | "Keep" >> beam.Map(_keep, asked)
        | "Thin" >> beam.CombineGlobally(_first, asked.canary_rows)
        | "WriteCanary" >> beam.Map(_write_canary, asked)
    )
    _ = (
        batches
        | "Bin" >> beam.Map(_bin, asked)
        | "AddUpBins" >> beam.CombineGlobally(curves.add_up, asked.models.names)
        | "WriteCurves" >> beam.Map(_write_curves, asked)
    )


def evaluate_here(asked: Asked) -> dict[str, int]:
    """Does in this process what `evaluate` adds to a Beam pipeline, in the memory of one batch.

    Returns:
        How many rows could not be used, by the reason.
    """
    unusable: Counter[str] = Counter()

    def count(reason: str, rows: int) -> None:
        unusable[reason] += rows

    predict = Predict(asked.models)
    predict.setup()
    totals: dict[tfma_files.SliceKey, Tallies] = {}
    kept: Kept = []
    binned = curves.add_up([], asked.models.names)
    for batch in chain.from_iterable(map(predict.process, asked.files)):
        for key, tallies in tally_slices(batch, asked, count):
            totals[key] = _add_up([totals[key], tallies]) if key in totals else tallies
        kept = _first([kept, _keep(batch, asked)], asked.canary_rows)
        binned = curves.add_up([binned, _bin(batch, asked)], asked.models.names)
    _write([_measure(part, asked.config) for part in totals.items()], asked)
    _write_canary(kept, asked)
    _write_curves(binned, asked)
    return unusable


def _count_in_beam(reason: str, rows: int) -> None:
    beam.metrics.Metrics.counter(COUNTERS, reason).inc(rows)


def tally_slices(
    batch: Batch, asked: Asked, count: Count = _count_in_beam
) -> Iterator[tuple[tfma_files.SliceKey, Tallies]]:
    """Counts a batch's rows: all of them, then those of each slice, for every model.

    `count` is told of rows that cannot be used: the reason, and how many.
    """
    labels, blocks = _labels(batch, asked.label, count), batch.blocks(asked.group_by)
    scores = {
        name: score(labels, _usable(name, values, count), blocks, asked.config.decision_threshold)
        for name, values in batch.predictions.items()
    }

    def tallies(rows: Any) -> Tallies:
        return {name: tally(scored, rows) for name, scored in scores.items()}

    yield (), tallies(slice(None))
    for columns in asked.config.slices:
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


def _measure(part: tuple[tfma_files.SliceKey, Tallies], config: EvaluateConfig) -> Measured:
    key, tallies = part
    measured = {name: measure(rows) for name, rows in tallies.items()}
    samples = resample(tallies, measured, config.replicates)
    models = {}
    for name, tally_ in tallies.items():
        totals = tally_.sums.sum(axis=0)
        models[name] = {
            tfma_files.ROWS: float(totals[ROWS]),
            tfma_files.LABEL_MEAN: totals[POSITIVES] / totals[ROWS],
            **{str(metric): measured[name][metric] for metric in config.metrics},
        }
    ends = {
        name: intervals(drawn, config.metrics, config.confidence) for name, drawn in samples.items()
    }
    return Measured(tfma_files.metrics_proto(key, models, ends), {} if key else samples)


def _write(slices: Sequence[Measured], asked: Asked) -> None:
    """Writes the metrics of all slices, and the bootstrap's samples of all rows."""
    tfma_files.write_metrics(asked.folder, [part.metrics for part in slices])
    table = pa.Table.from_pylist(
        [
            {"model": name, "metric": metric.value, "values": samples[metric]}
            for part in slices
            for name, samples in part.samples.items()
            for metric in asked.config.metrics
        ],
        pa.schema({"model": pa.string(), "metric": pa.string(), "values": pa.list_(pa.float64())}),
    )
    _write_table(table, f"{asked.folder}/{BOOTSTRAP_FILE}")


def _keep(batch: Batch, asked: Asked) -> Kept:
    """The rows of a batch with the smallest hashes: spread evenly, and the same ones each time."""
    predictions = zip(
        *(batch.predictions[name].tolist() for name in asked.models.candidates), strict=True
    )
    rows = zip(batch.hashes.tolist(), batch.examples, predictions, strict=True)
    return sorted(rows)[: asked.canary_rows]


def _first(parts: Iterable[Kept], size: int) -> Kept:
    return sorted(chain.from_iterable(parts))[:size]


def _write_canary(rows: Kept, asked: Asked) -> None:
    columns = {"example": pa.array([example for _, example, _ in rows], pa.binary())}
    for place, name in enumerate(asked.models.candidates):
        said = [predictions[place] for _, _, predictions in rows]
        columns[name] = pa.array(said, pa.float64())
    _write_table(pa.table(columns), f"{asked.folder}/{CANARY_FILE}")


def _bin(batch: Batch, asked: Asked) -> dict[str, curves.Counts]:
    """Counts a batch's rows by each model's predictions; unusable ones are counted elsewhere."""

    def ignore(reason: str, rows: int) -> None: ...

    labels = _labels(batch, asked.label, ignore)
    return {
        name: curves.count(labels, _usable(name, values, ignore))
        for name, values in batch.predictions.items()
    }


def _write_curves(binned: dict[str, curves.Counts], asked: Asked) -> None:
    _write_table(curves.table(binned), f"{asked.folder}/{curves.FILE}")


def _write_table(table: pa.Table, path: str) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    with fileio.open(path, "wb") as file:
        file.write(buffer.getvalue().to_pybytes())
