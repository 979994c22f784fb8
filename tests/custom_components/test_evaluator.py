"""The Evaluator: metrics, slices, guards, blessing and messages, on small data and real models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
import tensorflow as tf
from tensorflow_model_analysis.api import model_eval_lib as tfma
from tensorflow_model_analysis.api.types import EvalSharedModel
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)
from tfx.types import standard_artifacts

from custom_components.evaluator.component import Evaluator
from custom_components.evaluator.executor import Executor
from custom_components.evaluator.judge import judge
from custom_components.evaluator.verdict import CANARY_FILE, FILE, Rule, Slice, Verdict
from pipeline.config import EvaluateConfig, Metric
from pipeline.errors import UserError

BEAM_ARGS = ["--direct_running_mode=in_memory", "--sdk_container_image=unused"]
CARRIERS = np.array(["AA", "UA", "XX"])

Columns = dict[str, np.ndarray]


def make_rows(size: int = 3000, *, seed: int = 1) -> Columns:
    """Rows with a label, two slice columns, and columns that models predict straight from.

    `strong` tells more than `weak`; `uneven` is as `strong`, but turned around for carrier XX.
    """
    random = np.random.default_rng(seed)
    label = random.random(size) < 0.3
    strong = 1 / (1 + np.exp(1.2 - 2 * label - random.normal(size=size)))
    weak = 1 / (1 + np.exp(1.0 - 0.8 * label - random.normal(size=size)))
    carrier = random.choice(CARRIERS, size, p=[0.5, 0.4, 0.1])
    return {
        "late": label.astype(np.int64),
        "carrier": carrier,
        "hour": random.integers(0, 3, size),
        "strong": strong.astype(np.float32),
        "weak": weak.astype(np.float32),
        "uneven": np.where(carrier == "XX", 1 - strong, strong).astype(np.float32),
    }


def serialized(rows: Columns) -> list[bytes]:
    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        if isinstance(value, np.integer):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    name: feature(value)
                    for name, value in zip(rows, values, strict=True)
                    if value is not None
                }
            )
        ).SerializeToString()
        for values in zip(*rows.values(), strict=True)
    ]


def write_examples(folder: Path, *spans: Columns) -> list[standard_artifacts.Examples]:
    artifacts = []
    for span, rows in enumerate(spans):
        artifact = standard_artifacts.Examples()
        artifact.uri = str(folder / f"examples-{span}")
        artifact.split_names = json.dumps(["train", "eval"])
        file = Path(artifact.uri) / "Split-eval" / "data-00000-of-00001.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions("GZIP")) as writer:
            for example in serialized(rows):
                writer.write(example)
        artifacts.append(artifact)
    return artifacts


class Reader(tf.Module):
    """A model whose probability is a column of the row."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self._spec = {column: tf.io.FixedLenFeature([1], tf.float32)}
        self._column = column

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probability": tf.io.parse_example(examples, self._spec)[self._column]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Gives the location of a SavedModel that predicts what a column says."""
    folder = tmp_path_factory.mktemp("models")

    def save(column: str) -> str:
        path = folder / column / "Format-Serving"
        if not path.exists():
            model = Reader(column)
            tf.saved_model.save(model, str(path), {"serving_default": model.serve})
        return str(path.parent)

    return save


@dataclass
class Outcome:
    verdict: Verdict
    evaluation: standard_artifacts.ModelEvaluation
    blessing: standard_artifacts.ModelBlessing
    model: standard_artifacts.Model


