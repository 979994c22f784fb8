"""How models are judged and which is better: [evaluate] and [select] of the configuration."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self, TypeVar

from pydantic import Field, model_validator

from pipeline.features_config import Problem
from pipeline.sections import Column, Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Metric(StrEnum):
    """The metrics that the evaluator computes; `Metric.of` says which are of a problem."""

    AUC = "auc"
    PR_AUC = "pr_auc"
    LOG_LOSS = "log_loss"
    CALIBRATION = "calibration"
    ACCURACY = "accuracy"
    PRECISION = "precision"
    RECALL = "recall"
    F1 = "f1"
    MACRO_F1 = "macro_f1"
    TOP_K_ACCURACY = "top_k_accuracy"
    RMSE = "rmse"
    MAE = "mae"
    R2 = "r2"
    BIAS = "bias"

    @classmethod
    def of(cls, problem: Problem) -> tuple[Metric, ...]:
        """The metrics of a problem; the first is what the best model is best in, by default."""
        return _METRICS[problem]

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is a better model; of those with an ideal, neither is."""
        return self.ideal is None and self not in (Metric.LOG_LOSS, Metric.RMSE, Metric.MAE)

    @property
    def ideal(self) -> float | None:
        """The value of a perfect model where both more and less are worse."""
        return {Metric.CALIBRATION: 1.0, Metric.BIAS: 0.0}.get(self)

    @property
    def in_label_unit(self) -> bool:
        """Whether values are in the label's unit, of whatever size; all others are near 0 and 1."""
        return self in (Metric.RMSE, Metric.MAE, Metric.BIAS)

    @property
    def is_relative(self) -> bool:
        """Whether what a setting says of a difference is a share of the live model's value."""
        return self in (Metric.RMSE, Metric.MAE)

    def allowance(self, setting: float, reference: float) -> float:
        """A difference that is set, in the metric's unit, where the live model has `reference`."""
        return setting * abs(reference) if self.is_relative else setting

    def setting_words(self, setting: float) -> str:
        """A difference that is set as people read it: "0.05", or "5 %"."""
        return f"{100 * setting:g} %" if self.is_relative else f"{setting:g}"

    @staticmethod
    def bound_words(bound: float) -> str:
        """A value that is set as people read it, in full: "0.7", or "1,250,000"."""
        return f"{bound:,.10g}"

    def words(self, value: float | None, sign: str = "") -> str:
        """A value as people read it; with `sign` "+" a difference of two."""
        if value is None:
            return "-"
        if not self.in_label_unit:
            return f"{value:{sign}.4f}"
        return f"{value:{sign},.0f}" if abs(value) >= 9_999.5 else f"{value:{sign},.4g}"

    def goodness(self, value: _Number) -> _Number:
        """A value such that more is better, in the metric's own unit."""
        if self.ideal is not None:
            return -abs(value - self.ideal)
        return value if self.higher_is_better else -value


_Number = TypeVar("_Number", float, "NDArray[np.float64]")

_METRICS = {
    Problem.BINARY: (
        Metric.AUC,
        Metric.PR_AUC,
        Metric.LOG_LOSS,
        Metric.CALIBRATION,
        Metric.ACCURACY,
        Metric.PRECISION,
        Metric.RECALL,
        Metric.F1,
    ),
    Problem.MULTICLASS: (
        Metric.MACRO_F1,
        Metric.ACCURACY,
        Metric.LOG_LOSS,
        Metric.TOP_K_ACCURACY,
    ),
    Problem.REGRESSION: (Metric.RMSE, Metric.MAE, Metric.R2, Metric.BIAS),
}


class Threshold(Section):
    """Bounds that a metric must keep for a model to be blessed."""

    min: float | None = None
    """Lowest value allowed."""
    max: float | None = None
    """Highest value allowed."""
    max_regression: Annotated[float, Field(ge=0)] | None = None
    """How much worse than the live model it may be, in the metric's unit; of rmse and mae as a
    share of the live model's: 0.05 for 5 %."""

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None and self.max_regression is None:
            raise ValueError("needs at least one of min, max, max_regression")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no value can pass")
        return self


