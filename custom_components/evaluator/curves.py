"""How predictions are spread: the counts behind calibration, threshold and ROC curves.

The evaluator writes them beside its verdict: for each model, the rows by predicted probability, in
bins of equal width. From that every curve can be drawn, for any threshold, without asking a model
again. Of several classes the probability is that of the most probable one, and a row is positive if
it is of that: so they say how far a model can be believed, and thresholds mean nothing. Neither TFX
nor TensorFlow is imported here.

    curves = Curves.read(folder)
    curves.thresholds("xgboost")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from custom_components.evaluator import tables
from pipeline.errors import UserError

FILE = "curves.parquet"
"""In the evaluation's folder; columns: `model`, `bin` (from 0), `rows`, `positives` (rows of the
second class). Bins without rows are left out."""

BINS = 1000
"""A row is in bin k if its prediction is at least k / BINS and below (k + 1) / BINS; 1 is in the
last."""

_SCHEMA = pa.schema(
    {"model": pa.string(), "bin": pa.int32(), "rows": pa.int64(), "positives": pa.int64()}
)
_EDGES = np.arange(1, BINS) / BINS
_CENTRES = (np.arange(BINS) + 0.5) / BINS

Counts = NDArray[np.int64]
"""[2, BINS]: rows, and those of label 1, in each bin."""


class CalibrationPoint(NamedTuple):
    """Rows of which about the same was predicted."""

    predicted: float
    """The mean probability, each row counting with the centre of its bin; or the mean value."""
    observed: float
    """The share of the rows that are positive; or the mean of the labels."""
    rows: int


class ThresholdPoint(NamedTuple):
    """What a model would do if rows were predicted to be 1 from a threshold on."""

    threshold: float
    precision: float | None
    """None where no row is predicted to be 1."""
    recall: float
    accuracy: float
    flagged: float
    """The share of rows that are predicted to be 1."""


class Curves:
    """The curves of the models of an evaluation."""

    def __init__(self, counts: Mapping[str, Counts]) -> None:
        """Takes the counts by model."""
        self._counts = dict(counts)

    @classmethod
    def read(cls, path: str | Path) -> Curves:
        """Reads what the evaluator has written.

        Args:
            path: The evaluation's folder, or the file itself.

        Raises:
            UserError: If there is none, or it is something else.
        """
        table = tables.read(path, FILE, "curves", _SCHEMA)
        counts: dict[str, Counts] = {}
        columns = (table[name].to_pylist() for name in _SCHEMA.names)
        for model, place, rows, positives in zip(*columns, strict=True):
            if not 0 <= place < BINS:
                raise UserError(f"{FILE} in {path}: bin {place}; expected one from 0 to {BINS - 1}")
            counts.setdefault(model, np.zeros((2, BINS), np.int64))[:, place] = rows, positives
        return cls(counts)

    @property
    def models(self) -> tuple[str, ...]:
        """The candidates, then the live model, by the names that the verdict has."""
        return tuple(self._counts)

    def calibration(self, model: str, bins: int = 10) -> list[CalibrationPoint]:
        """How often label 1 came true where the model gave about the same probability.

        Args:
            model: The model's name.
            bins: Into so many groups of about as many rows each they are put, by the prediction;
                fewer where many rows have the same one.

        Raises:
            UserError: If there is no such model.
        """
        rows, positives = self._of(model)
        middle = np.cumsum(rows) - rows / 2
        group = np.minimum((middle * bins / rows.sum()).astype(np.int64), bins - 1)
        sums = [np.bincount(group, each, bins) for each in (rows * _CENTRES, positives, rows)]
        return [
            CalibrationPoint(float(predicted / n), float(ones / n), int(n))
            for predicted, ones, n in zip(*sums, strict=True)
            if n
        ]

    def thresholds(self, model: str, n: int = 100) -> list[ThresholdPoint]:
        """What the model would do at `n` thresholds from 0 on, evenly spread below 1.

        Args:
            model: The model's name.
            n: How many, from 1 to 1000; each lies at the edge of a bin, where it is exact.

        Raises:
            UserError: If there is no such model.
        """
        rows, positives = self._of(model)
        flagged, hits = _from(rows), _from(positives)
        total, ones = flagged[0], hits[0]
        return [
            ThresholdPoint(
                threshold=place / BINS,
                precision=float(hits[place] / flagged[place]) if flagged[place] else None,
                recall=float(hits[place] / max(ones, 1)),
                accuracy=float((total - ones - flagged[place] + 2 * hits[place]) / total),
                flagged=float(flagged[place] / total),
            )
            for place in (np.arange(n) * BINS // n).tolist()
        ]

    def roc(self, model: str) -> tuple[list[float], list[float]]:
        """The share of rows of label 0, and of label 1, that are predicted to be 1.

        At every threshold, the highest first: from (0, 0) to (1, 1).

        Raises:
            UserError: If there is no such model.
        """
        rows, positives = self._of(model)
        ends = [np.append(_from(each), 0)[::-1] for each in (rows - positives, positives)]
        false, true = ((each / max(each[-1], 1)).tolist() for each in ends)
        return false, true

    def _of(self, model: str) -> Counts:
        return tables.of_model(self._counts, model, "are no curves")

    def __repr__(self) -> str:
        return f"<Curves of {', '.join(self.models)}>"


def keys(positives: NDArray[np.bool_], predictions: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin [rows] of each prediction times 2, plus whether the row is positive."""
    return np.searchsorted(_EDGES, predictions, side="right") * 2 + positives


def counts(of_keys: NDArray[np.int64]) -> Counts:
    """What is counted, by how often [2 BINS] each key occurs."""
    negatives, positives = of_keys.reshape(BINS, 2).T
    return np.stack([negatives + positives, positives])


def table(counts: Mapping[str, Counts]) -> pa.Table:
    """What is written to the file."""
    found = [
        (name, place, rows, positives)
        for name, of_model in counts.items()
        for place, (rows, positives) in enumerate(of_model.T.tolist())
        if rows
    ]
    return pa.Table.from_pylist(
        [dict(zip(_SCHEMA.names, row, strict=True)) for row in found], _SCHEMA
    )


def _from(counts: Counts) -> Counts:
    """How many are in each bin and in those above it."""
    above: Counts = np.cumsum(counts[::-1])[::-1]
    return above
