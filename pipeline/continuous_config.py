"""When to retrain by itself: the section [continuous] of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.sections import Column, Section, Share


class DriftRule(Section):
    """Retrain when the data has become unlike all that the live model learned from.

    A column has moved where it is further than its threshold from every span that the model learned
    from: a July that resembles a learned June has not moved, however unlike January it is.
    """

    enabled: bool = True
    """Whether drift is a reason; measured and told it is anyhow."""
    columns: Annotated[int, Field(ge=1)] = 1
    """So many columns have to move for a span to count as drifted."""
    spans: Annotated[int, Field(ge=1)] = 2
    """So many of the last `of` spans have to have drifted: a single odd one is no new season."""
    of: Annotated[int, Field(ge=1)] = 3
    """Of how many of the last spans, the new one among them."""
    max_js_divergence: Share = 0.3
    """Numeric columns: Jensen-Shannon divergence (0 same, 1 disjoint)."""
    max_l_infinity: Share = 0.1
    """Categorical columns, and the label: largest change of one value's share."""
    thresholds: dict[Column, Share] = {}
    """Thresholds of single columns, in place of the two above; 1 leaves a column out."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.spans > self.of:
            raise ValueError(f"spans = {self.spans} of the last {self.of} can never be; raise of")
        return self


class PerformanceRule(Section):
    """Bounds for a metric of the live model on a new span, of which it has seen no row."""

    min: float | None = None
    """Retrain below it."""
    max: float | None = None
    """Retrain above it."""
    max_fall: Annotated[float, Field(ge=0)] | None = None
    """Retrain when the metric is worse by more than that, in its own unit, than when the model was
    judged before it was pushed; of rmse and mae as a share of what it was then; for calibration:
    further from 1, for bias: from 0."""

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None and self.max_fall is None:
            raise ValueError("needs at least one of min, max, max_fall")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no value can pass")
        return self


class PerformanceConfig(Section):
    """Retrain when the live model scores badly on a new span, by the metrics that are named.

    Each must be one of the problem's.
    """

    auc: PerformanceRule | None = None
    """Area under the ROC curve: how often a 1 is ranked above a 0."""
    pr_auc: PerformanceRule | None = None
    """Average precision: the mean precision over all recalls."""
    log_loss: PerformanceRule | None = None
    """Mean cross entropy in nats: lower is better."""
    calibration: PerformanceRule | None = None
    """Predicted positives over actual ones: best at 1."""
    accuracy: PerformanceRule | None = None
    """Share of rows on the right side of `evaluate.decision_threshold`; with several classes, of
    those whose class is the most probable one."""
    precision: PerformanceRule | None = None
    """Share of the rows flagged as 1 that are 1."""
    recall: PerformanceRule | None = None
    """Share of the rows that are 1 that are flagged."""
    f1: PerformanceRule | None = None
    """Harmonic mean of precision and recall."""
    macro_f1: PerformanceRule | None = None
    """Mean of F1 over the classes."""
    top_k_accuracy: PerformanceRule | None = None
    """Share of rows whose class is among the `evaluate.top_k` most probable ones."""
    rmse: PerformanceRule | None = None
    """Root of the mean squared error."""
    mae: PerformanceRule | None = None
    """Mean size of the errors."""
    r2: PerformanceRule | None = None
    """Share of the label's variance that is explained."""
    bias: PerformanceRule | None = None
    """Mean of predictions less that of labels: best at 0."""

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """What is looked at by default: the first metric of the problem."""
        return cls.model_validate({Metric.of(problem)[0]: PerformanceRule(max_fall=0.1)})

    def rules(self) -> Iterator[tuple[Metric, PerformanceRule]]:
        """The metrics that are named."""
        for metric in Metric:
            rule: PerformanceRule | None = getattr(self, metric)
            if rule is not None:
                yield metric, rule


class BudgetRule(Section):
    """How many runs may be started."""

    runs: Annotated[int, Field(ge=0)]
    """So many at most in any `days`; 0: none is started."""
    days: Annotated[float, Field(gt=0)] = 30.0
    """The period, in days, that ends now."""


class ContinuousConfig(Section):
    """When `python -m pipeline continuous` retrains.

    One reason is enough; what holds back (too few rows, a quiet period, a spent budget) outweighs
    all of them.
    """

    runner: Literal["local", "kubeflow", "vertex"] = "local"
    """Who carries out the runs: this machine, or the server of [kubeflow] or [vertex]. What a
    decision needs of a span is found out on this machine anyway."""
    cron: str | None = None
    """Retrain at these times, if a span has come since: minute, hour, day, month, weekday."""
    timezone: str = "UTC"
    """In which cron and look_cron are meant, as in Europe/Berlin."""
    look_cron: str = "0 * * * *"
    """When a server's clock has the policy look whether there is a reason
    (`kubeflow_runner.py schedule --pipeline continuous`), in five fields as cron."""
    every_span: bool = False
    """Retrain on each new span."""
    drift: DriftRule = DriftRule()
    """Retrain on drift."""
    performance: PerformanceConfig = PerformanceConfig.of(Problem.BINARY)
    """Retrain when the live model scores badly on a new span; {} for never. By default when auc or,
    with several classes, macro_f1 falls by 0.1, or in a regression rmse grows by 10 %. What is
    named here takes the default's place as a whole: name auc as well, if it is to stay bounded.
    Some fall is to be expected: a model was judged on a span that it learned from, if on other
    rows, and some spans are harder than others. By default not by log loss, which goes up where
    ones come to be more frequent, whatever the model."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Share of the bootstrap's samples in which a metric has to break its bound."""
    max_age_days: Annotated[float, Field(ge=0)] = 0.0
    """Retrain when the live model was pushed so many days ago; 0: however old it is."""
    max_age_spans: Annotated[int, Field(ge=0)] = 3
    """Retrain when so many spans have come since the last that a run learned from, be it the live
    model's or one whose model was no better; 0: however many."""
    min_rows: Annotated[int, Field(ge=0)] = 1000
    """No run on a span with fewer rows."""
    quiet_hours: Annotated[float, Field(ge=0)] = 0.0
    """No run within so many hours of the start of the last one."""
    budget: BudgetRule | None = None
    """How many runs may be started."""
    marker: Annotated[str, Field(min_length=1)] | None = None
    """File that says that a span is complete, as in "_SUCCESS": in the folder of its files, and
    itself none that data.pattern matches; by default a span is complete once it rests."""
    rest_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Without a marker: how long no file of a span may have come, gone or changed its size."""
    tries: Annotated[int, Field(ge=1)] = 3
    """How often a run is tried before it is given up and told."""
    backoff_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Seconds to the second try; twice as many to each further one."""
    webhook: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Told as JSON of runs, of trials (register.approval = "shadow"), of failures and of spans that
    are refused. One that is secret belongs in PIPELINE_WEBHOOK."""

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError.
            raise ValueError(
                f"{name!r} is no time zone; expected a name as in Europe/Berlin"
            ) from None
        return name

    @field_validator("cron", "look_cron")
    @classmethod
    def _cron_can_be_read(cls, cron: str | None) -> str | None:
        from datetime import datetime

        from cronsim import CronSim, CronSimError

        if cron is not None:
            try:
                if len(cron.split()) != 5:
                    raise CronSimError("not five fields")
                next(CronSim(cron, datetime(2000, 1, 1)))
            except (CronSimError, StopIteration):
                raise ValueError(
                    f"{cron!r} names no time that comes; expected five fields, as in '0 6 2 * *': "
                    "minute, hour, day, month, weekday"
                ) from None
        return cron