class SliceGuard(Section):
    """A bound that every slice of some columns must keep, so that no group pays for the average."""

    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    """The slice's columns: each combination of their values is a slice."""
    metric: Metric = Metric.AUC
    """What is compared."""
    max_regression: Annotated[float, Field(ge=0)] = 0.05
    """How much worse than the live model a slice may be, in the metric's unit; of rmse and mae as a
    share of the live model's: 0.05 for 5 %."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """Slices with fewer rows are reported, not judged: their metrics are mostly noise."""


class JudgedOn(StrEnum):
    """Which rows judge; none of them is one that a candidate has learned from."""

    WINDOW = "window"
    NEWEST = "newest"
    UNSEEN = "unseen"


class CrossValidation(Section):
    """For few rows: every row judges models that have not learned from it."""

    folds: Annotated[int, Field(ge=2)] = 5
    """Into so many parts the rows are put; each judges models that learned from the others."""
    repeats: Annotated[int, Field(ge=1)] = 4
    """How often that is done, each time with other parts."""


class EvaluateConfig(Section):
    """How models are judged."""

    on: JudgedOn = JudgedOn.NEWEST
    """newest: the eval split of the newest span. window: of every span of the window. unseen: all
    of the newest span, which is left out of the window then: no candidate learns from it."""

    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = Metric.of(Problem.BINARY)
    """What is computed, overall and for each slice; by default all metrics of the problem."""
    cross_validation: CrossValidation | None = None
    """For fewer than 2,000 rows or so: models are judged on all of them, by predictions of models
    that have not learned from the row (out-of-fold), and trained on all of them then."""
    thresholds: dict[Metric, Threshold] = {}
    """What must hold overall."""
    slices: tuple[Annotated[tuple[Column, ...], Field(min_length=1)], ...] = ()
    """Columns to slice by: [["carrier"], ["origin", "carrier"]]."""
    guards: tuple[SliceGuard, ...] = ()
    """What must hold for every slice."""
    decision_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The probability from which a row counts as a 1, for accuracy, precision, recall and F1."""
    top_k: Annotated[int, Field(ge=2)] = 3
    """With several classes: a row is right for `top_k_accuracy` if its class is among so many of
    the most probable ones; of all but one, where there are no more classes than that."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals that are given with the metrics."""
    replicates: Annotated[int, Field(ge=100)] = 1000
    """Samples of the bootstrap from which intervals and differences between models are told."""

    @model_validator(mode="after")
    def _judges_only_what_it_computes(self) -> Self:
        if self.cross_validation and self.on is JudgedOn.UNSEEN:
            raise ValueError(
                'on is "unseen" and cross_validation is set: rows that no candidate has learned '
                "from need none; take one of the two away"
            )
        # By default it computes what the problem has, which only the whole configuration knows.
        known = self.metrics if "metrics" in self.model_fields_set else tuple(Metric)
        for metric in self.thresholds:
            if metric not in known:
                raise ValueError(
                    f"thresholds.{metric}: the metric is not in metrics; add it there or drop this"
                )
        for guard in self.guards:
            if guard.metric not in known:
                raise ValueError(f"a guard needs {guard.metric}, which is not in metrics; add it")
            if guard.columns not in self.slices:
                raise ValueError(
                    f"a guard watches slices by {list(guard.columns)}, which are not in slices; "
                    "add them"
                )
        return self


class SelectConfig(Section):
    """Which of the blessed models goes live."""

    metric: Metric = Metric.AUC
    """What the best is best in."""
    margin: float = 0.0
    """How much better than the live model, in the metric's unit; of rmse and mae as a share of the
    live model's. Below 0: how much worse will do, for a newer model."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Share of the bootstrap's samples in which it must be so; what falls short is a tie."""
    max_slice_loss: Annotated[float, Field(ge=0)] | None = 0.05
    """How much worse than the live model a guarded slice may be in `metric`, in its unit; of rmse
    and mae as a share of the live model's."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Median of the milliseconds for one raw row."""
    max_size_mb: Annotated[float, Field(gt=0)] | None = None
    """Megabytes of the model's folder."""
    ensemble: Annotated[int, Field(ge=0)] = 3
    """The mean of so many of the best models is one more candidate; 0 or 1: none."""
