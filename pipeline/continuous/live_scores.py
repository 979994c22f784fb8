"""How models do on a span that they have not learned from, by the evaluator's own means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from custom_components.evaluator import metrics
from custom_components.evaluator.bootstrap import resample
from custom_components.evaluator.candidates import Models, Target
from custom_components.evaluator.metrics import Measures, Samples
from custom_components.evaluator.rows import Batch, Predict
from custom_components.evaluator.verdict import BOOTSTRAP_FILE
from pipeline.config import PipelineConfig
from pipeline.continuous.policy import Score
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.lineage import files
from pipeline.lineage.artifact import MODEL
from pipeline.lineage.payload import SERVED_FORM

if TYPE_CHECKING:
    from pipeline.lineage.artifact import Artifact


def score(
    config: PipelineConfig, models: Mapping[str, Artifact], examples: Artifact
) -> dict[str, dict[Metric, Score]] | None:
    """Each model's metrics on all rows of ingested examples, whatever their split.

    The bootstrap's samples are the same for all models. Rows whose label, or one of whose
    predictions, is no number that counts are left out.

    Returns:
      By the name that `models` has for each; None where no row is left.

    Raises:
      UserError: a model or the rows cannot be read.
    """
    features = config.features
    target = Target(features.problem, features.class_names)
    measures = metrics.measures(config.evaluate, target.problem, target.classes)
    with ExitStack() as held:
        folders = {
            name: str(
                held.enter_context(files.folder(model, SERVED_FORM if model.type == MODEL else ""))
            )
            for name, model in models.items()
        }
        tallies = list(_tallies(config, Models(folders, target=target), measures, examples))
    totals = {name: metrics.add_up(part[name] for part in tallies) for name in models if tallies}
    if not any(total.sums[:, metrics.ROWS].sum() for total in totals.values()):
        return None
    measured = {name: measures.measure(total) for name, total in totals.items()}
    drawn = resample(totals, measured, config.evaluate.replicates, measures)
    return {
        name: _scores(measured[name], drawn.get(name, {}), *_at_push(model))
        for name, model in models.items()
    }


def _tallies(
    config: PipelineConfig, models: Models, measures: Measures, examples: Artifact
) -> Iterator[dict[str, metrics.Tally]]:
    predict = Predict(models)
    predict.setup()
    for split in json.loads(examples.properties["split_names"]):
        name = f"Split-{split}"
        with files.folder(examples, name) as folder:
            shards = sorted(str(file) for file in folder.iterdir() if file.is_file())
            try:
                for batch in chain.from_iterable(map(predict.process, shards)):
                    yield _tally(batch, config, measures)
            except tf.errors.OpError:
                raise UserError(
                    f"{examples.uri}/{name}: not tf.Examples; {files.DAMAGED}"
                ) from None


def _tally(batch: Batch, config: PipelineConfig, measures: Measures) -> dict[str, metrics.Tally]:
    labels = measures.labels(batch.values(config.features.label))
    usable = np.isfinite(labels)
    for predictions in batch.predictions.values():
        usable &= measures.usable(predictions)
    blocks = batch.blocks(config.data.split_by or "")[usable]
    return {
        name: metrics.tally(
            measures.score(labels[usable], predictions[usable], blocks), slice(None)
        )
        for name, predictions in batch.predictions.items()
    }


def _scores(
    measured: Mapping[Metric, float],
    samples: Samples,
    before: Mapping[Metric, float],
    before_samples: Samples,
) -> dict[Metric, Score]:
    return {
        metric: Score(
            value=value,
            samples=_numbers(samples, metric),
            before=before.get(metric),
            before_samples=_numbers(before_samples, metric),
        )
        for metric, value in measured.items()
        if np.isfinite(value)
    }


def _numbers(samples: Samples, metric: Metric) -> tuple[float, ...]:
    return tuple(samples[metric].tolist()) if metric in samples else ()


def _at_push(model: Artifact) -> tuple[Mapping[Metric, float], Samples]:
    """A model's metrics when it was judged, and their samples; nothing where they went."""
    evaluation = model.evaluation()
    try:
        measured = model.metrics()
        assert evaluation is not None  # or it had no metrics
        with files.folder(evaluation) as folder:
            table = pq.read_table(folder / BOOTSTRAP_FILE).to_pylist()
    except (UserError, OSError):
        return {}, {}
    name = model.properties.get("framework")
    samples = {
        Metric(row["metric"]): np.asarray(row["values"], np.float64)
        for row in table
        if row["model"] == name
    }
    return {Metric(metric): v for metric, v in measured.items() if v is not None}, samples
