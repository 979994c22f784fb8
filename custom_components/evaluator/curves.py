"""How predictions are spread: the counts behind calibration, threshold and ROC curves.

The evaluator writes them beside its verdict: for each model, the rows by predicted probability, in
bins of equal width. From that every curve can be drawn, for any threshold, without asking a model
again. Neither TFX nor TensorFlow is imported here.

    curves = Curves.read(folder)
    curves.thresholds("xgboost")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import UserError

FILE = "curves.parquet"
"""In the evaluation's folder; columns: `model`, `bin` (from 0), `rows`, `positives` (rows of label
1). Bins without rows are left out."""

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
    """Rows that were given about the same probability."""

    predicted: float
    """Its mean, from 0 to 1; each row counts with the centre of its bin."""
    observed: float
    """The share of the rows whose label is 1."""
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
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        try:
            table = pq.read_table(file).cast(_SCHEMA)
        except FileNotFoundError:
            raise UserError(
                f"{file}: there is no such file; evaluations have it since the evaluator writes "
                "curves. Run the Evaluator again: local_runner.py --from Evaluator"
            ) from None
        except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
            raise UserError(f"{file}: no curves of an evaluation: {error}") from None
        counts: dict[str, Counts] = {}
        columns = (table[name].to_pylist() for name in _SCHEMA.names)
        for model, place, rows, positives in zip(*columns, strict=True):
            if not 0 <= place < BINS:
                raise UserError(f"{file}: bin {place}; expected one from 0 to {BINS - 1}")
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
        if model not in self._counts:
            raise UserError(
                f"there are no curves of a model {model!r}; there are: "
                f"{', '.join(self.models) or 'none'}"
            )
        return self._counts[model]

    def __repr__(self) -> str:
        return f"<Curves of {', '.join(self.models)}>"


def count(labels: NDArray[np.bool_], predictions: NDArray[np.float64]) -> Counts:
    """Counts rows by their predictions; both are [rows]."""
    places = np.searchsorted(_EDGES, predictions, side="right")
    return np.stack([np.bincount(each, minlength=BINS) for each in (places, places[labels])])


def add_up(parts: Iterable[Mapping[str, Counts]], models: Iterable[str]) -> dict[str, Counts]:
    """The counts of all rows that `parts` count, for each model."""
    held = list(parts)
    zero = np.zeros((2, BINS), np.int64)
    return {name: sum((part[name] for part in held), zero) for name in models}


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
