"""Whether to retrain: a pure function of what is known of a span, and the reasons in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pipeline.continuous_config import ContinuousConfig, DriftRule, PerformanceRule
from pipeline.evaluate_config import Metric


@dataclass(frozen=True)
class Moved:
    """How far a column of a span is from the nearest span that the live model learned from."""

    column: str
    is_numeric: bool
    """Whether `distance` is a Jensen-Shannon divergence; else an L-infinity distance."""
    distance: float
    """From 0 (the same) to 1 (nothing in common)."""


@dataclass(frozen=True)
class Drifted:
    """The distances of all columns of one span."""

    span: int
    columns: tuple[Moved, ...]


@dataclass(frozen=True)
class Score:
    """A metric of a model on the new span, and when it was judged."""

    value: float
    samples: tuple[float, ...] = ()
    """The metric in each of the bootstrap's samples; empty where there were too few rows."""
    before: float | None = None
    """What it was when the model was judged before it was pushed; None if that is not known."""
    before_samples: tuple[float, ...] = ()
    """As `samples`, drawn independently; empty: `before` is taken to be exact."""


@dataclass(frozen=True)
class Challenger:
    """A registered model that waits to be compared with the live one."""

    version: str
    """Its number in the registry."""
    artifact: int
    """The id of its Model artifact."""
    scores: dict[Metric, Score] | None = None
    """On all rows of the span, in the same samples as the live model's; None if either has learned
    from it, or it has no labels."""


@dataclass(frozen=True)
class Observation:
    """What is known when it is decided; times have a time zone."""

    now: datetime
    span: int
    rows: int
    """Rows of the span, all splits together."""
    is_new: bool
    """Whether no run has learned from the span as it is now, nor tried to."""
    live_since: datetime | None = None
    """When the live model was pushed; None if no model is live."""
    live_version: str = ""
    """Its version in the serving folder."""
    learned: tuple[int, ...] = ()
    """The spans that the live model learned from."""
    unlearned: int = 0
    """How many spans have come, this one among them, since the newest that a run has learned from:
    the live model's, or one whose model was no better."""
    drift: tuple[Drifted, ...] = ()
    """Of the span and, before it, of those that came since the live model; in their order."""
    scores: dict[Metric, Score] | None = None
    """Of the live model on all rows of the span; None if it learned from the span, or none is
    live."""
    unscored: str = ""
    """Why `scores` could not be told, where a model or the rows cannot be read."""
    challenger: Challenger | None = None
    """What waits to be compared with the live model, where `register.approval` is shadow."""
    runs: tuple[datetime, ...] = ()
    """When runs were started by earlier decisions."""


class Rule(StrEnum):
    """What speaks for a run, or holds it back."""

    FIRST = "no live model"
    SCHEDULE = "schedule"
    EVERY_SPAN = "new span"
    DRIFT = "drift"
    PERFORMANCE = "performance"
    AGE = "age"
    NOTHING_NEW = "nothing new"
    MIN_ROWS = "minimum rows"
    QUIET = "quiet period"
    BUDGET = "budget"

    @property
    def holds_back(self) -> bool:
        """Whether it outweighs every reason for a run."""
        return self in (Rule.NOTHING_NEW, Rule.MIN_ROWS, Rule.QUIET, Rule.BUDGET)


@dataclass(frozen=True)
class Finding:
    """What one rule found."""

    rule: Rule
    holds: bool
    """Whether it speaks for a run or, if it is a rule that holds back, against one."""
    value: float | None
    """What was measured; None where it cannot be."""
    bound: float | None
    """The setting that it is compared with."""
    words: str
    """All of this in a clause without a full stop."""


