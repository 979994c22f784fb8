"""What each problem asks of every framework: how much is said of a row, the loss, the beginning.

A problem is told by `Rows.classes`: 2 or more, or 0 in a regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.dataset import Rows

_SMALLEST = 1e-7
"""A probability, in a cross entropy: a class that training never met is no infinite loss."""


def outputs(classes: int) -> int:
    """How many numbers a model says of a row: one for each of several classes, else one."""
    return classes if classes > 2 else 1


def loss_name(classes: int) -> str:
    """What `mean_loss` gives."""
    return "log loss" if classes else "mean squared error"


def mean_loss(
    predictions: NDArray[Any],
    labels: NDArray[np.float32],
    weights: NDArray[np.float32],
    classes: int,
) -> float:
    """The mean cross entropy, in nats, or the mean squared error, in the label's unit squared.

    Args:
        predictions: [rows] probabilities of the second class, or values; or [rows, classes].
        labels: [rows], as in `Rows`.
        weights: [rows], how much each counts.
        classes: As in `Rows`.
    """
    if not classes:
        return float(np.average(np.square(predictions - labels), weights=weights))
    if predictions.ndim == 1:
        said = np.where(labels == 1, predictions, 1 - predictions)
    else:
        said = predictions[np.arange(len(labels)), labels.astype(int)]
    return float(-np.average(np.log(np.maximum(said, _SMALLEST)), weights=weights))


def base_logits(rows: Rows, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The logits [outputs] of the classes' shares, whatever a row is like; 0 in a regression.

    A class without rows counts as one that half a row has.
    """
    if not rows.classes:
        return np.zeros(1)
    mass = np.bincount(rows.labels.astype(int), weights=weights, minlength=rows.classes)
    logs: NDArray[np.float64] = np.log(np.maximum(mass / mass.sum(), 0.5 / len(rows)))
    return logs if rows.classes > 2 else logs[1:] - logs[:1]


@dataclass(frozen=True)
class Scale:
    """The unit in which a network learns the labels of a regression, and says them."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, rows: Rows, weights: NDArray[np.float32]) -> Self:
        """Such that labels have mean 0 and variance 1; classes stay as they are."""
        if rows.classes:
            return cls()
        labels = np.asarray(rows.labels, np.float64)
        mean = float(np.average(labels, weights=weights))
        deviation = float(np.sqrt(np.average(np.square(labels - mean), weights=weights)))
        return cls(mean, deviation or 1.0)

    def scaled(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Labels in this unit."""
        if self == Scale():
            return labels
        return ((labels - self.mean) / self.deviation).astype(np.float32)

    def loss(self, loss: float) -> float:
        """A loss in this unit as one in the labels' own."""
        return loss * self.deviation**2
