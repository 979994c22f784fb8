"""What models predict beside what came true, of some rows of a regression.

The evaluator writes them beside its verdict. Neither TFX nor TensorFlow is imported here.

    points = Points.read(folder)
    points.labels, points.predictions("xgboost")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from custom_components.evaluator import tables
from custom_components.evaluator.curves import CalibrationPoint
from pipeline.errors import UserError

FILE = "points.parquet"
"""In the evaluation's folder; columns: `label`, then each model's prediction under its name."""
LABEL = "label"
ROWS = 2000
"""So many rows are kept, spread evenly; all where there are no more."""

Values = NDArray[np.float64]


class Points:
    """Some rows of an evaluation."""

    def __init__(self, labels: Values, predictions: Mapping[str, Values]) -> None:
        """Takes the labels [rows] and, by model, the predictions [rows]."""
        self.labels = labels
        self._predictions = dict(predictions)

    @classmethod
    def read(cls, path: str | Path) -> Points:
        """Reads what the evaluator has written.

        Args:
            path: The evaluation's folder, or the file itself.

        Raises:
            UserError: If there is none, or it is something else.
        """
        table = tables.read(path, FILE, "points")
        if table.column_names[:1] != [LABEL]:
            raise UserError(f"{path}: no points of an evaluation: the first column is no {LABEL}")
        labels, *predictions = (column.to_numpy() for column in table.columns)
        return cls(labels, dict(zip(table.column_names[1:], predictions, strict=True)))

    @property
    def models(self) -> tuple[str, ...]:
        """The candidates, then the live model, by the names that the verdict has."""
        return tuple(self._predictions)

    def predictions(self, model: str) -> Values:
        """What a model predicts [rows]; in a cross-validation, in its first repeat.

        Raises:
            UserError: If there is no such model.
        """
        return tables.of_model(self._predictions, model, "are no points")

    def calibration(self, model: str, bins: int = 10) -> list[CalibrationPoint]:
        """The mean label where the model predicts about the same value.

        Args:
            model: The model's name.
            bins: Into so many groups of about as many rows each they are put, by the prediction.

        Raises:
            UserError: If there is no such model.
        """
        predicted = self.predictions(model)
        groups = np.array_split(np.argsort(predicted, kind="stable"), bins)
        return [
            CalibrationPoint(float(predicted[g].mean()), float(self.labels[g].mean()), len(g))
            for g in groups
            if len(g)
        ]

    def table(self) -> pa.Table:
        """What is written to the file."""
        return pa.table({LABEL: self.labels, **self._predictions})

    def __repr__(self) -> str:
        return f"<Points of {', '.join(self.models)}>"
