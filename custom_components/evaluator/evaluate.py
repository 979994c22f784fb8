"""An evaluation: one pass over the rows that judge, for all models and slices, with Beam or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import MetricsForSlice

from custom_components.evaluator import points, tables, tfma_files
from custom_components.evaluator.bootstrap import intervals, resample
from custom_components.evaluator.candidates import Models
from custom_components.evaluator.metrics import (
    ROWS,
    Floats,
    Measures,
    Samples,
    Tally,
    add_up,
    tally,
)
from custom_components.evaluator.points import Points
from custom_components.evaluator.rows import Batch, Predict, Predictions
from custom_components.evaluator.verdict import (
    BOOTSTRAP_FILE,
    CANARY_FILE,
    COUNTERS,
    REPEATS_FILE,
    UNUSABLE_LABELS,
    UNUSABLE_PREDICTIONS,
    Value,
)
from pipeline.evaluate_config import EvaluateConfig, Metric
from pipeline.features_config import Problem

Tallies = dict[str, Tally]
"""A tally of the same rows for each model."""
Count = Callable[[str, int], None]


class Part(NamedTuple):
    """Some of what is judged."""

    slice: tfma_files.SliceKey = ()
    """Whose rows."""
    repeat: int | None = None
    """Of a cross-validation; None: all of them."""


class Kept(NamedTuple):
    """A row that is kept as it is."""

    hash: int
    example: bytes
    """Serialized tf.Example."""
    label: float
    answers: dict[str, Any]
    """What each model says when it is asked: a number, or a list with one for each class."""
    judged: dict[str, Any]
    """What judges it, in the first repeat."""


@dataclass(frozen=True)
class Asked:
    """What is to be evaluated, and where to write it."""

    files: Sequence[str]
    """The rows that judge: TFRecords of tf.Examples."""
    judged_on: str
    """Which rows they are, in words."""
    models: Models
    """What is evaluated."""
    measures: Measures
    """How predictions for the problem are measured."""
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

    @property
    def kept_rows(self) -> int:
        """How many rows are kept as they are."""
        is_regression = self.models.target.problem is Problem.REGRESSION
        return max(self.canary_rows, points.ROWS if is_regression else 0)


@dataclass(frozen=True)
class Measured:
    """What is found out about a part."""

    part: Part
    metrics: MetricsForSlice | None = None
    """Of a slice."""
    samples: dict[str, Samples] = field(default_factory=dict)
    """The bootstrap's, by model; kept of all rows alone."""
    repeat: dict[str, dict[Metric, float]] = field(default_factory=dict)
    """The metrics by model, of a single repeat."""
    tables: dict[str, pa.Table] = field(default_factory=dict)
    """What is written beside the verdict, by file name; of all rows alone."""