def run(
    folder: Path,
    spans: Sequence[Columns],
    model_uri: str,
    live_uri: str | None = None,
    *,
    canary_rows: int = 20,
    label: str = "late",
    **settings: Any,
) -> Outcome:
    model = standard_artifacts.Model()
    model.uri, model.id = model_uri, 7
    live = standard_artifacts.PushedModel()
    if live_uri:
        live.uri, live.id = f"{live_uri}/Format-Serving", 5
    evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
    evaluation.uri, blessing.uri = str(folder / "evaluation"), str(folder / "blessing")
    Path(evaluation.uri).mkdir(parents=True)
    Executor(Executor.Context(beam_pipeline_args=BEAM_ARGS)).Do(
        {
            "examples": write_examples(folder, *spans),
            "model": [model],
            "baseline_model": [live] if live_uri else [],
        },
        {"evaluation": [evaluation], "blessing": [blessing]},
        {
            "evaluate": EvaluateConfig(**settings).model_dump_json(),
            "label": label,
            "candidate": "keras",
            "canary_rows": canary_rows,
        },
    )
    verdict = Verdict.model_validate_json((folder / "evaluation" / FILE).read_text())
    return Outcome(verdict, evaluation, blessing, model)


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, saved: Callable[[str], str]
) -> tuple[Outcome, Columns]:
    """A good model beside a weaker live one, on two spans, sliced twice."""
    first, second = make_rows(2000), make_rows(1500, seed=2)
    found = run(
        tmp_path_factory.mktemp("outcome"),
        [first, second],
        saved("strong"),
        saved("weak"),
        slices=[["carrier"], ["hour", "carrier"]],
        thresholds={
            "auc": {"min": 0.6, "max_regression": 0.0},
            "log_loss": {"max": 0.6},
            "calibration": {"min": 0.5, "max": 2.0},
        },
        guards=[{"columns": ["carrier"], "max_regression": 0.02, "min_rows": 300}],
        decision_threshold=0.4,
    )
    return found, {name: np.concatenate([first[name], second[name]]) for name in first}


def reference(labels: np.ndarray, predictions: np.ndarray, threshold: float) -> dict[str, float]:
    """The metrics as scikit-learn computes them."""
    flagged = predictions >= threshold
    return {
        "auc": sklearn.metrics.roc_auc_score(labels, predictions),
        "log_loss": sklearn.metrics.log_loss(labels, predictions),
        "calibration": predictions.astype(float).sum() / labels.sum(),
        "accuracy": sklearn.metrics.accuracy_score(labels, flagged),
        "precision": sklearn.metrics.precision_score(labels, flagged),
        "recall": sklearn.metrics.recall_score(labels, flagged),
    }


def test_metrics_are_scikit_learns_overall_and_in_every_slice(
    outcome: tuple[Outcome, Columns],
) -> None:
    found, rows = outcome
    verdict = found.verdict
    everything = Slice(
        columns={}, rows=verdict.rows, label_mean=verdict.label_mean, models=verdict.models
    )
    assert len(verdict.slices) == 3 + 9
    for part in [everything, *verdict.slices]:
        chosen = np.full(len(rows["late"]), True)
        for column, value in part.columns.items():
            chosen &= rows[column] == value
        labels = rows["late"][chosen]
        assert part.rows == len(labels)
        assert part.label_mean == pytest.approx(labels.mean())
        for model, column in {"keras": "strong", "live": "weak"}.items():
            expected = reference(labels, rows[column][chosen], 0.4)
            assert part.models[model] == pytest.approx(expected, abs=1e-4), part.name


def test_slices_come_in_the_order_of_the_configuration_largest_first(
    outcome: tuple[Outcome, Columns],
) -> None:
    slices = outcome[0].verdict.slices
    assert [part.columns for part in slices[:3]] == [{"carrier": c} for c in ("AA", "UA", "XX")]
    assert slices[0].rows > slices[1].rows > slices[2].rows
    assert list(slices[3].columns) == ["hour", "carrier"]


def test_a_better_model_is_blessed_for_tfx(outcome: tuple[Outcome, Columns]) -> None:
    found, _ = outcome
    assert found.verdict.blessed
    assert [path.name for path in Path(found.blessing.uri).iterdir()] == ["BLESSED"]
    assert found.blessing.get_int_custom_property("blessed") == 1
    assert found.blessing.get_string_custom_property("current_model") == found.model.uri
    assert found.blessing.get_int_custom_property("current_model_id") == 7
    assert found.blessing.get_int_custom_property("baseline_model_id") == 5
    resolved = LatestBlessedModelStrategy().resolve_artifacts(
        None, {"model": [found.model], "blessing": [found.blessing]}
    )
    assert resolved["model"] == [found.model]


