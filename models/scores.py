"""How good predictions are, where all are at hand at once: for a training apart from a pipeline.

In a pipeline the evaluator says so, of more metrics, by slices, and with intervals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.problems import mean_loss


def scores(
    predictions: NDArray[Any], labels: NDArray[np.float32], classes: int
) -> dict[str, float]:
    """The metrics by which models may be compared; the first of them is the loss that they learn.

    Args:
        predictions: As `bundle.Predictions`.
        labels: [rows], as in `Rows`.
        classes: As in `Rows`.
    """
    predictions = np.asarray(predictions, np.float64)
    loss = mean_loss(predictions, labels, np.ones_like(labels), classes)
    if not classes:
        mae = float(np.abs(predictions - labels).mean())
        return {"rmse": float(np.sqrt(loss)), "mae": mae}
    if classes == 2:
        return {"log_loss": loss, "auc": _auc(predictions, labels == 1)}
    chosen = predictions.argmax(1)
    right = float((chosen == labels).mean())
    return {"log_loss": loss, "macro_f1": _macro_f1(chosen, labels.astype(int)), "accuracy": right}


def _auc(said: NDArray[np.float64], is_one: NDArray[np.bool_]) -> float:
    """The share of pairs in the right order; ties count half (Mann and Whitney)."""
    _, place, count = np.unique(said, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    ones = int(is_one.sum())
    pairs = ones * (len(said) - ones)
    return float((rank[is_one].sum() - ones * (ones + 1) / 2) / pairs)


def _macro_f1(chosen: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """The mean of the F1 of every class that is among the labels or was chosen."""
    size = max(chosen.max(), labels.max()) + 1
    right, said, true = (
        np.bincount(found, minlength=size) for found in (labels[chosen == labels], chosen, labels)
    )
    met = said + true > 0
    return float((2 * right[met] / (said + true)[met]).mean())
