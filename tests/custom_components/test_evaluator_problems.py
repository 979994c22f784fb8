"""Evaluations of several classes, of a regression and by cross-validation, as the node runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
from tensorflow_model_analysis.api import model_eval_lib as tfma

from custom_components.evaluator import evaluate, executor
from custom_components.evaluator.candidates import Target
from custom_components.evaluator.confusion import Confusion
from custom_components.evaluator.curves import Curves
from custom_components.evaluator.points import Points
from custom_components.evaluator.verdict import CANARY_FILE, REPEATS_FILE
from models.out_of_fold import OutOfFold
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from tests.custom_components.evaluations import (
    BINARY,
    Columns,
    Outcome,
    make_rows,
    run,
    save_reader,
    serialized,
)

COLOURS = Target(Problem.MULTICLASS, ("red", "green", "blue"))
PRICE = Target(Problem.REGRESSION, ())
GOOD, POOR = ("good0", "good1", "good2"), ("poor0", "poor1", "poor2")


def colours(size: int = 600) -> Columns:
    random = np.random.default_rng(4)
    label = random.choice(3, size, p=[0.6, 0.3, 0.1])
    rows: Columns = {"late": np.array(COLOURS.classes)[label], "site": random.integers(0, 2, size)}
    for names, strength in ((GOOD, 2.0), (POOR, 0.5)):
        logits = random.normal(size=(size, 3)) + strength * np.eye(3)[label]
        said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        rows |= dict(zip(names, said.T.astype(np.float32), strict=True))
    return rows


def prices(size: int = 3000) -> Columns:
    random = np.random.default_rng(5)
    price = random.lognormal(12, 0.5, size)
    return {
        "late": price.astype(np.float32),
        "site": random.integers(0, 2, size),
        "good": (price * random.lognormal(0, 0.1, size)).astype(np.float32),
        "poor": (price * random.lognormal(0.1, 0.3, size)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("problems")


@pytest.fixture(scope="module")
def coloured(folder: Path) -> Outcome:
    models = [
        save_reader(folder / "good", *GOOD, target=COLOURS, held_out_loss=0.1),
        save_reader(folder / "poor", *POOR, target=COLOURS, framework="xgboost"),
    ]
    return run(
        folder / "coloured",
        [colours()],
        *models,
        live=models[1],
        target=COLOURS,
        ensemble=2,
        slices=[["site"]],
        guards=[{"columns": ["site"], "metric": "macro_f1", "min_rows": 10}],
        thresholds={"log_loss": {"max": 1.0}},
    )


@pytest.fixture(scope="module")
def priced(folder: Path) -> Outcome:
    models = [
        save_reader(folder / f"price-{name}", name, target=PRICE) for name in ("good", "poor")
    ]
    return run(
        folder / "priced",
        [prices()],
        models[0],
        live=models[1],
        target=PRICE,
        slices=[["site"]],
        thresholds={"rmse": {"max_regression": 0.01}, "r2": {"min": 0.99}},
    )


def test_several_classes_are_judged_by_their_probabilities(coloured: Outcome) -> None:
    verdict, rows = coloured.verdict, colours()
    assert (verdict.problem, verdict.classes) == (Problem.MULTICLASS, COLOURS.classes)
    labels = np.array([COLOURS.classes.index(name) for name in rows["late"]])
    assert verdict.label_mean == np.mean(labels == 0)
    both = [np.stack([rows[name] for name in names], axis=1) for names in (GOOD, POOR)]
    said = {"keras": both[0], "live": both[1], "ensemble": np.mean(both, axis=0)}
    for name, probabilities in said.items():
        expected = {
            Metric.MACRO_F1: sklearn.metrics.f1_score(
                labels, probabilities.argmax(axis=1), average="macro"
            ),
            Metric.LOG_LOSS: sklearn.metrics.log_loss(labels, probabilities.astype(float)),
        }
        found = verdict.models[name]
        assert {m: found[m] for m in expected} == pytest.approx(expected, abs=1e-6), name
        low, high = verdict.intervals[name][Metric.MACRO_F1]
        assert low < found[Metric.MACRO_F1] < high
    assert verdict.blessed == {"keras": True, "xgboost": False, "ensemble": True}
    assert sum(part.rows for part in verdict.slices) == 600


def test_of_several_classes_each_is_told_and_which_is_taken_for_which(coloured: Outcome) -> None:
    found = Confusion.read(coloured.folder)
    assert found.models == ("keras", "xgboost", "ensemble", "live")
    assert found.classes == COLOURS.classes
    assert found.matrix("keras").sum(axis=1).tolist() == [
        one.rows for one in coloured.verdict.by_class["keras"]
    ]
    assert coloured.verdict.by_class["keras"] == found.by_class("keras")
    calibrated = Curves.read(coloured.folder).calibration("live")
    assert sum(point.rows for point in calibrated) == 600
    canary = pq.read_table(coloured.folder / CANARY_FILE)
    assert np.shape(canary["ensemble"].to_pylist()) == (20, 3)


def test_a_regression_is_judged_by_its_errors(priced: Outcome) -> None:
    verdict, rows = priced.verdict, prices()
    errors = rows["good"].astype(float) - rows["late"]
    assert verdict.models["keras"][Metric.RMSE] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert verdict.label_mean == pytest.approx(rows["late"].mean(), rel=1e-6)
    told = verdict.errors["keras"]
    assert told.size[0.9] == pytest.approx(np.quantile(np.abs(errors), 0.9), rel=0.01)
    one = verdict.slices[0]
    errors = errors[rows["site"] == one.columns["site"]]
    expected = np.quantile(errors, 0.05, method="lower")
    assert one.errors["keras"].signed[0.05] == pytest.approx(expected, rel=0.0051)
    (check,) = verdict.failures("keras")
    assert check.metric is Metric.R2
    points = Points.read(priced.folder)
    assert points.models == ("keras", "live") and len(points.labels) == 2000
    assert points.calibration("live")[9].predicted > points.calibration("live")[9].observed
    with pytest.raises(UserError, match=r"no points of a model 'torch'; there are: keras, live"):
        points.predictions("torch")


@pytest.mark.parametrize("outcome", ["coloured", "priced"])
def test_tfma_loads_it(outcome: str, request: pytest.FixtureRequest) -> None:
    found: Outcome = request.getfixturevalue(outcome)
    result = tfma.load_eval_result(str(found.folder), model_name="keras")
    values = dict(result.slicing_metrics)[()][""][""]
    for metric, value in found.verdict.models["keras"].items():
        assert values[metric]["boundedValue"]["value"] == value
    assert not tfma.load_validation_result(str(found.folder)).validation_ok


@pytest.mark.parametrize(
    ("target", "change", "message"),
    [
        (COLOURS, {"late": "pink"}, "'late' is missing or none of the 3 classes"),
        (COLOURS, {"good1": 2.0}, "'keras' gave no probabilities of 3 classes"),
        (PRICE, {"late": np.nan}, "'late' is missing or no finite number"),
        (PRICE, {"good": np.inf}, "'keras' gave no finite number for 1 of 50 rows"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused_in_words(
    tmp_path: Path, folder: Path, target: Target, change: dict[str, object], message: str
) -> None:
    rows, columns = (colours(50), GOOD) if target == COLOURS else (prices(50), ("good",))
    for name, value in change.items():
        rows[name][0] = value
    uri = save_reader(tmp_path / "model", *columns, target=target)
    with pytest.raises(UserError, match=message):
        run(tmp_path, [rows], uri, target=target)


def test_a_live_model_of_another_problem_is_refused_in_words(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    uri = save_reader(tmp_path / "model", *GOOD, target=COLOURS)
    message = r"the live model predicts binary \(0, 1\), and .* multiclass \(red, green, blue\)"
    with pytest.raises(UserError, match=message):
        run(tmp_path / "live", [colours(50)], uri, live=saved("strong"), target=COLOURS)
    with pytest.raises(UserError, match=r"a candidate \(keras\) was trained for .*multiclass"):
        run(tmp_path / "candidate", [make_rows(50)], uri)


@pytest.mark.parametrize("target", [BINARY, COLOURS], ids=["binary", "several"])
def test_in_a_cross_validation_unlearned_predictions_judge_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Target
) -> None:
    classes = target.classes
    columns = ("strong",) if target == BINARY else GOOD
    parts = [make_rows(80), make_rows(120, seed=2)] if target == BINARY else [colours(80)] * 2
    if target == COLOURS:
        parts[1] = {name: values[:70] for name, values in colours(90).items()}
    data = serialized(parts[0]) + serialized(parts[1])
    random = np.random.default_rng(0)
    said = random.dirichlet(np.ones(len(classes)), size=(3, len(data))).astype(np.float32)
    said = said[..., 1] if target == BINARY else said
    known = OutOfFold({key: row for row, key in enumerate(OutOfFold.keys(data))}, said)
    half = OutOfFold({key: n for n, key in enumerate(OutOfFold.keys(data[:50]))}, said[:2, :50])
    uri = save_reader(tmp_path / "model", *columns, target=target, out_of_fold=known)
    live = save_reader(tmp_path / "live", *columns, target=target, out_of_fold=half)
    asked = {
        "target": target,
        "train": parts[0],
        "live": live,
        "slices": [["carrier"]] if target == BINARY else [["site"]],
        "cross_validation": {"folds": 5, "repeats": 3},
    }
    found = run(tmp_path / "here", [parts[1]], uri, **asked)
    monkeypatch.setattr(executor, "runs_here", lambda _: False)
    monkeypatch.setattr(evaluate, "evaluate_here", None)
    by_beam = run(tmp_path / "beam", [parts[1]], uri, **asked)
    verdict = found.verdict
    assert verdict.rows == len(data) == sum(part.rows for part in verdict.slices)
    assert verdict.judged_on == "all rows of span 0, by 5-fold cross-validation, 3 times over"

    unlearned = np.concatenate([part["late"] for part in parts])
    labels = np.array([classes.index(str(label)) for label in unlearned])
    direct = np.stack([np.concatenate([p[c] for p in parts]) for c in columns], axis=-1)
    of_live = np.stack([direct] * 3).reshape(said.shape)
    of_live[:, :50] = said[[0, 1, 0], :50]
    for name, values in {"keras": said, "live": of_live}.items():
        losses = [sklearn.metrics.log_loss(labels, repeat.astype(float)) for repeat in values]
        expected = np.mean(losses), np.std(losses, ddof=1)
        told = verdict.models[name][Metric.LOG_LOSS], verdict.spread[name][Metric.LOG_LOSS]
        assert told == pytest.approx(expected, rel=1e-5)
    if target == COLOURS:
        assert [one.rows for one in verdict.by_class["keras"]] == np.bincount(labels).tolist()
    repeats = pq.read_table(found.folder / REPEATS_FILE).to_pylist()
    assert {len(row["values"]) for row in repeats} == {3}
    assert by_beam.verdict.models["keras"] == pytest.approx(verdict.models["keras"])
    assert by_beam.verdict.spread["live"] == pytest.approx(verdict.spread["live"])
    canary = pq.read_table(found.folder / CANARY_FILE).to_pylist()[0]
    assert canary["keras"] == pytest.approx(np.squeeze(direct[data.index(canary["example"])]))


def test_a_live_model_that_has_learned_the_rows_is_not_compared(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    rows = serialized(make_rows(60))
    keys = {key: row for row, key in enumerate(OutOfFold.keys(rows))}
    known = OutOfFold(keys, np.full((1, 60), 0.3, np.float32))
    uri = save_reader(tmp_path / "model", "weak", out_of_fold=known)
    parted = {"folds": 5, "repeats": 1}
    found = run(tmp_path, [rows], uri, live=saved("strong"), cross_validation=parted)
    assert found.verdict.live is None and found.verdict.spread == {}
    assert found.verdict.not_compared.startswith("the live one is not compared")
    assert not found.blessings["keras"].has_custom_property("baseline_model_id")


def test_a_candidate_without_a_cross_validation_is_refused_in_words(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match="'keras' has no out-of-fold predictions"):
        run(tmp_path, [make_rows(50)], saved("strong"), cross_validation={"repeats": 1})
