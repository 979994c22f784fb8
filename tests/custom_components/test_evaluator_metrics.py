"""The metrics of several classes and of a regression, held to scikit-learn's; labels by text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from custom_components.evaluator import bootstrap, confusion
from custom_components.evaluator.bootstrap import resample
from custom_components.evaluator.confusion import Confusion
from custom_components.evaluator.metrics import (
    BLOCKS,
    Binary,
    Measures,
    Multiclass,
    Regression,
    Tally,
    add_up,
    tally,
)
from pipeline.evaluate_config import Metric

CLASSES = ("a", "b", "c", "d")
SEVERAL = Multiclass(CLASSES, top_k=2)


def count(
    measures: Measures, labels: np.ndarray, predictions: np.ndarray, group: np.ndarray | None = None
) -> Tally:
    blocks = (np.arange(len(labels)) if group is None else group) % BLOCKS
    scores = measures.score(labels.astype(float), predictions, blocks)
    return tally(scores, slice(None), detailed=True)


def probabilities(labels: np.ndarray, *, seed: int = 0, classes: int = 4) -> np.ndarray:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(len(labels), classes)) + 1.2 * np.eye(classes)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def of_classes(
    labels: np.ndarray, said: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """The metrics as scikit-learn computes them."""
    every = np.arange(said.shape[1])
    return {
        "macro_f1": sklearn.metrics.f1_score(
            labels, said.argmax(axis=1), average="macro", sample_weight=weights
        ),
        "accuracy": sklearn.metrics.accuracy_score(
            labels, said.argmax(axis=1), sample_weight=weights
        ),
        "log_loss": sklearn.metrics.log_loss(labels, said, labels=every, sample_weight=weights),
        "top_k_accuracy": sklearn.metrics.top_k_accuracy_score(
            labels, said, k=2, labels=every, sample_weight=weights
        ),
    }


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 3)), st.integers(0, 99))
def test_metrics_of_several_classes_are_scikit_learns(labels: np.ndarray, seed: int) -> None:
    said = probabilities(labels, seed=seed)
    rows = count(SEVERAL, labels, said)
    assert SEVERAL.measure(rows) == pytest.approx(of_classes(labels, said), abs=1e-9)
    assert SEVERAL.label_mean(rows) == np.bincount(labels).max() / len(labels)


def test_of_equally_probable_classes_the_first_is_predicted() -> None:
    labels = np.array([0, 1, 2, 3])
    found = SEVERAL.measure(count(SEVERAL, labels, np.full((4, 4), 0.25)))
    assert (found[Metric.ACCURACY], found[Metric.TOP_K_ACCURACY]) == (0.25, 0.5)


def test_top_k_is_less_than_all_classes() -> None:
    labels, said = np.array([2, 0]), np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    three = Multiclass(("a", "b", "c"), top_k=3)
    assert three.measure(count(three, labels, said))[Metric.TOP_K_ACCURACY] == 0.5


def test_confusion_and_each_class_are_scikit_learns() -> None:
    labels = np.random.default_rng(1).choice(4, 500, p=[0.6, 0.3, 0.1, 0])
    said = probabilities(labels)
    tables = SEVERAL.tables({"one": count(SEVERAL, labels, said)})
    found = Confusion.of(tables[confusion.FILE])
    predicted = said.argmax(axis=1)
    expected = sklearn.metrics.confusion_matrix(labels, predicted, labels=range(4))
    assert found.classes == CLASSES
    np.testing.assert_array_equal(found.matrix("one"), expected)
    by_class = found.by_class("one")
    columns = sklearn.metrics.precision_recall_fscore_support(labels, predicted, labels=range(4))
    for one, precision, recall, f1, rows in zip(by_class[:3], *columns, strict=False):
        assert (one.precision, one.recall, one.f1) == pytest.approx((precision, recall, f1))
        assert one.rows == rows
    assert (by_class[3].recall, by_class[3].rows) == (None, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 80), st.integers(0, 99), st.sampled_from([1e-6, 1.0, 1e6]))
def test_metrics_of_a_regression_are_scikit_learns(size: int, seed: int, unit: float) -> None:
    random = np.random.default_rng(seed)
    labels = unit * (5 + random.normal(size=size))
    said = labels + unit * random.normal(0.2, 0.5, size)
    found = Regression().measure(count(Regression(), labels, said))
    expected = {
        "rmse": sklearn.metrics.root_mean_squared_error(labels, said),
        "mae": sklearn.metrics.mean_absolute_error(labels, said),
        "r2": sklearn.metrics.r2_score(labels, said),
        "bias": np.mean(said - labels),
    }
    assert found == pytest.approx(expected, rel=1e-7)


def test_equal_labels_have_no_r2() -> None:
    found = Regression().measure(count(Regression(), np.full(9, 0.1), np.arange(9.0)))
    assert np.isnan(found[Metric.R2]) and found[Metric.RMSE] > 0


def test_quantiles_of_errors_are_told_to_half_a_percent() -> None:
    random = np.random.default_rng(3)
    labels = random.lognormal(8, 2, 20_000)
    said = np.where(random.random(20_000) < 0.1, labels, labels * random.lognormal(0, 0.3, 20_000))
    parts = [count(Regression(), labels[rows], said[rows]) for rows in (slice(7), slice(7, None))]
    found = Regression().errors(add_up(parts))
    errors = said - labels
    for told, values in ((found.signed, errors), (found.size, np.abs(errors))):
        for share, value in told.items():
            expected = np.quantile(values, share, method="lower")
            assert value == pytest.approx(expected, rel=0.0051), share
    assert found.signed[0.5] == 0


@pytest.mark.parametrize("measures", [SEVERAL, Regression()])
def test_each_sample_is_what_its_weights_say(measures: Measures) -> None:
    labels = np.random.default_rng(2).integers(0, 4, 400)
    group = np.arange(400) // 8
    is_regression = measures == Regression()
    said = labels + np.sin(np.arange(400)) if is_regression else probabilities(labels)
    rows = count(measures, labels, said, group)
    samples = resample({"one": rows}, {"one": measures.measure(rows)}, 10, measures)["one"]
    for sample, weights in enumerate(bootstrap._weights(10)[group].T):
        if is_regression:
            expected = {
                "rmse": sklearn.metrics.root_mean_squared_error(
                    labels, said, sample_weight=weights
                ),
                "mae": sklearn.metrics.mean_absolute_error(labels, said, sample_weight=weights),
                "r2": sklearn.metrics.r2_score(labels, said, sample_weight=weights),
                "bias": np.average(said - labels, weights=weights),
            }
        else:
            expected = of_classes(labels, said, weights)
        assert {m: values[sample] for m, values in samples.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 1, 2, None]),
        pa.array([0.0, 1.0, 2.5, np.nan], pa.float32()),
        pa.array([b"0", b"1", b"2", b"\xff"]),
    ],
)
def test_a_label_is_its_text(values: pa.Array) -> None:
    np.testing.assert_array_equal(Binary().labels(values), [0, 1, np.nan, np.nan])
    np.testing.assert_array_equal(Multiclass(("1", "x", "0")).labels(values)[:2], [2, 0])


def test_labels_of_a_regression_are_finite_numbers() -> None:
    found = Regression().labels(pa.array([1, None, 3]))
    np.testing.assert_array_equal(found, [1, np.nan, 3])
    found = Regression().labels(pa.array([np.inf, np.nan, 2.5], pa.float32()))
    np.testing.assert_array_equal(found, [np.nan, np.nan, 2.5])
    assert np.isnan(Regression().labels(pa.array([b"7"]))).all()


@pytest.mark.parametrize(
    ("row", "usable"),
    [
        ([0.1, 0.2, 0.3, 0.4], True),
        ([0.1, 0.2, 0.3, 0.3], False),
        ([-0.1, 0.4, 0.3, 0.4], False),
        ([np.nan, 0.2, 0.4, 0.4], False),
        ([np.inf, 0, 0, 0], False),
    ],
)
def test_probabilities_of_several_classes_are_1_in_sum(row: list[float], usable: bool) -> None:
    assert SEVERAL.usable(np.array([row])).tolist() == [usable]
