"""What a problem brings along for its predictions to be measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from custom_components.evaluator import curves
from custom_components.evaluator.metrics.tally import Floats, Numbers, Predictions, Scores, Tally
from custom_components.evaluator.verdict import Errors
from custom_components.example_gen.values import class_of
from pipeline.evaluate_config import Metric

BINS = "bins"
"""What is counted for the curves: see `curves.keys`."""

Samples = dict[Metric, Floats]
"""Each metric in every sample [samples]; NaN where it is undefined."""


class Unusable(NamedTuple):
    """What is said of rows that cannot be measured."""

    label: str
    """What is wrong with a label that is there, after "is"."""
    answer: str
    """What a model gave, after "gave"."""
    advice: str
    """What to do about such a model."""


class Measures(Protocol):
    """How the predictions for one problem are measured; `metrics.measures` has the one for each."""

    @property
    def unusable(self) -> Unusable:
        """What is said of rows that cannot be measured."""

    def labels(self, values: pa.Array) -> Floats:
        """The labels [rows] as numbers, NaN where one is unusable."""

    def usable(self, predictions: Predictions) -> NDArray[np.bool_]:
        """Which [rows] of the predictions can be measured."""

    def score(self, labels: Floats, predictions: Predictions, blocks: Numbers) -> Scores:
        """What each row adds to a tally."""

    def label_mean(self, rows: Tally) -> float:
        """See `verdict.Slice.label_mean`."""

    def measure(self, rows: Tally) -> dict[Metric, float]:
        """Every metric of the problem; NaN where one is undefined."""

    def resampled(
        self, rows: Tally, blocks: Numbers, weights: Floats, measured: Mapping[Metric, float]
    ) -> Samples:
        """Every metric in samples of the rows.

        Args:
            rows: What is sampled.
            blocks: The blocks that have rows.
            weights: [blocks, samples]: how often each sample has each of them.
            measured: What `measure` says.
        """

    def errors(self, rows: Tally) -> Errors | None:
        """How far predictions are off, in a regression."""

    def tables(self, models: Mapping[str, Tally]) -> dict[str, pa.Table]:
        """What is written beside the verdict, by file name, of tallies of all rows in detail."""


def class_numbers(values: pa.Array, classes: tuple[str, ...]) -> Floats:
    """The number [rows] of each value's class, by its text as `class_of` has it; NaN if none."""
    numbers = {name: float(place) for place, name in enumerate(classes)}
    if pa.types.is_null(values.type):
        return np.full(len(values), np.nan)
    distinct = values.dictionary_encode()
    found = [numbers.get(_text(value), np.nan) for value in distinct.dictionary.to_pylist()]
    places = distinct.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    return np.asarray(np.array([*found, np.nan])[places])


def _text(value: float | bytes) -> str:
    try:
        return class_of(value)
    except (ValueError, OverflowError):  # no UTF-8, no number, infinite
        return ""


def curves_table(models: Mapping[str, Tally]) -> pa.Table:
    """The table behind the curves, of tallies that have counted BINS."""
    of_keys = {name: rows.counts[BINS].dense(2 * curves.BINS) for name, rows in models.items()}
    return curves.table({name: curves.counts(counted) for name, counted in of_keys.items()})
