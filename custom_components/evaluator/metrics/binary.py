"""The metrics of a binary classifier: one probability a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from custom_components.evaluator import curves
from custom_components.evaluator.metrics.measures import (
    BINS,
    Samples,
    Unusable,
    class_numbers,
    curves_table,
)
from custom_components.evaluator.metrics.tally import (
    Floats,
    Histogram,
    Numbers,
    Predictions,
    Scores,
    Tally,
    ratio,
)
from pipeline.evaluate_config import Metric

LEVELS_PER_LOGIT = 16384
"""How finely the AUC tells predictions apart: it is off by 1e-6 or so, and memory is bounded."""
BLOCK_LEVELS_PER_LOGIT = 64
"""The same within a block, from which only the AUC's variation is told."""
EPSILON = 1e-7
"""Predictions are kept this far from 0 and 1 where their logarithm is taken, as Keras does."""
_BLOCK_LEVELS = 4096
"""More than there are levels in a block, from logit -17 to 17, and a power of 2."""
_LEVELS = 64
"""Levels of the prediction with about as many rows each, by which the AUC's variation is told."""

ROWS, POSITIVES, FLAGGED, HITS, PREDICTED, LOSS = range(6)
"""What is summed: rows, those of label 1, those predicted to be 1, those of both, the predictions,
and the cross entropies in nats."""
LEVELS, CELLS = "levels", "cells"
"""What is counted: a level of the prediction times 2, plus the label; the same of coarser levels in
each block, see `block_level_and_label`."""
_NONE = np.float32(1e-30)
"""Fewer rows than any."""

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Binary:
    """Measures probabilities of the second of two classes: see `Measures`."""

    classes: tuple[str, ...] = ("0", "1")
    threshold: float = 0.5
    """From which on a row is predicted to be of the second class."""

    @property
    def unusable(self) -> Unusable:
        """See `Measures`."""
        return Unusable(
            f"neither {self.classes[0]} nor {self.classes[1]}",
            "no probability (a number from 0 to 1)",
            "Its last layer must be a sigmoid, and it must cope with missing values.",
        )

    def labels(self, values: pa.Array) -> Floats:
        """See `Measures`: 0 or 1."""
        return class_numbers(values, self.classes)

    def usable(self, predictions: Predictions) -> NDArray[np.bool_]:
        """See `Measures`."""
        return np.asarray((predictions >= 0) & (predictions <= 1))

    def score(self, labels: Floats, predictions: Predictions, blocks: Numbers) -> Scores:
        """See `Measures`."""
        ones = labels == 1
        flagged = predictions >= self.threshold
        inner = np.clip(predictions, EPSILON, 1 - EPSILON)
        logits = np.log(inner) - np.log1p(-inner)
        losses = -np.log(np.where(ones, inner, 1 - inner))
        parts = [np.ones(len(ones)), ones, flagged, flagged & ones, predictions, losses]
        level = np.rint(logits * LEVELS_PER_LOGIT).astype(np.int64)
        coarse = np.rint(logits * BLOCK_LEVELS_PER_LOGIT).astype(np.int64) + _BLOCK_LEVELS // 2
        return Scores(
            blocks=blocks,
            sums=np.stack(parts, axis=1).astype(np.float64),
            keys={
                LEVELS: level * 2 + ones,
                CELLS: (blocks * _BLOCK_LEVELS + coarse) * 2 + ones,
            },
            details={BINS: curves.keys(ones, predictions)},
        )

    def label_mean(self, rows: Tally) -> float:
        """See `Measures`: the share of rows of the second class."""
        return float(rows.sums[:, POSITIVES].sum() / rows.sums[:, ROWS].sum())

    def measure(self, rows: Tally) -> dict[Metric, float]:
        """See `Measures`."""
        levels = by_level(rows.counts[LEVELS])
        metrics = _of_sums(rows.sums.sum(axis=0), _ordered_pairs(levels), _found(levels))
        return {metric: float(value) for metric, value in metrics.items()}

    def resampled(
        self, rows: Tally, blocks: Numbers, weights: Floats, measured: Mapping[Metric, float]
    ) -> Samples:
        """See `Measures`.

        The number of ordered pairs in a sample comes from the product of two matrix products: of
        the rows of class 1, and of the rows of class 0 that are predicted above; likewise average
        precision. What their coarse levels get wrong is about the same in every sample, and so
        taken off.
        """
        levels = _even_levels(rows.counts[CELLS], blocks)
        found = _sampled(rows.sums[blocks], levels, weights)
        coarse = _sampled(rows.sums[blocks], levels, np.ones((len(blocks), 1)))
        for metric in (Metric.AUC, Metric.PR_AUC):
            error = coarse[metric][0] - measured[metric]
            found[metric] = np.clip(found[metric] - error, 0, 1)
        return found

    def errors(self, rows: Tally) -> None:
        """See `Measures`."""

    def tables(self, models: Mapping[str, Tally]) -> dict[str, pa.Table]:
        """See `Measures`: the curves."""
        return {curves.FILE: curves_table(models)}


