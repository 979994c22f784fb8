"""What columns tell of the label: leaks, groups of rows that belong together, and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.features_config import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_BINS, _HEAVY = 64, 30.0
CERTAIN, SUSPECT = 0.99, 0.94
"""How well a column alone predicts a label that it was made from, and one to look at."""


@dataclass(frozen=True)
class Target:
    """The label of the sample's rows as numbers."""

    problem: Problem
    values: Numbers
    """[rows]: the class's number, or the value."""
    classes: int = 0

    @property
    def sides(self) -> Numbers:
        """[rows, n]: the value itself, or for each class whether the row is of it."""
        if self.problem is Problem.REGRESSION:
            return self.values[:, None]
        return np.asarray(self.values[:, None] == np.arange(self.classes), float)


def skill(column: Numbers, target: Target, *, is_category: bool) -> float:
    """How well a column alone predicts the label of rows that were not looked at.

    Args:
        column: [rows], NaN where missing; of a category its number.
        target: The label.
        is_category: Whether each number is a value of its own.

    Returns:
        From 0, no better than a guess, to 1: 2 AUC - 1, the share of the rows right beyond that of
        the largest class, or R².
    """
    test = np.random.default_rng(0).random(len(column)) < 0.5
    learn = ~test
    binned = column if is_category else _bins(column, learn)
    places = np.where(np.isnan(binned), -1, binned).astype(np.int64) + 1
    sides = target.sides
    size = int(places.max()) + 1
    counts = np.bincount(places[learn], minlength=size)[:, None]
    sums = np.stack(
        [np.bincount(places[learn], weights=side[learn], minlength=size) for side in sides.T], 1
    )
    told = ((sums + sides[learn].mean(0)) / (counts + 1))[places[test]]
    actual = target.values[test]
    if target.problem is Problem.REGRESSION:
        return max(_r2(told[:, 0], actual), _line(column, target.values, test))
    if target.problem is Problem.BINARY:
        ranked = 0.0 if is_category else _rank(column, target.values)
        return max(ranked, 2 * _auc(told[:, 1], actual) - 1)
    most = np.bincount(actual.astype(int)).max() / len(actual)
    right = float(np.mean(told.argmax(1) == actual))
    return (right - most) / (1 - most) if most < 1 else 0.0


def intraclass(groups: NDArray[np.int64], target: Target) -> float:
    """How alike the labels of a group's rows are: the intraclass correlation, ICC(1).

    From 0, no more alike than any, to 1, the same (Shrout, Fleiss, 1979); the largest of all
    classes.
    """
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    rows, count = len(places), len(sizes)
    if count < 2 or rows == count:
        return 0.0
    usual = (rows - (sizes**2).sum() / rows) / (count - 1)
    found = 0.0
    for side in target.sides.T:
        means = np.bincount(places, weights=side) / sizes
        between = (sizes * (means - side.mean()) ** 2).sum() / (count - 1)
        within = ((side - means[places]) ** 2).sum() / (rows - count)
        total = between + (usual - 1) * within
        by_chance = between < within * (1 + 3 * np.sqrt(2 / (count - 1)))
        if total > 0 and not by_chance:
            found = max(found, float((between - within) / total))
    return found


def drift(seconds: Numbers, target: Target) -> float:
    """By how many standard errors the label of the newest third differs from the others'."""
    known = ~np.isnan(seconds)
    if known.sum() < 30:
        return 0.0
    newest = seconds[known] > np.quantile(seconds[known], 2 / 3)
    if newest.all() or not newest.any():
        return 0.0
    sides = target.sides[known]
    new, old = sides[newest], sides[~newest]
    error = np.sqrt(new.var(0) / len(new) + old.var(0) / len(old))
    moved = np.abs(new.mean(0) - old.mean(0))
    return float(np.max(np.divide(moved, error, out=np.zeros_like(moved), where=error > 0)))


def deciding(values: Numbers, judging: int) -> int:
    """How few rows make half of the squared error of a guess; 0 where no few of them decide it.

    Few decide where the root of that error, on other rows, would differ by more than a twentieth:
    its relative standard error goes with the root of the label's kurtosis.

    Args:
        values: The label, a number.
        judging: How many rows judge.
    """
    squares = (values - values.mean()) ** 2
    if not squares.any():
        return 0
    kurtosis = float((squares**2).mean() / squares.mean() ** 2)
    if kurtosis < _HEAVY or np.sqrt((kurtosis - 1) / judging) / 2 < 0.05:
        return 0
    shares = np.cumsum(np.sort(squares)[::-1]) / squares.sum()
    return int(np.searchsorted(shares, 0.5)) + 1


def in_order(seconds: Numbers) -> bool:
    """Whether rows follow one another in time."""
    steps = np.diff(seconds[~np.isnan(seconds)])
    return bool(len(steps)) and float(np.mean(steps >= 0)) >= 0.98 and bool((steps > 0).any())


def _bins(column: Numbers, learn: NDArray[np.bool_]) -> Numbers:
    known = column[learn & ~np.isnan(column)]
    if not len(known):
        return column
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.where(np.isnan(column), np.nan, np.searchsorted(edges, column))


def _r2(told: Numbers, actual: Numbers) -> float:
    spread = float(((actual - actual.mean()) ** 2).sum())
    return 1 - float(((actual - told) ** 2).sum()) / spread if spread else 0.0


def _rank(column: Numbers, label: Numbers) -> float:
    """How well the column's order alone tells two classes apart: few rows are enough to say."""
    known = ~np.isnan(column)
    if known.sum() < 0.4 * len(label):
        return 0.0
    return abs(2 * _auc(column[known], label[known]) - 1)


def _line(column: Numbers, label: Numbers, test: NDArray[np.bool_]) -> float:
    """R² of a straight line."""
    known = ~np.isnan(column)
    learn, test = known & ~test, known & test
    if learn.sum() < 10 or test.sum() < 0.4 * len(label) or column[learn].std() == 0:
        return 0.0
    slope, start = np.polyfit(column[learn], label[learn], 1)
    return _r2(slope * column[test] + start, label[test])


def _auc(told: Numbers, actual: Numbers) -> float:
    """The share of pairs in which the positive row is ranked higher; ties count half."""
    _, places, counts = np.unique(told, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    ones = actual == 1
    n_ones = ones.sum()
    pairs = n_ones * (len(actual) - n_ones)
    return float((ranks[ones].sum() - n_ones * (n_ones + 1) / 2) / pairs) if pairs else 0.5
