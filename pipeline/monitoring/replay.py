"""What another policy would have said of what the store has kept, and what this one says now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Any

from pipeline.continuous.policy import (
    Decision,
    Drifted,
    Finding,
    Moved,
    Observation,
    Policy,
    Rule,
    Score,
)
from pipeline.continuous_config import ContinuousConfig
from pipeline.evaluate_config import Metric
from pipeline.lineage.decision import RetrainDecision
from pipeline.lineage.observed import Estimate, Observed
from pipeline.monitoring.history import History
from pipeline.store.decisions import KEEP, PROMOTE, REFUSED

_SAMPLES, _STRIDE = 101, 38
"""How many samples stand for an interval; the stride mixes them, as two sets are paired."""
_OF_TIME = (Rule.FIRST, Rule.SCHEDULE, Rule.AGE, Rule.QUIET, Rule.BUDGET)
"""The rules that need no new span to be asked."""


@dataclass(frozen=True)
class Replayed:
    """A decision, and what another policy says of the same observation."""

    recorded: RetrainDecision
    decision: Decision

    def facts(self) -> dict[str, Any]:
        """What a table says of it."""
        return {
            "span": self.recorded.span,
            "when": self.recorded.when,
            "decided": self.recorded.verdict,
            "would retrain": self.decision.retrain,
            "reason": self.decision.reason,
        }


def replay(history: History, policy: ContinuousConfig) -> list[Replayed]:
    """What a policy says of each delivery that was looked at, the oldest first.

    Quiet periods and budgets count the runs that this policy asks for. The live model of each
    observation stays the one of its time: had the policy trained another, its scores and the drift
    since would differ, which nothing here can tell. Samples are drawn anew from the intervals that
    were kept, as from a normal distribution with another spread on each side.
    """
    runs: list[datetime] = []
    found: list[Replayed] = []
    for one in reversed(history.decisions):
        if one.observation is None or one.verdict in (PROMOTE, KEEP):
            continue
        decision = Policy(policy).decide(_observation(one.observation, one.when, tuple(runs)))
        runs += [one.when] if decision.retrain else []
        found.append(Replayed(one, decision))
    return found


def coming(history: History, now: datetime) -> list[Finding]:
    """What the rules of time, quiet period, budget and age find now, without any new span."""
    live = history.live
    learned = live.data_spans() if live else ()
    spans = [line.span for line in history.lines if line.newest.verdict != REFUSED]
    since = [span for span in spans if span > max(learned, default=-1)]
    tried = max(filter(history.has_trained, since), default=-1)
    known = Observation(
        now=now,
        span=max(spans, default=0),
        rows=0,
        is_new=True,
        live_since=live.created if live else None,
        learned=learned,
        unlearned=sum(span > tried for span in since),
        runs=tuple(history.runs),
    )
    findings = Policy(history.config.continuous).decide(known).findings
    return [one for one in findings if one.rule in _OF_TIME]


def _observation(seen: Observed, when: datetime, runs: tuple[datetime, ...]) -> Observation:
    scores = {Metric(name): _score(score) for name, score in (seen.scores or {}).items()}
    return Observation(
        now=when,
        span=seen.span,
        rows=seen.rows,
        is_new=seen.is_new,
        live_since=seen.live_since,
        live_version=seen.live_version,
        learned=seen.learned,
        unlearned=seen.unlearned,
        drift=tuple(
            Drifted(d.span, tuple(Moved(c.column, c.is_numeric, c.distance) for c in d.columns))
            for d in seen.drift
        ),
        scores=scores or None,
        runs=runs,
    )


def _score(kept: Estimate) -> Score:
    samples = tuple(_drawn(kept.value, kept.low, kept.high))
    if kept.before is None or kept.before_low is None or kept.before_high is None:
        return Score(kept.value, samples, kept.before)
    before = tuple(_drawn(kept.before, kept.before_low, kept.before_high))
    mixed = tuple(before[place * _STRIDE % _SAMPLES] for place in range(_SAMPLES))
    return Score(kept.value, samples, kept.before, mixed)


def _drawn(value: float, low: float, high: float) -> Iterator[float]:
    """Quantiles of a normal distribution whose 5th, 50th and 95th are `low`, `value`, `high`."""
    normal = NormalDist()
    for place in range(_SAMPLES):
        z = normal.inv_cdf((place + 0.5) / _SAMPLES) / normal.inv_cdf(0.95)
        yield value + z * (high - value if z > 0 else value - low)