def block_level_and_label(keys: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The parts of a key of CELLS."""
    return keys // (2 * _BLOCK_LEVELS), (keys >> 1) % _BLOCK_LEVELS, keys & 1


def by_level(levels: Histogram) -> Floats:
    """[2, levels]: rows of class 0 and of class 1 at each level, the lowest first."""
    level, label = levels.keys >> 1, levels.keys & 1
    # The keys ascend, so a level's two labels lie side by side.
    place = np.cumsum(np.diff(level, prepend=level[:1]) != 0)
    counts = np.zeros((2, place[-1] + 1))
    counts[label, place] = levels.counts
    return counts


def _ordered_pairs(levels: Floats) -> float:
    """How many pairs of a row of class 0 and one of class 1 are in that order; ties count half.

    Of counts [2, levels].
    """
    negatives, positives = levels
    return float(positives @ (np.cumsum(negatives) - negatives / 2))


def _found(levels: Floats) -> float:
    """The sum over all rows of class 1 of the precision among the rows predicted at least as high.

    Over their number it is the average precision (Manning, Raghavan & Schütze 2008, Introduction to
    Information Retrieval, section 8.4), without interpolation, as scikit-learn computes it. Of
    counts [2, levels].
    """
    negatives, positives = levels
    hits, others = _from_above(positives), _from_above(negatives)
    return float(positives @ ratio(hits, hits + others))


def _from_above(levels: NDArray[Any]) -> NDArray[Any]:
    """How many rows are at a level or above, level by level along the first axis."""
    return np.cumsum(levels[::-1], axis=0)[::-1]


def _of_sums(sums: Floats, pairs: Any, found: Any) -> Samples:
    """The metrics of sums [..., 6], of numbers [...] of ordered pairs, and of `_found` [...]."""
    rows, positives, flagged, hits, predicted, loss = np.moveaxis(sums, -1, 0)
    negatives = rows - positives
    correct = hits + negatives - (flagged - hits)
    return {
        Metric.AUC: ratio(pairs, positives * negatives),
        Metric.PR_AUC: ratio(found, positives),
        Metric.LOG_LOSS: ratio(loss, rows),
        Metric.CALIBRATION: ratio(predicted, positives),
        Metric.ACCURACY: ratio(correct, rows),
        Metric.PRECISION: ratio(hits, flagged),
        Metric.RECALL: ratio(hits, positives),
        Metric.F1: ratio(2 * hits, flagged + positives),
    }


def _sampled(sums: Floats, levels: Singles, weights: Floats) -> Samples:
    """The metrics in samples of weights [blocks, samples].

    Within a level, whose rows are not tied but nearly the same, half of them count as above.
    """
    flat = levels.reshape(-1, len(weights)) @ weights.astype(np.float32)
    own, hits, others = flat.reshape(3, _LEVELS, -1)
    drawn = (sums.T @ weights).T
    positives, negatives = drawn[:, POSITIVES], drawn[:, ROWS] - drawn[:, POSITIVES]
    pairs = positives * negatives - np.einsum("ls,ls->s", own, others)
    found = np.einsum("ls,ls->s", own, hits / np.maximum(hits + others, _NONE))
    return _of_sums(drawn, pairs, found)


def _even_levels(cells: Histogram, blocks: Numbers) -> Singles:
    """[3, levels, blocks]: rows of class 1 at a level; those above; those of class 0 above."""
    block, level, label = block_level_and_label(cells.keys)
    shape = (2, _LEVELS, len(blocks))
    places = label, _even(level, label, cells.counts), np.searchsorted(blocks, block)
    flat = np.bincount(np.ravel_multi_index(places, shape), cells.counts, np.prod(shape))
    negatives, positives = flat.reshape(shape)
    above = [_from_above(counts) - counts / 2 for counts in (positives, negatives)]
    return np.stack([positives, *above]).astype(np.float32)


def _even(levels: Numbers, labels: Numbers, counts: Numbers) -> Numbers:
    """The levels as numbers from 0 to _LEVELS - 1 that hold about as much of both classes each.

    The rarer class weighs as much as the other, or a few levels would hold most of it.
    """
    of_class = np.maximum(np.bincount(labels, counts, 2), 1)
    mass = np.bincount(levels, counts / of_class[labels])
    middle = np.cumsum(mass) - mass / 2
    even = np.minimum((middle * _LEVELS / mass.sum()).astype(np.int64), _LEVELS - 1)
    return np.asarray(even[levels], np.int64)
