"""What columns tell of the label: each measure is 0 by chance and 1 where it is certain."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.init.baselines import Inputs, baselines
from pipeline.init.signals import Target, drift, in_order, intraclass, skill

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
    bound = found.between(Metric.AUC)
    assert bound is not None
    assert 0.5 < bound < found.simple[Metric.AUC]
