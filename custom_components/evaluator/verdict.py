"""What an evaluation found and decided: the schema of verdict.json.

It lies in the folder of the ModelEvaluation artifact, beside TFMA's own files. This module imports
neither TFX nor TensorFlow, so a summary, a report or a question to the lineage can read it quickly:

    verdict = Verdict.model_validate_json((folder / FILE).read_text())
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from models import manifest
from pipeline.evaluate_config import CrossValidation, Metric
from pipeline.features_config import Problem

FILE = "verdict.json"
"""The verdict's name in the evaluation's folder."""

CANARY_FILE = "canary.parquet"
"""Raw rows: `example`, a serialized tf.Example, and each candidate's prediction under its name: a
number, or with several classes a list with the probability of each."""

BOOTSTRAP_FILE = "bootstrap.parquet"
"""The metrics over all rows in each of the bootstrap's samples: `model`, `metric`, `values`, a list
with one value for each sample. Place i of every list is the same sample, so differences between
models are paired."""

REPEATS_FILE = "repeats.parquet"
"""The same, where the rows were parted several times: the metrics in each of the repeats."""

COUNTERS = "evaluator"
"""Beam's namespace of the counts of unusable rows."""
UNUSABLE_LABELS = "unusable labels"
"""The count of rows whose label is none of the classes, or no number in a regression."""
UNUSABLE_PREDICTIONS = "unusable predictions of "
"""The count of rows for which the model of that name gave none: no probabilities, or no number."""
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

Quantiles = dict[float, float]
"""The value below which a share of rows lies, by the share."""


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


class Errors(_Record):
    """How far the predictions of a regression are off, in the label's unit, to half a percent."""

    signed: Quantiles
    """Of prediction less label, at the shares 0.05, 0.25, 0.5, 0.75 and 0.95."""
    size: Quantiles
    """Of the same without its sign, at 0.5, 0.9 and 0.99."""


class ClassMetrics(_Record):
    """How a model does on one of several classes."""

    precision: float | None
    """Share of the rows predicted to be of the class that are; None where none is predicted."""
    recall: float | None
    """Share of the rows of the class that are predicted to be; None where there is none."""
    f1: float | None
    """The harmonic mean of both; None where the class neither occurs nor is predicted."""
    rows: int
    """How many rows are of the class: its support."""


class Slice(_Record):
    """The rows that share some columns' values, and how each model does on them."""

    columns: dict[str, Value]
    """The values that the rows share, as in {"carrier": "UA"}; empty for all rows."""
    rows: int
    """How many rows they are."""
    label_mean: float
    """Share of rows of the second class; with several classes, of the most frequent one; the mean
    of the label in a regression."""
    models: dict[str, Metrics]
    """Metrics by model name: each candidate, and `live` if there is a live model."""
    intervals: dict[str, Intervals] = {}
    """Where the metrics lie in most of the bootstrap's samples, by model name."""
    errors: dict[str, Errors] = {}
    """Of a regression, by model name."""

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

    @property
    def bound_words(self) -> str:
        """The bound as people read it."""
        is_value = self.rule in (Rule.MIN, Rule.MAX)
        words = self.metric.bound_words if is_value else self.metric.setting_words
        return words(self.bound)


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

    problem: Problem = Problem.BINARY
    """What kind of value is predicted."""
    classes: tuple[str, ...] = ("0", "1")
    """The label's values in the order of the classes' numbers; none in a regression."""
    candidates: tuple[str, ...]
    """The names of the models that are judged, in the order of the alphabet; an ensemble last."""
    blessed: dict[str, bool]
    """Whether each candidate passed every check."""
    members: tuple[str, ...] = ()
    """The candidates whose mean the ensemble is; empty if there is none."""
    live: str | None
    """The name of the model that they were compared with, or None if no model is live."""
    not_compared: str = ""
    """Why a live model is not compared with them, in words; empty if it is, or there is none."""
    live_framework: str | None = None
    """What that one is made with."""
    rows: int
    """How many rows they were judged by."""
    judged_on: str = ""
    """Which rows these are, in words: as in "the eval split of span 3"."""
    cross_validation: CrossValidation | None = None
    """If there is one, each row is judged once in each repeat, by models that have not learned from
    it; the live model by itself where it does not know the row."""
    label_mean: float
    """As of a `Slice`."""
    models: dict[str, Metrics]
    """Metrics over all rows, by model name."""
    intervals: dict[str, Intervals] = {}
    """Where they lie in most of the bootstrap's samples, by model name."""
    spread: dict[str, Metrics] = {}
    """In a cross-validation of several repeats: each metric's standard deviation over these, which
    is by how much it depends on how the rows were parted; by model name."""
    by_class: dict[str, tuple[ClassMetrics, ...]] = {}
    """With several classes: how each model does on each of them; see `confusion` for which of them
    it takes for which."""
    errors: dict[str, Errors] = {}
    """Of a regression, by model name."""
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
