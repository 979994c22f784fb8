"""The metrics of a binary classifier, from tallies that can be added up.

A tally holds sums over rows and how often each level of the prediction occurs, so that parts of
the data can be counted in any order and on any machine, in memory that does not grow with them.
The sums are kept for each of a fixed number of blocks of rows, which `bootstrap` draws from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate_config import Metric

BLOCKS = 256
"""Into so many blocks the rows are put, by a hash of what is to stay together."""
LEVELS_PER_LOGIT = 16384
"""How finely the AUC tells predictions apart: it is off by 1e-6 or so, and memory is bounded."""
BLOCK_LEVELS_PER_LOGIT = 64
"""The same within a block, from which only the AUC's variation is told."""
_EPSILON = 1e-7
"""Predictions are kept this far from 0 and 1 where their logarithm is taken, as Keras does."""
_BLOCK_LEVELS = 4096
"""More than there are levels in a block, from logit -17 to 17, and a power of 2."""

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

ROWS, POSITIVES, FLAGGED, HITS, PREDICTED, LOSS = range(6)
"""What is summed: rows, those of label 1, those predicted to be 1, those of both, the predictions,
and the cross entropies in nats."""


@dataclass(frozen=True)
class Histogram:
    """How often each key occurs."""

    keys: Numbers
    """Ascending."""
    counts: Numbers

    @classmethod
    def of(cls, keys: Numbers) -> Histogram:
        """Counts keys."""
        return cls(*np.unique(keys, return_counts=True))

    @classmethod
    def add_up(cls, parts: Iterable[Histogram]) -> Histogram:
        """The histogram of all keys that `parts` count."""
        held = list(parts)
        keys = np.concatenate([part.keys for part in held])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
        counts = np.concatenate([part.counts for part in held])[order]
        return cls(keys[starts], np.add.reduceat(counts, starts))


@dataclass(frozen=True)
class Scores:
    """Rows as one model did on them."""

    blocks: Numbers
    """[rows]: which block each is in, from 0."""
    sums: Floats
    """[rows, 6]: what each adds to the sums."""
    levels: Numbers
    """[rows]: the prediction and the label, as one of the keys of `Tally.levels`."""
    cells: Numbers
    """[rows]: the block, the prediction and the label, as one of the keys of `Tally.cells`."""


@dataclass(frozen=True)
class Tally:
    """What is remembered of some rows and one model's predictions for them."""

    sums: Floats
    """[BLOCKS, 6]: ROWS, POSITIVES, … of each block."""
    levels: Histogram
    """Of predictions and labels: a level times 2, plus the label."""
    cells: Histogram
    """Of the same in each block, with coarser levels: see `block_level_and_label`."""


def score(
    labels: NDArray[np.bool_], predictions: Floats, blocks: Numbers, threshold: float
) -> Scores:
    """What each row adds to a tally; all of them are [rows], predicted 1 from `threshold` on."""
    flagged = predictions >= threshold
    inner = np.clip(predictions, _EPSILON, 1 - _EPSILON)
    logits = np.log(inner) - np.log1p(-inner)
    losses = -np.log(np.where(labels, inner, 1 - inner))
    parts = [np.ones(len(labels)), labels, flagged, flagged & labels, predictions, losses]
    level = np.rint(logits * LEVELS_PER_LOGIT).astype(np.int64)
    coarse = np.rint(logits * BLOCK_LEVELS_PER_LOGIT).astype(np.int64) + _BLOCK_LEVELS // 2
    return Scores(
        blocks=blocks,
        sums=np.stack(parts, axis=1).astype(np.float64),
        levels=level * 2 + labels,
        cells=(blocks * _BLOCK_LEVELS + coarse) * 2 + labels,
    )


def block_level_and_label(keys: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The parts of a key of `Tally.cells`."""
    return keys // (2 * _BLOCK_LEVELS), (keys >> 1) % _BLOCK_LEVELS, keys & 1


def tally(scores: Scores, rows: Numbers | slice) -> Tally:
    """Counts the rows at some positions."""
    parts = scores.sums[rows]
    width = parts.shape[1]
    places = scores.blocks[rows][:, None] * width + np.arange(width)
    sums = np.bincount(places.ravel(), parts.ravel(), minlength=BLOCKS * width)
    return Tally(
        sums=sums.reshape(BLOCKS, width).astype(np.float64),
        levels=Histogram.of(scores.levels[rows]),
        cells=Histogram.of(scores.cells[rows]),
    )


def add_up(tallies: Iterable[Tally]) -> Tally:
    """The tally of all rows that `tallies` (at least one) count."""
    parts = list(tallies)
    return Tally(
        sums=np.sum([part.sums for part in parts], axis=0),
        levels=Histogram.add_up(part.levels for part in parts),
        cells=Histogram.add_up(part.cells for part in parts),
    )


def measure(rows: Tally) -> dict[Metric, float]:
    """Every metric of the rows; NaN where it is undefined (no positives, no negatives, …)."""
    metrics = of_sums(rows.sums.sum(axis=0), _ordered_pairs(rows.levels))
    return {metric: float(value) for metric, value in metrics.items()}


def _ordered_pairs(levels: Histogram) -> float:
    """How many pairs of a row of class 0 and one of class 1 are in that order; ties count half."""
    level, label = levels.keys >> 1, levels.keys & 1
    # The keys ascend, so a level's two labels lie side by side.
    place = np.cumsum(np.diff(level, prepend=level[:1]) != 0)
    negatives, positives = np.zeros((2, place[-1] + 1))
    negatives[place[label == 0]] = levels.counts[label == 0]
    positives[place[label == 1]] = levels.counts[label == 1]
    return float(positives @ (np.cumsum(negatives) - negatives / 2))


def of_sums(sums: Floats, pairs: Any) -> dict[Metric, Any]:
    """The metrics of sums [..., 6] and of as many numbers [...] of ordered pairs."""
    rows, positives, flagged, hits, predicted, loss = np.moveaxis(sums, -1, 0)
    negatives = rows - positives
    correct = hits + negatives - (flagged - hits)
    with np.errstate(invalid="ignore", divide="ignore"):
        metrics = {
            Metric.AUC: pairs / (positives * negatives),
            Metric.LOG_LOSS: loss / rows,
            Metric.CALIBRATION: predicted / positives,
            Metric.ACCURACY: correct / rows,
            Metric.PRECISION: hits / flagged,
            Metric.RECALL: hits / positives,
        }
    return {
        metric: np.where(np.isfinite(value), value, np.nan) for metric, value in metrics.items()
    }