def test_tfma_loads_the_evaluation(outcome: tuple[Outcome, Columns]) -> None:
    found, _ = outcome
    folder = found.evaluation.uri
    for model in ("keras", "live"):
        result = tfma.load_eval_result(folder, model_name=model)
        metrics = dict(result.slicing_metrics)
        assert len(metrics) == 1 + 3 + 9
        values = metrics[(("carrier", "UA"),)][""][""]
        part = next(s for s in found.verdict.slices if s.columns == {"carrier": "UA"})
        assert values["example_count"]["doubleValue"] == part.rows
        assert values["auc"]["doubleValue"] == part.models[model][Metric.AUC]
    assert len(tfma.load_eval_results(folder).get_results()) == 2
    assert [spec.name for spec in result.config.model_specs] == ["keras", "live"]
    assert tfma.load_validation_result(folder).validation_ok


def test_tfmas_own_evaluator_agrees(tmp_path: Path, saved: Callable[[str], str]) -> None:
    rows = make_rows(80)
    found = run(
        tmp_path,
        [rows],
        saved("weak"),
        saved("strong"),
        slices=[["carrier"]],
        thresholds={
            "auc": {"min": 0.5, "max_regression": 0.01},
            "log_loss": {"max": 0.1, "max_regression": 1.0},
            "recall": {"min": 0.001},
        },
    )
    ours = found.evaluation.uri
    config = tfma.load_eval_result(ours, model_name="keras").config
    columns = [rows["late"], rows["weak"], rows["strong"], rows["carrier"].astype(bytes)]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(column[:, None].tolist()) for column in columns],
        ["late", "keras", "live", "carrier"],
    )
    theirs = str(tmp_path / "theirs")
    with beam.Pipeline(argv=BEAM_ARGS) as pipeline:
        _ = (
            pipeline
            | beam.Create([batch])
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=config,
                output_path=theirs,
                eval_shared_model=[
                    EvalSharedModel(
                        model_name=name,
                        model_type="materialized_prediction",
                        is_baseline=name == "live",
                    )
                    for name in ("keras", "live")
                ],
            )
        )
    # TFMA's AUC takes predictions within 1e-4 for equal
    assert stored_metrics(ours) == pytest.approx(stored_metrics(theirs), abs=3e-3, nan_ok=True)
    assert stored_failures(ours) == stored_failures(theirs) != set()


def stored_metrics(folder: str) -> dict[str, float]:
    return {
        str((part.slice_key, pair.key.name, pair.key.model_name, pair.key.is_diff)): (
            pair.value.double_value.value
        )
        for part in tfma.load_metrics(folder)
        for pair in part.metric_keys_and_values
    }


def stored_failures(folder: str) -> set[tuple[str, bool]]:
    return {
        (failure.metric_key.name, failure.metric_key.is_diff)
        for part in tfma.load_validation_result(folder).metric_validations_per_slice
        for failure in part.failures
    }


def test_canary_rows_are_spread_and_carry_the_candidates_predictions(
    outcome: tuple[Outcome, Columns],
) -> None:
    found, rows = outcome
    table = pq.read_table(Path(found.evaluation.uri) / CANARY_FILE)
    everything = serialized(rows)
    positions = [everything.index(example) for example in table["example"].to_pylist()]
    assert len(positions) == 20
    assert min(positions) < 1000 and max(positions) > 2500
    np.testing.assert_allclose(table["prediction"], rows["strong"][positions], atol=1e-6)


def test_canary_rows_are_the_same_ones_each_time(
    tmp_path: Path, saved: Callable[[str], str]
) -> None:
    tables = [
        pq.read_table(
            Path(run(tmp_path / name, spans, saved("strong")).evaluation.uri) / CANARY_FILE
        )
        for name, spans in {
            "one": [make_rows(300), make_rows(300, seed=2)],
            "turned": [make_rows(300, seed=2), make_rows(300)],
        }.items()
    ]
    assert tables[0].equals(tables[1])


def test_first_model_is_blessed_without_a_live_one(
    tmp_path: Path, saved: Callable[[str], str]
) -> None:
    found = run(
        tmp_path,
        [make_rows(500)],
        saved("strong"),
        slices=[["carrier"]],
        thresholds={"auc": {"min": 0.6, "max_regression": 0.0}},
        guards=[{"columns": ["carrier"]}],
    )
    assert found.verdict.blessed and found.verdict.live is None
    assert [check.judged for check in found.verdict.checks] == [True, False, False]
    assert "no model is live" in found.verdict.checks[1].reason
    assert not found.blessing.has_custom_property("baseline_model_id")
    assert tfma.load_validation_result(found.evaluation.uri).rubber_stamp