def evaluate(pipeline: beam.Pipeline, asked: Asked) -> None:
    """Adds an evaluation to the Beam pipeline: it writes metrics, single rows and curves."""
    batches = (
        pipeline
        | "Files" >> beam.Create(asked.files)
        | "Predict" >> beam.ParDo(Predict(asked.models))
    )
    _ = (
        batches
        | "Tally" >> beam.FlatMap(tally_slices, asked)
        | "AddUp" >> beam.CombinePerKey(_add_up)
        | "Measure" >> beam.Map(_measure, asked)
        | "Collect" >> beam.combiners.ToList()
        | "WriteMetrics" >> beam.Map(_write, asked)
    )
    _ = (
        batches
        | "Keep" >> beam.Map(_keep, asked)
        | "Thin" >> beam.CombineGlobally(_first, asked.kept_rows)
        | "WriteKept" >> beam.Map(_write_kept, asked)
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
    totals: dict[Part, Tallies] = {}
    kept: list[Kept] = []
    for batch in chain.from_iterable(map(predict.process, asked.files)):
        for part, tallies in tally_slices(batch, asked, count):
            totals[part] = _add_up([totals[part], tallies]) if part in totals else tallies
        kept = _first([kept, _keep(batch, asked)], asked.kept_rows)
    _write([_measure(found, asked) for found in totals.items()], asked)
    _write_kept(kept, asked)
    return unusable


def _count_in_beam(reason: str, rows: int) -> None:
    beam.metrics.Metrics.counter(COUNTERS, reason).inc(rows)


def tally_slices(
    batch: Batch, asked: Asked, count: Count = _count_in_beam
) -> Iterator[tuple[Part, Tallies]]:
    """Counts a batch's rows: all of them, then those of each slice, for every model.

    `count` is told of rows that cannot be used: the reason, and how many.
    """
    measures, blocks = asked.measures, batch.blocks(asked.group_by)
    labels = _labels(batch, asked, count)
    scores = [
        {
            name: measures.score(labels, _usable(name, values, measures, count), blocks)
            for name, values in predictions.items()
        }
        for predictions in batch.judged
    ]

    whole = [
        {name: tally(scored, slice(None), detailed=True) for name, scored in repeat.items()}
        for repeat in scores
    ]
    yield Part(), _add_up(whole)
    if len(whole) > 1:
        yield from ((Part(repeat=n), tallies) for n, tallies in enumerate(whole))
    for columns in asked.config.slices:
        for values, rows in _groups([batch.values(column) for column in columns]):
            parts = ({name: tally(scored, rows) for name, scored in r.items()} for r in scores)
            yield Part(tuple(zip(columns, values, strict=True))), _add_up(parts)


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


def _labels(batch: Batch, asked: Asked, count: Count) -> Floats:
    """The labels; those that are unusable are counted, for the run to be refused."""
    labels = asked.measures.labels(batch.values(asked.label))
    unusable = np.isnan(labels)
    if unusable.any():
        count(UNUSABLE_LABELS, int(unusable.sum()))
    return np.where(unusable, 0, labels)


def _usable(
    model: str, predictions: NDArray[np.float64], measures: Measures, count: Count
) -> NDArray[np.float64]:
    """The predictions; those that are unusable are counted, for the run to be refused."""
    usable = measures.usable(predictions)
    if usable.all():
        return predictions
    count(UNUSABLE_PREDICTIONS + model, int((~usable).sum()))
    return np.where(usable if predictions.ndim == 1 else usable[:, None], predictions, 0)


def _plain(value: Any) -> Value:
    """A slice's value: text, not bytes."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _add_up(parts: Iterable[Tallies]) -> Tallies:
    tallies = list(parts)
    return {name: add_up(part[name] for part in tallies) for name in tallies[0]}


def _measure(found: tuple[Part, Tallies], asked: Asked) -> Measured:
    part, tallies = found
    measures, config = asked.measures, asked.config
    measured = {name: measures.measure(rows) for name, rows in tallies.items()}
    if part.repeat is not None:
        return Measured(part, repeat=measured)
    samples = resample(tallies, measured, config.replicates, measures)
    models = {
        name: {
            # In a cross-validation a row is counted in each repeat.
            tfma_files.ROWS: float(rows.sums[:, ROWS].sum() / max(asked.models.repeats, 1)),
            tfma_files.LABEL_MEAN: measures.label_mean(rows),
            **{str(metric): measured[name][metric] for metric in config.metrics},
            **tfma_files.flat_errors(measures.errors(rows)),
        }
        for name, rows in tallies.items()
    }
    ends = {
        name: intervals(drawn, config.metrics, config.confidence) for name, drawn in samples.items()
    }
    metrics = tfma_files.metrics_proto(part.slice, models, ends)
    if part.slice:
        return Measured(part, metrics)
    return Measured(part, metrics, samples, tables=measures.tables(tallies))


def _write(parts: Sequence[Measured], asked: Asked) -> None:
    """Writes the metrics of all slices; of all rows the bootstrap's samples and the tables too."""
    tfma_files.write_metrics(asked.folder, [part.metrics for part in parts if part.metrics])
    metrics = asked.config.metrics
    drawn = [
        {"model": name, "metric": metric.value, "values": samples[metric]}
        for part in parts
        for name, samples in part.samples.items()
        for metric in metrics
    ]
    columns = {"model": pa.string(), "metric": pa.string(), "values": pa.list_(pa.float64())}
    tables.write(
        pa.Table.from_pylist(drawn, pa.schema(columns)), f"{asked.folder}/{BOOTSTRAP_FILE}"
    )
    repeats = sorted((part for part in parts if part.repeat), key=lambda one: one.part)
    if repeats:
        values = [
            {
                "model": name,
                "metric": metric.value,
                "values": [one.repeat[name][metric] for one in repeats],
            }
            for name in asked.models.names
            for metric in metrics
        ]
        table = pa.Table.from_pylist(values, pa.schema(columns))
        tables.write(table, f"{asked.folder}/{REPEATS_FILE}")
    for part in parts:
        for file, table in part.tables.items():
            tables.write(table, f"{asked.folder}/{file}")


def _keep(batch: Batch, asked: Asked) -> list[Kept]:
    """The rows of a batch with the smallest hashes: spread evenly, and the same ones each time."""
    chosen = np.argsort(batch.hashes, kind="stable")[: asked.kept_rows]
    labels = asked.measures.labels(batch.values(asked.label))

    def of(predictions: Predictions) -> Iterator[dict[str, Any]]:
        columns = (values[chosen].tolist() for values in predictions.values())
        for row in zip(*columns, strict=True):
            yield dict(zip(predictions, row, strict=True))

    return [
        Kept(int(batch.hashes[row]), batch.examples[row], float(labels[row]), answers, judged)
        for row, answers, judged in zip(
            chosen.tolist(), of(batch.predictions), of(batch.judged[0]), strict=True
        )
    ]


def _first(parts: Iterable[list[Kept]], size: int) -> list[Kept]:
    return sorted(chain.from_iterable(parts), key=lambda row: row[:2])[:size]


def _write_kept(rows: list[Kept], asked: Asked) -> None:
    """Writes the rows for the canary; of a regression, what was predicted beside what came true."""
    first = rows[: asked.canary_rows]
    kind = pa.list_(pa.float64()) if len(asked.models.target.classes) > 2 else pa.float64()
    columns = {"example": pa.array([row.example for row in first], pa.binary())}
    for name in asked.models.candidates:
        columns[name] = pa.array([row.answers[name] for row in first], kind)
    tables.write(pa.table(columns), f"{asked.folder}/{CANARY_FILE}")
    if asked.models.target.problem is Problem.REGRESSION:
        labels = np.array([row.label for row in rows], np.float64)
        said = {name: [row.judged[name] for row in rows] for name in asked.models.names}
        found = Points(labels, {name: np.array(of, np.float64) for name, of in said.items()})
        tables.write(found.table(), f"{asked.folder}/{points.FILE}")