@dataclass(frozen=True)
class Decision:
    """Whether to retrain on a span, and why."""

    span: int
    retrain: bool
    findings: tuple[Finding, ...]
    """What each rule of the policy found, those that were not decisive among them."""

    @property
    def reason(self) -> str:
        """The decision in one sentence."""
        held = [f.words for f in self.findings if f.holds and f.rule.holds_back]
        reasons = [f.words for f in self.findings if f.holds and not f.rule.holds_back]
        if self.retrain:
            return f"Span {self.span}: retrain, because {'; '.join(reasons)}."
        if reasons:
            words = f"{'; '.join(held)}, although {'; '.join(reasons)}"
        else:
            words = "; ".join([*held, "nothing in the policy asks for a run"])
        return f"Span {self.span}: no run, because {words}."

    def numbers(self) -> str:
        """The findings as JSON."""
        return json.dumps([asdict(finding) for finding in self.findings])


@dataclass(frozen=True)
class Policy:
    """When to retrain, by the section [continuous] of the configuration."""

    config: ContinuousConfig

    def decide(self, seen: Observation) -> Decision:
        """The decision; the same for the same observation.

        A run is started if any reason for one holds and nothing holds it back. A span that is worse
        in any measure, more drift or a lower score, never turns a run into none.
        """
        findings = tuple(self._findings(seen))
        asked = any(f.holds for f in findings if not f.rule.holds_back)
        held_back = any(f.holds for f in findings if f.rule.holds_back)
        return Decision(seen.span, asked and not held_back, findings)

    def is_due(self, since: datetime, now: datetime) -> bool:
        """Whether the schedule names a time after `since` that has come."""
        from cronsim import CronSim

        if not self.config.cron:
            return False
        zone = ZoneInfo(self.config.timezone)
        return bool(next(CronSim(self.config.cron, since.astimezone(zone))) <= now)

    def _findings(self, seen: Observation) -> Iterator[Finding]:
        config = self.config
        yield _nothing_new(seen)
        yield _min_rows(seen, config.min_rows)
        if config.quiet_hours:
            yield _quiet(seen, config.quiet_hours)
        if config.budget:
            yield _budget(seen, config.budget.runs, config.budget.days)
        if seen.live_since is None:
            yield Finding(Rule.FIRST, True, None, None, "no model is live yet")
            return
        if config.cron:
            yield _schedule(seen, config.cron, ZoneInfo(config.timezone), seen.live_since)
        if config.every_span:
            words = "a new span has come" if seen.is_new else "the span is no new one"
            yield Finding(Rule.EVERY_SPAN, seen.is_new, None, None, words)
        if config.drift.enabled:
            yield _drift(seen, config.drift)
        for metric, rule in config.performance.rules():
            yield from _performance(seen, metric, rule, config.confidence)
        if config.max_age_days:
            days = (seen.now - seen.live_since) / timedelta(days=1)
            bound = config.max_age_days
            words = f"the live model is {days:.1f} days old, of {bound:g} at most"
            yield Finding(Rule.AGE, days >= bound, days, bound, words)
        if config.max_age_spans:
            spans, most = seen.unlearned, config.max_age_spans
            words = f"{_many(spans, 'span has', 'spans have')} come since the last training"
            yield Finding(Rule.AGE, spans >= most, spans, most, f"{words} (limit {most})")


def drifted_columns(rule: DriftRule, drifted: Drifted) -> tuple[Moved, ...]:
    """The columns that moved by more than their thresholds, those that moved most first."""

    def bound(moved: Moved) -> float:
        default = rule.max_js_divergence if moved.is_numeric else rule.max_l_infinity
        return rule.thresholds.get(moved.column, default)

    found = [moved for moved in drifted.columns if moved.distance > bound(moved)]
    return tuple(sorted(found, key=lambda moved: -moved.distance))


def _nothing_new(seen: Observation) -> Finding:
    words = f"{'no' if seen.is_new else 'a'} run has learned from this span already, as it is"
    return Finding(Rule.NOTHING_NEW, not seen.is_new, None, None, words)


def _min_rows(seen: Observation, least: int) -> Finding:
    words = f"the span has {seen.rows:,} rows, of {least:,} at least"
    return Finding(Rule.MIN_ROWS, seen.rows < least, seen.rows, least, words)