def test_model_below_a_minimum_is_not_blessed_and_the_run_succeeds(
    tmp_path: Path, saved: Callable[[str], str]
) -> None:
    found = run(tmp_path, [make_rows(800)], saved("weak"), thresholds={"auc": {"min": 0.9}})
    assert not found.verdict.blessed
    assert [path.name for path in Path(found.blessing.uri).iterdir()] == ["NOT_BLESSED"]
    assert found.blessing.get_int_custom_property("blessed") == 0
    message = found.blessing.get_string_custom_property("blessing_message")
    assert re.fullmatch(r"auc 0\.\d{4} is below 0.9", message)
    result = tfma.load_validation_result(found.evaluation.uri)
    assert not result.validation_ok
    (failure,) = result.metric_validations_per_slice[0].failures
    assert failure.metric_key.name == "auc"
    assert failure.metric_threshold.value_threshold.lower_bound.value == 0.9


def test_model_worse_than_the_live_one_is_not_blessed(
    tmp_path: Path, saved: Callable[[str], str]
) -> None:
    found = run(
        tmp_path,
        [make_rows(800)],
        saved("weak"),
        saved("strong"),
        thresholds={"auc": {"max_regression": 0.01}, "log_loss": {"max_regression": 10}},
    )
    assert not found.verdict.blessed
    (failure,) = found.verdict.failures
    assert failure.rule is Rule.MAX_REGRESSION and failure.metric is Metric.AUC
    assert "worse than the live" in failure.reason and "0.01 is allowed" in failure.reason


def test_guard_catches_one_slice_that_is_clearly_worse_in_a_model_that_is_better(
    tmp_path: Path, saved: Callable[[str], str]
) -> None:
    found = run(
        tmp_path,
        [make_rows(3000)],
        saved("uneven"),
        saved("weak"),
        slices=[["carrier"]],
        thresholds={"auc": {"max_regression": 0.0}},
        guards=[{"columns": ["carrier"], "max_regression": 0.05, "min_rows": 100}],
    )
    verdict = found.verdict
    assert verdict.models["keras"][Metric.AUC] > verdict.models["live"][Metric.AUC]
    assert not verdict.blessed
    assert [check.slice for check in verdict.failures] == [{"carrier": "XX"}]
    assert "carrier XX: auc" in verdict.failures[0].reason
    result = tfma.load_validation_result(found.evaluation.uri)
    assert result.metric_validations_per_slice[0].failures[0].metric_key.is_diff


def test_small_slice_is_reported_not_judged(tmp_path: Path, saved: Callable[[str], str]) -> None:
    found = run(
        tmp_path,
        [make_rows(3000)],
        saved("uneven"),
        saved("weak"),
        slices=[["carrier"]],
        guards=[{"columns": ["carrier"], "min_rows": 500}],
    )
    assert found.verdict.blessed
    small = next(check for check in found.verdict.checks if check.slice == {"carrier": "XX"})
    assert not small.judged and small.passed
    assert small.value is not None and small.live is not None
    assert "fewer than the 500" in small.reason


def test_slice_of_one_class_is_reported_not_judged(
    tmp_path: Path, saved: Callable[[str], str]
) -> None:
    rows = make_rows(600)
    rows["late"][rows["carrier"] == "XX"] = 0
    found = run(
        tmp_path,
        [rows],
        saved("strong"),
        saved("weak"),
        slices=[["carrier"]],
        guards=[{"columns": ["carrier"], "min_rows": 1}],
    )
    one_class = next(check for check in found.verdict.checks if check.slice == {"carrier": "XX"})
    assert not one_class.judged and one_class.value is None
    assert "auc is undefined" in one_class.reason
    assert found.verdict.blessed


