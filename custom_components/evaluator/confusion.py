"""Which classes a model takes for which: the counts behind precision and recall of each class.

The evaluator writes them beside its verdict where there are several classes. Neither TFX nor
TensorFlow is imported here.

    confusion = Confusion.read(folder)
    confusion.matrix("xgboost")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from custom_components.evaluator import tables
from custom_components.evaluator.verdict import ClassMetrics
from pipeline.errors import UserError

FILE = "confusion.parquet"
"""In the evaluation's folder; columns: `model`, `actual` and `predicted` (classes by their names),
`rows`. Every pair of classes is there, in their order."""

_SCHEMA = pa.schema(
    {"model": pa.string(), "actual": pa.string(), "predicted": pa.string(), "rows": pa.int64()}
)

Matrix = NDArray[np.int64]
"""[classes, classes]: rows by their class, then by the one that is predicted as most probable. In a
cross-validation a row counts once in each repeat."""


class Confusion:
    """The confusion matrices of the models of an evaluation."""

    def __init__(self, classes: Sequence[str], matrices: Mapping[str, Matrix]) -> None:
        """Takes the classes in their order, and a matrix for each model."""
        self.classes = tuple(classes)
        self._matrices = dict(matrices)

    @classmethod
    def read(cls, path: str | Path) -> Confusion:
        """Reads what the evaluator has written.

        Args:
            path: The evaluation's folder, or the file itself.

        Raises:
            UserError: If there is none, or it is something else.
        """
        return cls.of(tables.read(path, FILE, "confusion matrices", _SCHEMA))

    @classmethod
    def of(cls, table: pa.Table) -> Confusion:
        """Takes what the file holds.

        Raises:
            UserError: If it is something else.
        """
        models = table["model"].unique().to_pylist()
        classes = table["actual"].unique().to_pylist()
        shape = len(models), len(classes), len(classes)
        if len(table) != np.prod(shape):
            raise UserError(f"{FILE}: no confusion matrices of an evaluation: pairs are missing")
        counts = table["rows"].to_numpy().reshape(shape)
        return cls(classes, dict(zip(models, counts, strict=True)))

    @property
    def models(self) -> tuple[str, ...]:
        """The candidates, then the live model, by the names that the verdict has."""
        return tuple(self._matrices)

    def matrix(self, model: str) -> Matrix:
        """A model's matrix.

        Raises:
            UserError: If there is no such model.
        """
        return tables.of_model(self._matrices, model, "is no confusion matrix")

    def by_class(self, model: str, *, repeats: int = 1) -> tuple[ClassMetrics, ...]:
        """How a model does on each class, whose rows are counted so many times.

        Raises:
            UserError: If there is no such model.
        """
        matrix = self.matrix(model)
        counts = zip(matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1), strict=True)
        return tuple(
            ClassMetrics(
                precision=right / predicted if predicted else None,
                recall=right / actual if actual else None,
                f1=2 * right / (predicted + actual) if predicted + actual else None,
                rows=actual // repeats,
            )
            for right, predicted, actual in counts
        )

    def table(self) -> pa.Table:
        """What is written to the file."""
        pairs = [(actual, predicted) for actual in self.classes for predicted in self.classes]
        rows = [
            (model, *pair, count)
            for model, matrix in self._matrices.items()
            for pair, count in zip(pairs, matrix.ravel().tolist(), strict=True)
        ]
        return pa.Table.from_pylist(
            [dict(zip(_SCHEMA.names, row, strict=True)) for row in rows], _SCHEMA
        )

    def __repr__(self) -> str:
        return f"<Confusion of {', '.join(self.models)}>"
