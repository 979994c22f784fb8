"""What an evaluation found and decided: the schema of verdict.json.

It lies in the folder of the ModelEvaluation artifact, beside TFMA's own files. This module imports
neither TFX nor TensorFlow, so a summary, a report or a question to the lineage can read it quickly:

    verdict = Verdict.model_validate_json((folder / FILE).read_text())
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from pipeline.config import Metric

FILE = "verdict.json"
"""The verdict's name in the evaluation's folder."""

CANARY_FILE = "canary.parquet"
"""Raw rows: `example`, a serialized tf.Example, and the candidate's `prediction`."""

COUNTERS = "evaluator"
"""Beam's namespace of the counts of unusable rows."""
UNUSABLE_LABELS = "unusable labels"
"""The count of rows whose label is neither 0 nor 1."""
UNUSABLE_PREDICTIONS = "unusable predictions of "
"""The count of rows for which the model of that name gave no probability."""
LIVE = "live"
"""The name under which the live model is evaluated."""

Value = str | int | float
"""A value of a slice's column."""

Metrics = dict[Metric, float | None]
"""A model's metrics; None where one is undefined, as AUC is where all rows are of one class."""


class Rule(StrEnum):
    """What a check compares."""

    MIN = "min"
    """The metric over all rows with the lowest value allowed."""
    MAX = "max"
    """The metric over all rows with the highest value allowed."""
    MAX_REGRESSION = "max_regression"
    """How much worse than the live model's the metric over all rows is."""
    GUARD = "guard"
    """How much worse than the live model's the metric of one slice is."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Slice(_Record):
    """The rows that share some columns' values, and how each model does on them."""

    columns: dict[str, Value]
    """The values that the rows share, as in {"carrier": "UA"}; empty for all rows."""
    rows: int
    """How many rows they are."""
    label_mean: float
    """Share of rows whose label is 1."""
    models: dict[str, Metrics]
    """Metrics by model name: each candidate, and `live` if there is a live model."""

    @property
    def name(self) -> str:
        """The slice in words, as in "carrier UA, origin EWR"."""
        return ", ".join(f"{c} {v}" for c, v in self.columns.items()) or "all rows"


class Check(_Record):
    """One comparison of a model's metric with what the configuration allows."""

    model: str
    """The candidate's name."""
    metric: Metric
    """What was compared."""
    rule: Rule
    """With what it was compared."""
    slice: dict[str, Value]
    """The slice's values; empty for all rows."""
    rows: int
    """The slice's rows."""
    value: float | None
    """The candidate's metric."""
    live: float | None = None
    """The live model's metric, where the rule compares with it."""
    bound: float
    """The setting: the lowest or highest value, or the largest regression allowed."""
    judged: bool
    """False if there was nothing to judge by: too few rows, an undefined metric, no live model."""
    passed: bool
    """False if it speaks against blessing the model; what is not judged does not."""
    reason: str
    """All of this in one sentence."""


class Verdict(_Record):
    """What an evaluation found and decided."""

    blessed: bool
    """Whether the candidate passed every check."""
    candidate: str
    """The name of the model that is judged."""
    live: str | None
    """The name of the model that it was compared with, or None if no model is live."""
    rows: int
    """Rows of the eval split."""
    label_mean: float
    """Share of them whose label is 1."""
    models: dict[str, Metrics]
    """Metrics over all rows, by model name."""
    slices: list[Slice]
    """Every slice but the one of all rows, in the order of the configuration, largest first."""
    checks: list[Check]
    """Every comparison that was made or would have been."""

    @property
    def failures(self) -> list[Check]:
        """The checks that speak against the candidate."""
        return [check for check in self.checks if not check.passed]
