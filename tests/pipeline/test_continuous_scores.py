"""Models' scores on a new span are the evaluator's, on all of its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss, roc_auc_score

from custom_components.evaluator import candidates, rows
from custom_components.evaluator.verdict import BOOTSTRAP_FILE, FILE, LIVE, Verdict
from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.live_scores import score
from pipeline.continuous.policy import Score
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from tests.pipeline.written_store import Writer

RANDOM = np.random.default_rng(7)
LABELS = RANDOM.integers(0, 2, 600)
PROBABILITIES = np.clip(0.3 * LABELS + RANDOM.uniform(0.1, 0.6, 600), 0, 1).astype(np.float32)


class Answers:
    """A model whose answer stands in the row; a challenger's is a better one."""

    def __init__(self, folder: str) -> None:
        self._power = 2 if folder.endswith("Format-Serving") else 1

    def predict_examples(self, examples: Any) -> Any:
        parsed = (tf.train.Example.FromString(example) for example in examples)
        said = [one.features.feature["temp"].float_list.value[0] for one in parsed]
        return np.array(said) ** self._power


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineConfig:
    for module in (candidates, rows):
        monkeypatch.setattr(module, "load", Answers)
    return load(DEFAULT, [f"root={json.dumps(str(tmp_path / 'root'))}"])


def written(folder: Path, split: str, labels: Any, probabilities: Any) -> None:
    (folder / f"Split-{split}").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / f"Split-{split}/data.gz"), "GZIP") as file:
        for i, (label, probability) in enumerate(zip(labels, probabilities, strict=True)):
            example = tf.train.Example()
            features = example.features.feature
            if label is not None:
                features["late"].int64_list.value.append(label)
            features["temp"].float_list.value.append(probability)
            features["date"].bytes_list.value.append(f"day-{i % 30}".encode())
            file.write(example.SerializeToString())


def score_live(
    config: PipelineConfig, live: lineage.Artifact, examples: lineage.Artifact
) -> dict[Metric, Score] | None:
    found = score(config, {LIVE: live}, examples)
    return found and found[LIVE]


def artifacts(
    config: PipelineConfig, tmp_path: Path, *, judged: bool
) -> tuple[lineage.Artifact, lineage.Artifact]:
    """The live model and the examples of a new span, and how the model was judged."""
    w = Writer(config.local_root)
    (tmp_path / "model").mkdir()
    evaluation = w.artifact("ModelEvaluation", uri=str(tmp_path / "evaluation"))
    live = w.artifact("PushedModel", uri=str(tmp_path / "model"), pushed=1, framework="xgboost")
    w.execution("Pusher", [evaluation], [live])
    if judged:
        verdict = Verdict(
            candidates=("keras", "xgboost"), blessed={}, live=None, rows=10, label_mean=0.5,
            models={"keras": {Metric.AUC: 0.5}, "xgboost": {Metric.AUC: 0.75}},
            slices=[], checks=[],
        )  # fmt: skip
        (tmp_path / "evaluation").mkdir()
        (tmp_path / "evaluation" / FILE).write_text(verdict.model_dump_json())
        samples = {
            "model": ["keras", "xgboost"],
            "metric": ["auc", "auc"],
            "values": [[0.4, 0.6], [0.7, 0.8]],
        }
        pq.write_table(pa.table(samples), tmp_path / "evaluation" / BOOTSTRAP_FILE)
    uri = str(tmp_path / "examples")
    examples = w.artifact("Examples", uri=uri, span=4, split_names='["train", "eval"]')
    store = lineage.open(config)
    return store.artifact(live), store.artifact(examples)


def test_all_rows_of_all_splits_are_scored_and_compared_with_the_push(
    config: PipelineConfig, tmp_path: Path
) -> None:
    written(tmp_path / "examples", "train", LABELS[:400], PROBABILITIES[:400])
    written(tmp_path / "examples", "eval", LABELS[400:], PROBABILITIES[400:])
    scores = score_live(config, *artifacts(config, tmp_path, judged=True))
    assert scores is not None
    auc = scores[Metric.AUC]
    assert auc.value == pytest.approx(roc_auc_score(LABELS, PROBABILITIES), abs=1e-4)
    assert scores[Metric.LOG_LOSS].value == pytest.approx(log_loss(LABELS, PROBABILITIES), abs=1e-5)
    assert len(auc.samples) == config.evaluate.replicates
    assert min(auc.samples) < auc.value < max(auc.samples)
    assert (auc.before, auc.before_samples) == (0.75, (0.7, 0.8))
    assert (scores[Metric.LOG_LOSS].before, scores[Metric.LOG_LOSS].before_samples) == (None, ())


