"""The metrics of a regression: one value a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from custom_components.evaluator.metrics.measures import Samples, Unusable
from custom_components.evaluator.metrics.tally import (
    Floats,
    Histogram,
    Numbers,
    Predictions,
    Scores,
    Tally,
    ratio,
)
from custom_components.evaluator.verdict import Errors
from pipeline.evaluate_config import Metric

ROWS, LABELS, SQUARED_LABELS, ERRORS, SIZES, SQUARES = range(6)
"""What is summed: rows, labels, their squares, the errors (prediction less label), these without
their signs, and their squares."""
LEVELS = "levels"
"""What is counted: the level of an error, see `level`."""

SIGNED = (0.05, 0.25, 0.5, 0.75, 0.95)
SIZE = (0.5, 0.9, 0.99)
"""The shares of rows at which the errors' quantiles are told, with their sign and without."""
ACCURACY = 0.005
"""By what share of itself a quantile may be off."""
_GROWTH = (1 + ACCURACY) / (1 - ACCURACY)
_SMALLEST = 1e-30
"""Below it an error is none."""
_CONSTANT = 1e-12
"""A variance below this share of the mean square is rounding."""


@dataclass(frozen=True)
class Regression:
    """Measures predicted values: see `Measures`."""

    @property
    def unusable(self) -> Unusable:
        """See `Measures`."""
        return Unusable("no finite number", "no finite number", "It must cope with missing values.")

    def labels(self, values: pa.Array) -> Floats:
        """See `Measures`."""
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            return np.full(len(values), np.nan)
        labels = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
        return np.where(np.isfinite(labels), labels, np.nan)

    def usable(self, predictions: Predictions) -> NDArray[np.bool_]:
        """See `Measures`."""
        return np.isfinite(predictions)

    def score(self, labels: Floats, predictions: Predictions, blocks: Numbers) -> Scores:
        """See `Measures`."""
        errors = predictions - labels
        sizes = np.abs(errors)
        parts = [np.ones(len(labels)), labels, labels**2, errors, sizes, errors**2]
        return Scores(
            blocks=blocks,
            sums=np.stack(parts, axis=1).astype(np.float64),
            keys={LEVELS: level(errors)},
        )

    def label_mean(self, rows: Tally) -> float:
        """See `Measures`."""
        return float(rows.sums[:, LABELS].sum() / rows.sums[:, ROWS].sum())

    def measure(self, rows: Tally) -> dict[Metric, float]:
        """See `Measures`."""
        metrics = _of_sums(rows.sums.sum(axis=0))
        return {metric: float(value) for metric, value in metrics.items()}

    def resampled(
        self, rows: Tally, blocks: Numbers, weights: Floats, measured: Mapping[Metric, float]
    ) -> Samples:
        """See `Measures`."""
        return _of_sums((rows.sums[blocks].T @ weights).T)

    def errors(self, rows: Tally) -> Errors:
        """See `Measures`."""
        levels = rows.counts[LEVELS]
        sizes = Histogram.add_up(
            Histogram(keys, counts)
            for keys, counts in (
                (-levels.keys[levels.keys < 0][::-1], levels.counts[levels.keys < 0][::-1]),
                (levels.keys[levels.keys >= 0], levels.counts[levels.keys >= 0]),
            )
        )
        return Errors(
            signed={share: _quantile(levels, share) for share in SIGNED},
            size={share: _quantile(sizes, share) for share in SIZE},
        )

    def tables(self, models: Mapping[str, Tally]) -> dict[str, pa.Table]:
        """See `Measures`."""
        return {}


def level(errors: Floats) -> Numbers:
    """Numbers [rows] in the order of the errors, the same for those that are nearly the same.

    The levels grow by a constant factor, as in DDSketch (Masson, Rim & Lee 2019), so any quantile
    is told to `ACCURACY` of itself from as many levels as there are orders of magnitude, whatever
    the rows.
    """
    sizes = np.maximum(np.abs(errors) / _SMALLEST, 1)
    levels = np.ceil(np.log(sizes) / np.log(_GROWTH))
    return np.asarray(np.sign(errors) * levels, np.int64)


def _quantile(levels: Histogram, share: float) -> float:
    """The value below which a share of the rows lies."""
    ends = np.cumsum(levels.counts)
    found = int(levels.keys[np.searchsorted(ends, share * (ends[-1] - 1), side="right")])
    middle = 2 * _SMALLEST * _GROWTH ** abs(found) / (_GROWTH + 1)
    return float(np.sign(found) * middle)


def _of_sums(sums: Floats) -> Samples:
    """The metrics of sums [..., 6]."""
    rows, labels, squared_labels, errors, sizes, squares = np.moveaxis(sums, -1, 0)
    spread = squared_labels - ratio(labels**2, rows)
    spread = np.where(spread > _CONSTANT * squared_labels, spread, np.nan)
    return {
        Metric.RMSE: np.sqrt(ratio(squares, rows)),
        Metric.MAE: ratio(sizes, rows),
        Metric.R2: ratio(spread - squares, spread),
        Metric.BIAS: ratio(errors, rows),
    }
