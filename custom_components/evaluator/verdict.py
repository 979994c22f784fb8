"""What an evaluation found and decided: the schema of verdict.json.

It lies in the folder of the ModelEvaluation artifact, beside TFMA's own files. This module imports
neither TFX nor TensorFlow, so a summary, a report or a question to the lineage can read it quickly:

    verdict = Verdict.model_validate_json((folder / FILE).read_text())
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from models import manifest
from pipeline.evaluate_config import Metric

FILE = "verdict.json"
"""The verdict's name in the evaluation's folder."""

CANARY_FILE = "canary.parquet"
"""Raw rows: `example`, a serialized tf.Example, and each candidate's prediction under its name."""

BOOTSTRAP_FILE = "bootstrap.parquet"
"""The metrics over all rows in each of the bootstrap's samples: `model`, `metric`, `values`, a list
with one value for each sample. Place i of every list is the same sample, so differences between
models are paired."""

COUNTERS = "evaluator"
"""Beam's namespace of the counts of unusable rows."""
UNUSABLE_LABELS = "unusable labels"
"""The count of rows whose label is neither 0 nor 1."""
UNUSABLE_PREDICTIONS = "unusable predictions of "
"""The count of rows for which the model of that name gave no probability."""
LIVE = "live"
"""The name under which the live model is evaluated."""
ENSEMBLE = manifest.ENSEMBLE
"""The name of the mean of the best candidates."""

Value = str | int | float
"""A value of a slice's column."""

Metrics = dict[Metric, float | None]
"""A model's metrics; None where one is undefined, as AUC is where all rows are of one class."""

Intervals = dict[Metric, tuple[float, float] | None]
"""The lower and the upper end of each metric; None where it is undefined."""


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
    intervals: dict[str, Intervals] = {}
    """Where the metrics lie in most of the bootstrap's samples, by model name."""

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


class Cost(_Record):
    """What it takes to ask a model, measured in the evaluator's process."""

    latency_ms: float
    """Median of the milliseconds for one raw row."""
    rows_per_second: float
    """With many raw rows in a batch."""
    size_bytes: int
    """Bytes of its folder."""


class Verdict(_Record):
    """What an evaluation found and decided."""

    candidates: tuple[str, ...]
    """The names of the models that are judged, in the order of the alphabet; an ensemble last."""
    blessed: dict[str, bool]
    """Whether each candidate passed every check."""
    members: tuple[str, ...] = ()
    """The candidates whose mean the ensemble is; empty if there is none."""
    live: str | None
    """The name of the model that they were compared with, or None if no model is live."""
    live_framework: str | None = None
    """What that one is made with."""
    rows: int
    """How many rows they were judged by."""
    judged_on: str = ""
    """Which rows these are, in words: as in "the eval split of span 3"."""
    label_mean: float
    """Share of them whose label is 1."""
    models: dict[str, Metrics]
    """Metrics over all rows, by model name."""
    intervals: dict[str, Intervals] = {}
    """Where they lie in most of the bootstrap's samples, by model name."""
    confidence: float = 0.95
    """In what share of them."""
    replicates: int = 0
    """How many samples the bootstrap drew."""
    groups: str = "rows"
    """What it drew: "rows", or the column whose values were kept together."""
    costs: dict[str, Cost] = {}
    """What each model costs to ask, by its name."""
    slices: list[Slice]
    """Every slice but the one of all rows, in the order of the configuration, largest first."""
    checks: list[Check]
    """Every comparison that was made or would have been, candidate by candidate."""

    def failures(self, candidate: str) -> list[Check]:
        """The checks that speak against a candidate."""
        return [check for check in self.checks if check.model == candidate and not check.passed]