def test_rows_without_a_label_are_left_out(config: PipelineConfig, tmp_path: Path) -> None:
    labels = [None if i < 100 else label for i, label in enumerate(LABELS[:400])]
    written(tmp_path / "examples", "train", labels, PROBABILITIES[:400])
    written(tmp_path / "examples", "eval", [], [])
    scores = score_live(config, *artifacts(config, tmp_path, judged=False))
    assert scores is not None
    expected = roc_auc_score(LABELS[100:400], PROBABILITIES[100:400])
    assert scores[Metric.AUC].value == pytest.approx(expected, abs=1e-4)
    assert scores[Metric.AUC].before is None


def test_rows_that_are_damaged_are_a_sentence(config: PipelineConfig, tmp_path: Path) -> None:
    written(tmp_path / "examples", "train", LABELS, PROBABILITIES)
    (tmp_path / "examples/Split-train/data.gz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"Split-train: not tf\.Examples; it was damaged since"):
        score_live(config, *artifacts(config, tmp_path, judged=False))


def test_a_span_without_any_label_has_no_scores(config: PipelineConfig, tmp_path: Path) -> None:
    written(tmp_path / "examples", "train", [None] * 50, PROBABILITIES[:50])
    written(tmp_path / "examples", "eval", [], [])
    assert score_live(config, *artifacts(config, tmp_path, judged=True)) is None


def test_a_regressions_scores_are_of_its_metrics(tmp_path: Path, config: PipelineConfig) -> None:
    overrides = [
        f"root={json.dumps(str(tmp_path / 'root'))}",
        "features.problem=regression",
        "evaluate.thresholds={}",
        "evaluate.guards=[]",
        "select.metric=rmse",
        "evaluate.metrics=['rmse','r2']",
        "continuous.performance.rmse.max_fall=0.1",
    ]
    written(tmp_path / "examples", "train", LABELS, PROBABILITIES)
    written(tmp_path / "examples", "eval", [], [])
    scores = score_live(load(DEFAULT, overrides), *artifacts(config, tmp_path, judged=True))
    assert scores is not None and set(scores) == set(Metric.of(Problem.REGRESSION))
    expected = np.sqrt(np.mean((PROBABILITIES - LABELS) ** 2))
    assert scores[Metric.RMSE].value == pytest.approx(expected)
    assert len(scores[Metric.RMSE].samples) == config.evaluate.replicates


def test_two_models_are_scored_on_the_same_rows_in_the_same_samples(
    config: PipelineConfig, tmp_path: Path
) -> None:
    probabilities = PROBABILITIES.copy()
    probabilities[7] = 2.0  # one row that both have to do without
    written(tmp_path / "examples", "train", LABELS, probabilities)
    written(tmp_path / "examples", "eval", [], [])
    live, examples = artifacts(config, tmp_path, judged=False)
    (tmp_path / "challenger/Format-Serving").mkdir(parents=True)
    w = Writer(config.local_root)
    challenger = w.artifact("Model", uri=str(tmp_path / "challenger"), framework="keras")
    models = {LIVE: live, "challenger": lineage.open(config).artifact(challenger)}
    found = score(config, models, examples)
    assert found is not None
    both = {name: scores[Metric.AUC] for name, scores in found.items()}
    # A power changes no order: the AUC is the same in each sample, if these are the same.
    assert both["challenger"].samples == pytest.approx(both[LIVE].samples, abs=5e-3)
    losses = {name: scores[Metric.LOG_LOSS].value for name, scores in found.items()}
    kept = np.arange(len(LABELS)) != 7
    expected = log_loss(LABELS[kept], PROBABILITIES[kept] ** 2.0)
    assert losses["challenger"] == pytest.approx(expected, abs=1e-4)
    assert losses["challenger"] != pytest.approx(losses[LIVE], abs=1e-3)
