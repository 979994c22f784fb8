"""How the live model does on a span that it has not learned from, by the evaluator's own means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from custom_components.evaluator import metrics
from custom_components.evaluator.bootstrap import Samples, resample
from custom_components.evaluator.candidates import Models
from custom_components.evaluator.rows import Batch, Predict
from custom_components.evaluator.verdict import BOOTSTRAP_FILE, LIVE
from pipeline.config import Metric, PipelineConfig
from pipeline.continuous.policy import Score
from pipeline.errors import UserError
from pipeline.lineage import files

if TYPE_CHECKING:
    from pipeline.lineage.artifact import Artifact


def score_live(
    config: PipelineConfig, live: Artifact, examples: Artifact
) -> dict[Metric, Score] | None:
    """The live model's metrics on all rows of ingested examples, whatever their split.

    Rows whose label or prediction is no number that counts are left out, as the evaluator does.

    Raises:
      UserError: the model or the rows cannot be read.
    """
    tallies: list[metrics.Tally] = []
    with files.folder(live) as model:
        predict = Predict(Models({LIVE: str(model)}))
        predict.setup()
        for split in json.loads(examples.properties["split_names"]):
            name = f"Split-{split}"
            with files.folder(examples, name) as folder:
                shards = sorted(str(file) for file in folder.iterdir() if file.is_file())
                try:
                    batches = chain.from_iterable(map(predict.process, shards))
                    tallies.extend(_tally(batch, config) for batch in batches)
                except tf.errors.OpError:
                    raise UserError(
                        f"{examples.uri}/{name}: not tf.Examples; {files.DAMAGED}"
                    ) from None
    if not tallies or not sum(found.sums[:, metrics.ROWS].sum() for found in tallies):
        return None
    whole = metrics.add_up(tallies)
    measured = metrics.measure(whole)
    drawn = resample({LIVE: whole}, {LIVE: measured}, config.evaluate.replicates).get(LIVE, {})
    before, before_samples = _at_push(live)
    return {
        metric: Score(
            value=value,
            samples=_numbers(drawn, metric),
            before=before.get(metric),
            before_samples=_numbers(before_samples, metric),
        )
        for metric, value in measured.items()
        if np.isfinite(value)
    }


def _tally(batch: Batch, config: PipelineConfig) -> metrics.Tally:
    column = batch.values(config.features.label).cast(pa.float64()).fill_null(np.nan)
    labels, predictions = column.to_numpy(zero_copy_only=False), batch.predictions[LIVE]
    usable = np.isin(labels, (0, 1)) & (predictions >= 0) & (predictions <= 1)
    scores = metrics.score(
        labels[usable] == 1,
        predictions[usable],
        batch.blocks(config.data.split_by or "")[usable],
        config.evaluate.decision_threshold,
    )
    return metrics.tally(scores, slice(None))


def _numbers(samples: Samples, metric: Metric) -> tuple[float, ...]:
    return tuple(samples[metric].tolist()) if metric in samples else ()


def _at_push(live: Artifact) -> tuple[Mapping[Metric, float], Samples]:
    """The live model's metrics when it was judged, and their samples; nothing where they went."""
    evaluation = live.evaluation()
    try:
        measured = live.metrics()
        assert evaluation is not None  # or it had no metrics
        with files.folder(evaluation) as folder:
            table = pq.read_table(folder / BOOTSTRAP_FILE).to_pylist()
    except (UserError, OSError):
        return {}, {}
    name = live.properties.get("framework")
    samples = {
        Metric(row["metric"]): np.asarray(row["values"], np.float64)
        for row in table
        if row["model"] == name
    }
    return {Metric(metric): v for metric, v in measured.items() if v is not None}, samples
