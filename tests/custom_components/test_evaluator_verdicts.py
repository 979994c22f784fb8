"""What the Evaluator decides: thresholds, guards, blessing, and what it refuses in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_model_analysis.api import model_eval_lib as tfma
from tfx.types import standard_artifacts

from custom_components.evaluator.component import Evaluator
from custom_components.evaluator.judge import judge
from custom_components.evaluator.verdict import Rule, Slice
from pipeline.errors import UserError
from pipeline.evaluate_config import EvaluateConfig, Metric
from pipeline.features_config import FeaturesConfig
from tests.custom_components.evaluations import Columns, make_rows, run, seal


def test_first_model_is_blessed_without_a_live_one(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    found = run(
        tmp_path,
        [make_rows(500)],
        saved("strong"),
        slices=[["carrier"]],
        thresholds={"auc": {"min": 0.6, "max_regression": 0.0}},
        guards=[{"columns": ["carrier"]}],
    )
    assert found.verdict.blessed == {"keras": True} and found.verdict.live is None
    assert [check.judged for check in found.verdict.checks] == [True, False, False]
    assert "no live model" in found.verdict.checks[1].reason
    assert not found.blessings["keras"].has_custom_property("baseline_model_id")
    assert tfma.load_validation_result(found.evaluation.uri).rubber_stamp


def test_model_below_a_minimum_is_not_blessed_and_the_run_succeeds(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    found = run(tmp_path, [make_rows(800)], saved("weak"), thresholds={"auc": {"min": 0.9}})
    assert not found.verdict.blessed["keras"]
    assert [path.name for path in Path(found.blessings["keras"].uri).iterdir()] == ["NOT_BLESSED"]
    assert found.blessings["keras"].get_int_custom_property("blessed") == 0
    message = found.blessings["keras"].get_string_custom_property("blessing_message")
    assert re.fullmatch(r"auc 0\.\d{4} is below 0.9", message)
    result = tfma.load_validation_result(found.evaluation.uri)
    assert not result.validation_ok
    (failure,) = result.metric_validations_per_slice[0].failures
    assert failure.metric_key.name == "auc"
    assert failure.metric_threshold.value_threshold.lower_bound.value == 0.9


def test_model_worse_than_the_live_one_is_not_blessed(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    found = run(
        tmp_path,
        [make_rows(800)],
        saved("weak"),
        live=saved("strong"),
        thresholds={"auc": {"max_regression": 0.01}, "log_loss": {"max_regression": 10}},
    )
    assert not found.verdict.blessed["keras"]
    (failure,) = found.verdict.failures("keras")
    assert failure.rule is Rule.MAX_REGRESSION and failure.metric is Metric.AUC
    assert "worse than the live" in failure.reason and "0.01 is allowed" in failure.reason


def test_guard_catches_one_slice_that_is_clearly_worse_in_a_model_that_is_better(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    found = run(
        tmp_path,
        [make_rows(3000)],
        saved("uneven"),
        live=saved("weak"),
        slices=[["carrier"]],
        thresholds={"auc": {"max_regression": 0.0}},
        guards=[{"columns": ["carrier"], "max_regression": 0.05, "min_rows": 100}],
    )
    verdict = found.verdict
    assert verdict.models["keras"][Metric.AUC] > verdict.models["live"][Metric.AUC]
    assert not verdict.blessed["keras"]
    assert [check.slice for check in verdict.failures("keras")] == [{"carrier": "XX"}]
    assert "carrier XX: auc" in verdict.failures("keras")[0].reason
    result = tfma.load_validation_result(found.evaluation.uri)
    assert result.metric_validations_per_slice[0].failures[0].metric_key.is_diff


def test_small_slice_is_reported_not_judged(tmp_path: Path, saved: Callable[..., str]) -> None:
    found = run(
        tmp_path,
        [make_rows(3000)],
        saved("uneven"),
        live=saved("weak"),
        slices=[["carrier"]],
        guards=[{"columns": ["carrier"], "min_rows": 500}],
    )
    assert found.verdict.blessed["keras"]
    small = next(check for check in found.verdict.checks if check.slice == {"carrier": "XX"})
    assert not small.judged and small.passed
    assert small.value is not None and small.live is not None
    assert "fewer than the 500" in small.reason


def test_slice_of_one_class_is_reported_not_judged(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    rows = make_rows(600)
    rows["late"][rows["carrier"] == "XX"] = 0
    found = run(
        tmp_path,
        [rows],
        saved("strong"),
        live=saved("weak"),
        slices=[["carrier"]],
        guards=[{"columns": ["carrier"], "min_rows": 1}],
    )
    one_class = next(check for check in found.verdict.checks if check.slice == {"carrier": "XX"})
    assert not one_class.judged and one_class.value is None
    assert "auc is undefined" in one_class.reason
    assert found.verdict.blessed["keras"]


def test_row_without_a_value_is_in_no_slice(tmp_path: Path, saved: Callable[..., str]) -> None:
    rows = make_rows(200)
    carrier = rows["carrier"].astype(object)
    carrier[:50] = None
    found = run(tmp_path, [rows | {"carrier": carrier}], saved("strong"), slices=[["carrier"]])
    assert found.verdict.rows == 200
    assert sum(part.rows for part in found.verdict.slices) == 150


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda rows: {n: v[:0] for n, v in rows.items()}, {}, "span 0: there is no row to judge"),
        (lambda rows: rows | {"late": rows["late"] * 0}, {}, "have the same late: one class"),
        (lambda rows: rows | {"late": rows["late"] * 2}, {}, "'late' is missing or neither 0 nor"),
        (lambda rows: rows | {"strong": rows["strong"] + 1}, {}, "'keras' gave no probability"),
        (lambda rows: rows, {"slices": [["airline"]]}, r"evaluate.slices names \['airline'\]"),
        (lambda rows: rows, {"label": "delayed"}, "'delayed' is missing"),
    ],
)
def test_rows_that_cannot_judge_a_model_are_refused_in_words(
    tmp_path: Path,
    saved: Callable[..., str],
    change: Callable[[Columns], Columns],
    settings: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [change(make_rows(50))], saved("strong"), **settings)


def test_examples_without_an_eval_split_are_refused_in_words(
    tmp_path: Path, saved: Callable[..., str], monkeypatch: pytest.MonkeyPatch
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
        ({}, "is no SavedModel"),
    ],
)
def test_signature_that_does_not_fit_is_refused_in_words(
    tmp_path: Path, signatures: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "model" / "Format-Serving"
    folder.mkdir(parents=True)
    if signatures:
        module = tf.Module()
        module.functions = list(signatures.values())
        tf.saved_model.save(module, str(folder), signatures)
    seal(folder, "distance")
    with pytest.raises(UserError, match=f"a candidate .keras..*{message}"):
        run(tmp_path, [make_rows(5)], str(tmp_path / "model"))


def test_what_is_no_bundle_is_refused_in_words(tmp_path: Path, saved: Callable[..., str]) -> None:
    with pytest.raises(UserError, match=r"a candidate cannot be evaluated: .*bundle\.json"):
        run(tmp_path / "candidate", [make_rows(5)], str(tmp_path))
    with pytest.raises(UserError, match=r"the live model cannot be evaluated: .*bundle\.json"):
        run(tmp_path / "live", [make_rows(5)], saved("strong"), live=str(tmp_path))


def test_two_candidates_of_one_name_are_refused_in_words(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match="two models are called 'keras'"):
        run(tmp_path, [make_rows(5)], saved("strong"), saved("weak"))


def test_model_of_many_classes_is_refused_in_words(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def of_three_classes(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probability": tf.zeros([tf.size(examples), 3])}

    folder = tmp_path / "model" / "Format-Serving"
    tf.saved_model.save(tf.Module(), str(folder), {"serving_default": of_three_classes})
    seal(folder, "strong")
    with pytest.raises(UserError, match="'keras' gives 3 numbers for a row; expected 1"):
        run(tmp_path, [make_rows(5)], str(tmp_path / "model"))


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
        ("rmse", 10_150.0, 10_000.0, True),
        ("rmse", 10_250.0, 10_000.0, False),
        ("r2", 0.47, 0.50, False),
        ("bias", -0.5, 0.49, True),
        ("bias", 0.49, 0.0, False),
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


def test_a_bound_in_the_unit_of_the_label_is_told_in_full() -> None:
    config = EvaluateConfig(thresholds={"rmse": {"max": 1_250_000}})
    (check,) = judge(config, whole(keras=1_300_000.0), "keras", None)
    assert check.reason == "rmse 1,300,000 is above 1,250,000"
    assert check.bound_words == "1,250,000"


def test_threshold_of_an_undefined_metric_is_not_met() -> None:
    config = EvaluateConfig(thresholds={"precision": {"min": 0.1}})
    (check,) = judge(config, whole(keras=None), "keras", None)
    assert check.judged and not check.passed


def test_component_takes_no_live_model() -> None:
    from tfx.types import Channel

    evaluator = Evaluator(
        examples=Channel(type=standard_artifacts.Examples),
        models=Channel(type=standard_artifacts.Model),
        evaluate=EvaluateConfig().model_dump_json(),
        features=FeaturesConfig(label="late", numeric=("strong",)),
        canary_rows=10,
        ensemble=0,
        group_by="",
    )
    assert set(evaluator.outputs) == {"evaluation", "blessing"}
    assert "baseline_model" not in evaluator.inputs