def _quiet(seen: Observation, hours: float) -> Finding:
    if not seen.runs:
        return Finding(Rule.QUIET, False, None, hours, "no run was started yet")
    since = (seen.now - max(seen.runs)) / timedelta(hours=1)
    words = f"the last run was started {since:.1f} hours ago (quiet for {hours:g})"
    return Finding(Rule.QUIET, since < hours, since, hours, words)


def _budget(seen: Observation, most: int, days: float) -> Finding:
    begin = seen.now - timedelta(days=days)
    runs = sum(started > begin for started in seen.runs)
    words = f"{_many(runs, 'run was', 'runs were')} started in the last {days:g} days, of {most}"
    return Finding(Rule.BUDGET, runs >= most, runs, most, words)


def _schedule(seen: Observation, cron: str, zone: ZoneInfo, live_since: datetime) -> Finding:
    from cronsim import CronSim

    since = max([live_since, *seen.runs]).astimezone(zone)
    due = next(CronSim(cron, since))
    words = f"the schedule {cron!r} is due at {due:%Y-%m-%d %H:%M %Z}"
    return Finding(Rule.SCHEDULE, due <= seen.now, None, None, words)


def _drift(seen: Observation, rule: DriftRule) -> Finding:
    last = sorted(seen.drift, key=lambda one: one.span)[-rule.of :]
    moved = {one.span: drifted_columns(rule, one) for one in last}
    drifted = [span for span, columns in moved.items() if len(columns) >= rule.columns]
    newest = moved.get(seen.span, ())
    farthest = ", ".join(f"{column.column} {column.distance:.2f}" for column in newest[:3])
    words = (
        f"{_many(len(drifted), 'span', 'spans')} of the last {rule.of} drifted (limit "
        f"{rule.spans}): {_many(len(newest), 'column', 'columns')} of span {seen.span} moved"
        f"{f', {farthest}' if farthest else ''}"
    )
    return Finding(Rule.DRIFT, len(drifted) >= rule.spans, len(drifted), rule.spans, words)


def _performance(
    seen: Observation, metric: Metric, rule: PerformanceRule, confidence: float
) -> Iterator[Finding]:
    score = (seen.scores or {}).get(metric)
    if score is None:
        because = f", because {seen.unscored}" if seen.unscored else ""
        words = f"the live model's {metric} is not known on this span{because}"
        yield Finding(Rule.PERFORMANCE, False, None, None, words)
        return
    samples = _array(score.samples or (score.value,))
    bounds = ((rule.min, samples < _or_nan(rule.min)), (rule.max, samples > _or_nan(rule.max)))
    for bound, broken in bounds:
        if bound is not None:
            than = "below" if bound is rule.min else "above"
            which = f"{than} {metric.bound_words(bound)}"
            yield _judged(metric, score.value, bound, which, broken, confidence)
    if rule.max_fall is None:
        return
    if score.before is None:
        words = f"what the live model's {metric} was when it was pushed is not known"
        yield Finding(Rule.PERFORMANCE, False, score.value, rule.max_fall, words)
        return
    before = _array(score.before_samples or (score.before,))
    # In reverse, as both bootstraps draw the same weights: so the draws are independent.
    falls = metric.goodness(np.resize(before[::-1], samples.shape)) - metric.goodness(samples)
    words = (
        f"worse than the {metric.words(score.before)} at its push by more than "
        f"{metric.setting_words(rule.max_fall)}"
    )
    broken = falls > metric.allowance(rule.max_fall, score.before)
    yield _judged(metric, score.value, rule.max_fall, words, broken, confidence)


def _judged(
    metric: Metric,
    value: float,
    bound: float,
    words: str,
    broken: NDArray[np.bool_],
    confidence: float,
) -> Finding:
    share = float(np.mean(broken))
    words = (
        f"the live model's {metric} of {metric.words(value)} is {words} in {share:.1%} of samples "
        f"(limit {confidence:.0%})"
    )
    return Finding(Rule.PERFORMANCE, share >= confidence, value, bound, words)


def _array(values: tuple[float, ...]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)


def _or_nan(bound: float | None) -> float:
    """NaN is neither above nor below anything."""
    return np.nan if bound is None else bound


def _many(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
