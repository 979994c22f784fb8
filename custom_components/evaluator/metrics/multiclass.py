"""The metrics of a classifier of several classes: a probability of each for every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from custom_components.evaluator import confusion, curves
from custom_components.evaluator.metrics.binary import EPSILON
from custom_components.evaluator.metrics.measures import (
    BINS,
    Samples,
    Unusable,
    class_numbers,
    curves_table,
)
from custom_components.evaluator.metrics.tally import (
    BLOCKS,
    Floats,
    Numbers,
    Predictions,
    Scores,
    Tally,
    ratio,
)
from pipeline.evaluate_config import Metric

ROWS, HITS, AMONG_FIRST, LOSS = range(4)
"""What is summed: rows, those whose class is the most probable, those whose class is among the
`top_k` most probable ones, and the cross entropies in nats."""
ACTUAL, PREDICTED, PAIRS = "actual", "predicted", "pairs"
"""What is counted: a row's class in each block, times 2, plus whether it is the most probable one;
the most probable class in each block; and how often each class is taken for each."""
_OFF = 1e-3
"""By so much the probabilities of a row may miss 1 in their sum."""


@dataclass(frozen=True)
class Multiclass:
    """Measures the probabilities of several classes: see `Measures`."""

    classes: tuple[str, ...]
    top_k: int = 3
    """At most one less than there are classes, or every row were right."""

    @property
    def unusable(self) -> Unusable:
        """See `Measures`."""
        return Unusable(
            f"none of the {len(self.classes)} classes (features.classes)",
            f"no probabilities of {len(self.classes)} classes (numbers from 0 to 1, 1 in sum)",
            "Its last layer must be a softmax, and it must cope with missing values.",
        )

    def labels(self, values: pa.Array) -> Floats:
        """See `Measures`: the number of the class, from 0."""
        return class_numbers(values, self.classes)

    def usable(self, predictions: Predictions) -> NDArray[np.bool_]:
        """See `Measures`."""
        inside = ((predictions >= 0) & (predictions <= 1)).all(axis=1)
        return np.asarray(inside & (np.abs(predictions.sum(axis=1) - 1) <= _OFF))

    def score(self, labels: Floats, predictions: Predictions, blocks: Numbers) -> Scores:
        """See `Measures`; of equally probable classes the first counts as more probable."""
        size = len(self.classes)
        actual, predicted = labels.astype(np.int64), predictions.argmax(axis=1)
        own = np.take_along_axis(predictions, actual[:, None], axis=1)
        earlier = np.arange(size) < actual[:, None]
        place = ((predictions > own) | ((predictions == own) & earlier)).sum(axis=1)
        hit = actual == predicted
        among_first = place < min(self.top_k, size - 1)
        losses = -np.log(np.clip(own[:, 0], EPSILON, 1))
        parts = [np.ones(len(actual)), hit, among_first, losses]
        return Scores(
            blocks=blocks,
            sums=np.stack(parts, axis=1).astype(np.float64),
            keys={
                ACTUAL: (blocks * size + actual) * 2 + hit,
                PREDICTED: blocks * size + predicted,
            },
            details={
                PAIRS: actual * size + predicted,
                BINS: curves.keys(hit, predictions.max(axis=1)),
            },
        )

    def label_mean(self, rows: Tally) -> float:
        """See `Measures`: the share of rows of the most frequent class."""
        _, actual, _ = self._by_class(rows)
        of_class = actual.sum(axis=0)
        return float(of_class.max() / of_class.sum())

    def measure(self, rows: Tally) -> dict[Metric, float]:
        """See `Measures`."""
        by_class = [counts.sum(axis=0) for counts in self._by_class(rows)]
        metrics = _of_sums(rows.sums.sum(axis=0), *by_class)
        return {metric: float(value) for metric, value in metrics.items()}

    def resampled(
        self, rows: Tally, blocks: Numbers, weights: Floats, measured: Mapping[Metric, float]
    ) -> Samples:
        """See `Measures`."""
        by_class = [(counts[blocks].T @ weights).T for counts in self._by_class(rows)]
        return _of_sums((rows.sums[blocks].T @ weights).T, *by_class)

    def errors(self, rows: Tally) -> None:
        """See `Measures`."""

    def tables(self, models: Mapping[str, Tally]) -> dict[str, pa.Table]:
        """See `Measures`: the confusion matrices, and curves of the most probable class."""
        shape = len(self.classes), len(self.classes)
        matrices = {name: rows.counts[PAIRS].dense(*shape) for name, rows in models.items()}
        return {
            confusion.FILE: confusion.Confusion(self.classes, matrices).table(),
            curves.FILE: curves_table(models),
        }

    def _by_class(self, rows: Tally) -> tuple[Floats, Floats, Floats]:
        """Rows [BLOCKS, classes] that are of the class and predicted to be, are, are predicted."""
        shape = BLOCKS, len(self.classes)
        actual = rows.counts[ACTUAL].dense(*shape, 2).astype(np.float64)
        predicted = rows.counts[PREDICTED].dense(*shape).astype(np.float64)
        return actual[..., 1], actual.sum(axis=-1), predicted


def _of_sums(sums: Floats, right: Floats, actual: Floats, predicted: Floats) -> Samples:
    """The metrics of sums [..., 4] and of rows by class [..., classes]."""
    rows, hits, among_first, loss = np.moveaxis(sums, -1, 0)
    # As in scikit-learn, a class that neither occurs nor is predicted has no F1.
    f1 = ratio(2 * right, actual + predicted)
    return {
        Metric.MACRO_F1: ratio(np.nansum(f1, axis=-1), np.isfinite(f1).sum(axis=-1)),
        Metric.ACCURACY: ratio(hits, rows),
        Metric.LOG_LOSS: ratio(loss, rows),
        Metric.TOP_K_ACCURACY: ratio(among_first, rows),
    }