def test_row_without_a_value_is_in_no_slice(tmp_path: Path, saved: Callable[[str], str]) -> None:
    rows = make_rows(200)
    carrier = rows["carrier"].astype(object)
    carrier[:50] = None
    found = run(tmp_path, [rows | {"carrier": carrier}], saved("strong"), slices=[["carrier"]])
    assert found.verdict.rows == 200
    assert sum(part.rows for part in found.verdict.slices) == 150


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda rows: {n: v[:0] for n, v in rows.items()}, {}, "has no rows"),
        (lambda rows: rows | {"late": rows["late"] * 0}, {}, "have late = 0: one class"),
        (lambda rows: rows | {"late": rows["late"] * 2}, {}, "'late' is missing or neither 0 nor"),
        (lambda rows: rows | {"strong": rows["strong"] + 1}, {}, "'keras' gave no probability"),
        (lambda rows: rows, {"slices": [["airline"]]}, r"evaluate.slices names \['airline'\]"),
        (lambda rows: rows, {"label": "delayed"}, "'delayed' is missing"),
    ],
)
def test_rows_that_cannot_judge_a_model_are_refused_in_words(
    tmp_path: Path,
    saved: Callable[[str], str],
    change: Callable[[Columns], Columns],
    settings: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [change(make_rows(50))], saved("strong"), **settings)


def test_examples_without_an_eval_split_are_refused_in_words(
    tmp_path: Path, saved: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("custom_components.evaluator.executor.SPLIT", "test")
    with pytest.raises(UserError, match="has no split 'test' to judge models by"):
        run(tmp_path, [make_rows(5)], saved("strong"))


@tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="distance")])
def takes_a_column(distance: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"probability": distance}


@tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
def gives_scores(examples: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"scores": tf.zeros_like(examples, tf.float32)}


@pytest.mark.parametrize(
    ("signatures", "message"),
    [
        ({"predict": gives_scores}, "no signature 'serving_default' .it has: predict"),
        ({"serving_default": takes_a_column}, r"takes distance \(float\); expected one string"),
        ({"serving_default": gives_scores}, "gives scores; expected 'probability'"),
        (None, "is no SavedModel"),
    ],
)
def test_signature_that_does_not_fit_is_refused_in_words(
    tmp_path: Path, signatures: dict[str, Any] | None, message: str
) -> None:
    if signatures is not None:
        module = tf.Module()
        module.functions = list(signatures.values())
        tf.saved_model.save(module, str(tmp_path / "model" / "Format-Serving"), signatures)
    with pytest.raises(UserError, match=f"the model 'keras'.*{message}"):
        run(tmp_path, [make_rows(5)], str(tmp_path / "model"))


def test_live_model_that_does_not_fit_is_named(tmp_path: Path, saved: Callable[[str], str]) -> None:
    with pytest.raises(UserError, match="the live model is no SavedModel"):
        run(tmp_path, [make_rows(5)], saved("strong"), str(tmp_path))


def whole(**models: float | None) -> list[Slice]:
    return [
        Slice(
            columns={},
            rows=100,
            label_mean=0.5,
            models={name: dict.fromkeys(Metric, value) for name, value in models.items()},
        )
    ]


@pytest.mark.parametrize(
    ("metric", "value", "live", "passed"),
    [
        ("auc", 0.79, 0.80, True),
        ("auc", 0.77, 0.80, False),
        ("log_loss", 0.51, 0.50, True),
        ("log_loss", 0.53, 0.50, False),
        ("log_loss", 0.30, 0.50, True),
        ("calibration", 0.95, 1.05, True),
        ("calibration", 0.90, 1.05, False),
        ("calibration", 1.00, 1.50, True),
        ("precision", None, 0.50, False),
        ("precision", None, None, True),
    ],
)
def test_regression_is_measured_towards_the_worse_side_of_the_metric(
    metric: str, value: float | None, live: float | None, passed: bool
) -> None:
    config = EvaluateConfig(thresholds={metric: {"max_regression": 0.02}})
    (check,) = judge(config, whole(keras=value, live=live), "keras", "live")
    assert check.passed is passed


def test_threshold_of_an_undefined_metric_is_not_met() -> None:
    config = EvaluateConfig(thresholds={"precision": {"min": 0.1}})
    (check,) = judge(config, whole(keras=None), "keras", None)
    assert check.judged and not check.passed


def test_component_takes_no_live_model() -> None:
    from tfx.types import Channel

    evaluator = Evaluator(
        examples=Channel(type=standard_artifacts.Examples),
        model=Channel(type=standard_artifacts.Model),
        evaluate=EvaluateConfig().model_dump_json(),
        label="late",
        canary_rows=10,
    )
    assert set(evaluator.outputs) == {"evaluation", "blessing"}
    assert "baseline_model" not in evaluator.inputs
