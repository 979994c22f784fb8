"""The metrics of a binary classifier, from tallies that can be added up.

A tally holds sums over rows and how often each level of the prediction occurs, so that parts of
the data can be counted in any order and on any machine, in memory that does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Metric

_LEVELS_PER_LOGIT = 16384
"""How finely the AUC tells predictions apart: it is off by 1e-6 or so, and memory is bounded."""
_EPSILON = 1e-7
"""Predictions are kept this far from 0 and 1 where their logarithm is taken, as Keras does."""


@dataclass(frozen=True)
class Tally:
    """What is remembered of some rows and one model's predictions for them."""

    rows: int
    positives: int
    """Rows whose label is 1."""
    flagged: int
    """Rows that are predicted to be 1."""
    hits: int
    """Rows of both."""
    predicted: float
    """Sum of the predictions."""
    loss: float
    """Sum of the cross entropies, in nats."""
    levels: NDArray[np.int32]
    """The distinct predictions, as rounded logits, ascending."""
    counts: NDArray[np.int64]
    """[level, class]: rows of class 0 and of class 1 at each level."""


def tally(labels: NDArray[np.bool_], predictions: NDArray[np.float64], threshold: float) -> Tally:
    """Counts rows: `labels` and `predictions` are one per row; predicted 1 from `threshold` on."""
    flagged = predictions >= threshold
    inner = np.clip(predictions, _EPSILON, 1 - _EPSILON)
    logits = np.log(inner) - np.log1p(-inner)
    levels, counts = _count(
        np.rint(logits * _LEVELS_PER_LOGIT).astype(np.int32),
        np.stack([~labels, labels], axis=1).astype(np.int64),
    )
    return Tally(
        rows=len(labels),
        positives=int(labels.sum()),
        flagged=int(flagged.sum()),
        hits=int((flagged & labels).sum()),
        predicted=float(predictions.sum()),
        loss=float(-np.log(np.where(labels, inner, 1 - inner)).sum()),
        levels=levels,
        counts=counts,
    )


def add_up(tallies: Iterable[Tally]) -> Tally:
    """The tally of all rows that `tallies` (at least one) count."""
    parts = list(tallies)
    levels, counts = _count(
        np.concatenate([part.levels for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )
    return Tally(
        rows=sum(part.rows for part in parts),
        positives=sum(part.positives for part in parts),
        flagged=sum(part.flagged for part in parts),
        hits=sum(part.hits for part in parts),
        predicted=sum(part.predicted for part in parts),
        loss=sum(part.loss for part in parts),
        levels=levels,
        counts=counts,
    )


def measure(rows: Tally) -> dict[Metric, float]:
    """Every metric of the rows; NaN where it is undefined (no positives, no negatives, …)."""
    negatives = rows.rows - rows.positives
    correct = rows.hits + (negatives - (rows.flagged - rows.hits))
    return {
        Metric.AUC: _auc(rows),
        Metric.LOG_LOSS: _ratio(rows.loss, rows.rows),
        Metric.CALIBRATION: _ratio(rows.predicted, rows.positives),
        Metric.ACCURACY: _ratio(correct, rows.rows),
        Metric.PRECISION: _ratio(rows.hits, rows.flagged),
        Metric.RECALL: _ratio(rows.hits, rows.positives),
    }


def _auc(rows: Tally) -> float:
    """Probability that a row of class 1 is predicted above one of class 0; ties count half."""
    negatives, positives = rows.counts[:, 0], rows.counts[:, 1]
    below = np.cumsum(negatives) - negatives
    return _ratio(
        float(positives @ (below + negatives / 2)), rows.positives * (rows.rows - rows.positives)
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _count(
    levels: NDArray[np.int32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Adds the `counts` of equal `levels`."""
    order = np.argsort(levels, kind="stable")
    levels, counts = levels[order], counts[order]
    starts = np.flatnonzero(np.diff(levels, prepend=levels[:1] - 1))
    return levels[starts], np.add.reduceat(counts, starts, axis=0)
