"""What columns tell of the label: each measure is 0 by chance and 1 where it is certain."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.init.baselines import Baselines, Inputs, baselines
from pipeline.init.noticed import no_signal
from pipeline.init.problems import Label
from pipeline.init.signals import Target, deciding, drift, in_order, intraclass, skill

RANDOM = np.random.default_rng(3)
ROWS = 2000
NOISE = np.asarray(RANDOM.normal(size=ROWS), np.float64)
VALUE = Target(Problem.REGRESSION, RANDOM.normal(size=ROWS))
TWO = Target(Problem.BINARY, RANDOM.integers(0, 2, ROWS).astype(float), 2)
FIVE = Target(Problem.MULTICLASS, RANDOM.integers(0, 5, ROWS).astype(float), 5)


@pytest.mark.parametrize("target", [VALUE, TWO, FIVE], ids=lambda t: str(t.problem))
def test_a_column_alone_predicts_the_label_perfectly_or_not_at_all(target: Target) -> None:
    assert skill(NOISE, target, is_category=False) < 0.15
    assert skill(3 * target.values + 1, target, is_category=False) > 0.99


def test_a_column_that_is_missing_where_the_label_is_one_gives_it_away() -> None:
    column = np.where(TWO.values == 1, np.nan, NOISE)
    assert skill(column, TWO, is_category=False) > 0.99


def test_a_column_of_many_values_does_not_predict_by_heart() -> None:
    assert abs(skill(np.asarray(np.arange(ROWS) // 2, np.float64), TWO, is_category=True)) < 0.15


def test_an_order_of_few_rows_gives_the_label_away() -> None:
    weeks = np.asarray(RANDOM.integers(1, 52, 430), np.float64)
    stayed = RANDOM.random(430) < 0.7
    weeks[stayed] = 52
    arrested = Target(Problem.BINARY, np.asarray(~stayed | (RANDOM.random(430) < 0.01), float), 2)
    assert skill(weeks, arrested, is_category=False) > 0.94
    assert skill(RANDOM.permutation(weeks), arrested, is_category=False) < 0.25


def test_a_guess_has_the_mean_and_in_mae_the_median() -> None:
    label = np.where(RANDOM.random(ROWS) < 0.7, 0.0, RANDOM.exponential(3, ROWS))
    inputs = Inputs(NOISE[:, None], np.empty((ROWS, 0)))
    found = baselines(inputs, Target(Problem.REGRESSION, label), folds=False)
    assert found.trivial[Metric.RMSE] == pytest.approx(label.std(), rel=0.01)
    assert found.trivial[Metric.MAE] == pytest.approx(label.mean())
    assert found.bound(Metric.MAE) is None


def test_a_rare_class_is_not_told_with_certainty_by_chance() -> None:
    rare = Target(Problem.BINARY, np.asarray(np.arange(ROWS) % 200 == 0, float), 2)
    inputs = Inputs(RANDOM.normal(size=(ROWS, 3)), np.empty((ROWS, 0)))
    found = baselines(inputs, rare, folds=False)
    assert found.simple[Metric.LOG_LOSS] < 1.3 * found.trivial[Metric.LOG_LOSS]


def test_there_is_no_signal_where_no_metric_has_one() -> None:
    shares = {Metric.MACRO_F1: 0.1, Metric.ACCURACY: 0.5, Metric.LOG_LOSS: 1.4}
    label = Label("y", Problem.MULTICLASS, "")
    for simple, said in (
        ({Metric.MACRO_F1: 0.4, Metric.ACCURACY: 0.6, Metric.LOG_LOSS: 2.1}, []),
        ({Metric.MACRO_F1: 0.2, Metric.ACCURACY: 0.4, Metric.LOG_LOSS: 2.1}, ["no better"]),
    ):
        found = Baselines("a linear model", shares, simple, dict.fromkeys(shares, 0.0))
        flags = list(no_signal(found, label, by_mae=False))
        assert [flag.text[:9] for flag in flags] == said


def test_labels_of_a_group_are_alike_where_the_group_makes_them() -> None:
    groups = RANDOM.integers(0, 200, ROWS)
    made = RANDOM.normal(size=200)[groups] + 0.5 * RANDOM.normal(size=ROWS)
    assert intraclass(groups, VALUE) == pytest.approx(0, abs=0.05)
    assert intraclass(groups, Target(Problem.REGRESSION, made)) == pytest.approx(0.8, abs=0.05)


def test_time_is_seen_in_the_label_and_in_the_order_of_the_rows() -> None:
    seconds = np.asarray(np.arange(ROWS) * 3600, np.float64)
    assert drift(seconds, TWO) < 4
    rising = Target(Problem.REGRESSION, VALUE.values + seconds / seconds.max())
    assert drift(seconds, rising) > 4
    assert in_order(seconds)
    assert not in_order(RANDOM.permutation(seconds))


def test_thresholds_lie_between_a_guess_and_a_simple_model() -> None:
    told = Target(Problem.BINARY, (NOISE + RANDOM.normal(size=ROWS) > 0).astype(float), 2)
    inputs = Inputs(NOISE[:600, None], np.empty((600, 0)))
    found = baselines(inputs, Target(told.problem, told.values[:600], 2), folds=True)
    assert found.trivial[Metric.AUC] == 0.5
    assert found.simple[Metric.AUC] > 0.75
    bound, why = found.bound(Metric.AUC) or (0, "")
    assert 0.5 < bound < found.simple[Metric.AUC]
    assert why == "half way between the two"


def test_a_threshold_leaves_room_for_the_chance_of_which_rows_judge() -> None:
    """A model as good as the simple one passes on other rows, few as they may be."""
    label = NOISE + 2 * RANDOM.normal(size=ROWS)
    inputs = Inputs(NOISE[:, None], np.empty((ROWS, 0)))
    target = Target(Problem.REGRESSION, label)
    many, few = (baselines(inputs, target, folds=False, judging=n) for n in (ROWS, ROWS // 40))
    assert few.spread[Metric.RMSE] == pytest.approx(many.spread[Metric.RMSE] * 40**0.5)
    bound, why = few.bound(Metric.RMSE) or (0, "")
    assert bound > (few.simple[Metric.RMSE] + few.trivial[Metric.RMSE]) / 2
    assert "by chance" in why
    draws = [RANDOM.integers(0, ROWS, ROWS // 40) for _ in range(100)]
    errors = (label - 0.9 * NOISE) ** 2
    assert np.mean([np.sqrt(errors[drawn].mean()) <= bound for drawn in draws]) > 0.95


def test_rows_of_a_group_are_drawn_together() -> None:
    groups = np.arange(ROWS) // 40
    label = RANDOM.normal(size=ROWS // 40)[groups] * 3 + NOISE
    inputs = Inputs(NOISE[:, None], np.empty((ROWS, 0)))
    target = Target(Problem.REGRESSION, label)
    spread = baselines(inputs, target, folds=False, groups=groups).spread[Metric.MAE]
    assert spread > 2 * baselines(inputs, target, folds=False).spread[Metric.MAE]


def test_few_rows_decide_where_a_label_has_a_few_values_far_from_all_else() -> None:
    assert deciding(NOISE, ROWS) == 0
    assert deciding(np.ones(ROWS), ROWS) == 0
    far = NOISE.copy()
    far[:5] = 500
    assert deciding(far, ROWS) == 3
