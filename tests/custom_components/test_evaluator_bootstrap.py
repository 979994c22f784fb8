"""The intervals, held to a plain bootstrap that draws rows or days one by one."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_components.evaluator import bootstrap
from custom_components.evaluator.bootstrap import interval, resample
from custom_components.evaluator.metrics import (
    BLOCKS,
    ROWS,
    Binary,
    Samples,
    Tally,
    add_up,
    tally,
)
from custom_components.evaluator.metrics.binary import CELLS
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem

THRESHOLD = 0.4
BINARY = Binary(threshold=THRESHOLD)
METRICS = Metric.of(Problem.BINARY)


def simulate(
    groups: int, rows: int, *, seed: int = 0, shared: float = 0.8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and groups; rows of a group share part of what they are late by."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rows)
    known, unknown = random.normal(size=(2, len(group)))
    weather = random.normal(size=groups)[group] * shared
    label = random.random(len(group)) < sigmoid(-1 + known + weather + unknown / 2)
    return label, sigmoid(-1 + known), group


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def count(label: np.ndarray, predictions: np.ndarray, group: np.ndarray) -> Tally:
    return tally(BINARY.score(label, predictions, group % BLOCKS), slice(None))


def drawn(rows: Tally, samples: int = 1000) -> Samples:
    return resample({"model": rows}, {"model": BINARY.measure(rows)}, samples, BINARY)["model"]


def plain(
    label: np.ndarray, predictions: np.ndarray, group: np.ndarray, samples: int = 400
) -> Samples:
    """The metrics in samples of groups, each drawn with replacement, row by row."""
    random = np.random.default_rng(1)
    rows_of = [np.flatnonzero(group == number) for number in np.unique(group)]
    found = []
    for _ in range(samples):
        chosen = random.integers(0, len(rows_of), len(rows_of))
        rows = np.concatenate([rows_of[number] for number in chosen])
        found.append(BINARY.measure(count(label[rows], predictions[rows], rows)))
    return {metric: np.array([one[metric] for one in found]) for metric in METRICS}


@pytest.mark.parametrize("groups", [200, 2000])
def test_intervals_are_those_of_a_plain_bootstrap_of_groups(groups: int) -> None:
    label, predictions, group = simulate(groups, 4000 // groups)
    ours, theirs = drawn(count(label, predictions, group)), plain(label, predictions, group)
    for metric in METRICS:
        low, high = np.quantile(theirs[metric], [0.025, 0.975])
        assert interval(ours[metric], 0.95) == pytest.approx((low, high), abs=0.2 * (high - low))


def test_each_sample_is_what_its_weights_say() -> None:
    label, predictions, group = simulate(60, 50)
    rows = count(label, predictions, group)
    ours = drawn(rows, 20)
    precisions: list[float] = []
    for sample, weights in enumerate(bootstrap._weights(20)[group % BLOCKS].T):
        flagged = predictions >= THRESHOLD
        auc = sklearn.metrics.roc_auc_score(label, predictions, sample_weight=weights)
        # From sample to sample it varies by 0.01: coarse levels are off by a tenth of that.
        assert ours[Metric.AUC][sample] == pytest.approx(auc, abs=1e-3)
        precision = sklearn.metrics.average_precision_score(
            label, predictions, sample_weight=weights
        )
        precisions.append(precision)
        expected = {
            Metric.LOG_LOSS: sklearn.metrics.log_loss(label, predictions, sample_weight=weights),
            Metric.CALIBRATION: weights @ predictions / (weights @ label),
            Metric.ACCURACY: sklearn.metrics.accuracy_score(label, flagged, sample_weight=weights),
            Metric.PRECISION: weights @ (flagged & label) / (weights @ flagged),
            Metric.RECALL: weights @ (flagged & label) / (weights @ label),
            Metric.F1: sklearn.metrics.f1_score(label, flagged, sample_weight=weights),
        }
        for metric, value in expected.items():
            assert ours[metric][sample] == pytest.approx(value, rel=1e-12)
    assert np.std(ours[Metric.PR_AUC] - precisions) < np.std(precisions) / 5


def test_rows_that_resemble_one_another_widen_the_interval() -> None:
    label, predictions, group = simulate(60, 60)
    by_group = interval(drawn(count(label, predictions, group))[Metric.LOG_LOSS], 0.95)
    alone = np.random.default_rng(0).integers(0, BLOCKS, len(label))
    by_row = interval(drawn(count(label, predictions, alone))[Metric.LOG_LOSS], 0.95)
    assert by_group and by_row
    assert by_group[1] - by_group[0] > 1.5 * (by_row[1] - by_row[0])


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    label, predictions, _ = simulate(4000, 50, seed=1)
    truth = BINARY.measure(count(label, predictions, np.arange(len(label))))
    covered = {Metric.AUC: 0, Metric.LOG_LOSS: 0, Metric.ACCURACY: 0}
    studies = 150
    for study in range(studies):
        samples = drawn(count(*simulate(80, 15, seed=100 + study)), 200)
        for metric in covered:
            low, high = np.quantile(samples[metric], [0.05, 0.95])
            covered[metric] += low <= truth[metric] <= high
    for metric, times in covered.items():
        # three standard errors of a share of 0.9 in as many studies
        assert times / studies == pytest.approx(0.9, abs=0.075), metric


@settings(max_examples=25, deadline=None)
@given(
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.integers(1, 599), max_size=5, unique=True),
)
def test_order_and_parts_of_the_rows_do_not_matter(order: object, cuts: list[int]) -> None:
    label, predictions, group = simulate(40, 15)
    whole = count(label, predictions, group)
    places = list(range(len(label)))
    order.shuffle(places)  # type: ignore[attr-defined]
    parts = np.split(np.array(places), sorted(cuts))
    merged = add_up(count(label[rows], predictions[rows], group[rows]) for rows in parts)
    assert BINARY.measure(merged) == pytest.approx(BINARY.measure(whole), rel=1e-12)
    one, other = drawn(whole, 100), drawn(merged, 100)
    for metric in METRICS:
        np.testing.assert_allclose(one[metric], other[metric], rtol=1e-9)


def test_models_share_the_samples_so_that_differences_are_paired() -> None:
    label, predictions, group = simulate(60, 50)
    better = sigmoid(np.log(predictions / (1 - predictions)) + 0.2 * label)
    models = {
        name: count(label, values, group)
        for name, values in {"one": predictions, "same": predictions, "better": better}.items()
    }
    measured = {name: BINARY.measure(rows) for name, rows in models.items()}
    samples = resample(models, measured, 500, BINARY)
    for metric in METRICS:
        np.testing.assert_array_equal(samples["one"][metric], samples["same"][metric])
    difference = samples["better"][Metric.LOG_LOSS] - samples["one"][Metric.LOG_LOSS]
    assert np.std(difference) < np.std(samples["one"][Metric.LOG_LOSS]) / 2


@pytest.mark.parametrize("spread", [0.02, 0.3, 3.0])
def test_metric_on_all_rows_lies_inside_its_interval(spread: float) -> None:
    random = np.random.default_rng(5)
    label = random.random(2500) < 0.25
    predictions = sigmoid(-1 + spread * (label * 0.5 + random.normal(size=len(label))))
    rows = count(label, predictions, random.integers(0, 500, len(label)))
    found, values = drawn(rows), BINARY.measure(rows)
    for metric in (Metric.AUC, Metric.LOG_LOSS, Metric.CALIBRATION, Metric.ACCURACY):
        low, high = interval(found[metric], 0.95) or (1, 0)
        assert low <= values[metric] <= high, metric
    expected = np.std(plain(label, predictions, np.arange(len(label)), 200)[Metric.AUC])
    assert np.std(found[Metric.AUC]) == pytest.approx(expected, rel=0.2)


def test_one_block_alone_has_no_interval() -> None:
    label, predictions, group = simulate(1, 50)
    rows = count(label, predictions, group)
    assert resample({"model": rows}, {"model": BINARY.measure(rows)}, 100, BINARY) == {}


def test_metric_that_is_often_undefined_has_no_interval() -> None:
    label = np.array([True] + [False] * 99)
    rows = count(label, np.linspace(0.1, 0.9, 100), np.arange(100))
    samples = drawn(rows)
    assert np.isnan(samples[Metric.RECALL]).mean() == pytest.approx(np.exp(-1), abs=0.05)
    assert interval(samples[Metric.RECALL], 0.95) is None
    assert interval(samples[Metric.LOG_LOSS], 0.95) is not None


def test_memory_does_not_grow_with_the_rows() -> None:
    label, predictions, group = simulate(1000, 200)
    rows = count(label, np.round(predictions, 3), group)
    more = add_up([rows, rows])
    assert more.sums[:, ROWS].sum() == 400_000
    assert len(more.counts[CELLS].keys) == len(rows.counts[CELLS].keys) < 2 * BLOCKS * 64 * 12
