"""The rules by which one of the evaluated models is chosen to go live; neither TFX nor TensorFlow.

What is better is told from the bootstrap's samples of the eval rows, drawn once for all models: in
what share of them one model is better than the other, on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from custom_components.evaluator.verdict import ENSEMBLE, LIVE, Slice, Verdict
from custom_components.selection import Candidate, Interval, Selection
from custom_components.selector_words import Words
from pipeline.evaluate_config import EvaluateConfig, Metric, SelectConfig

DUST = 1e-9
"""Differences below are rounding."""
MEGABYTE = 1e6
CLEARLY = 1.5
"""By what factor a model must cost more than another to be dearer: less is measured by chance."""

Samples = Mapping[str, NDArray[np.float64]]
"""A metric in each of the bootstrap's samples, by model; place i is the same sample in all."""

_Number = TypeVar("_Number", float, NDArray[np.float64])


def select(
    verdict: Verdict, samples: Samples, select: SelectConfig, evaluate: EvaluateConfig
) -> Selection:
    """Chooses the model that goes live, or that the live one stays.

    1. A candidate may go live if the evaluator blessed it, it keeps the limits of latency and size,
       and no guarded slice is too much worse than with the live model.
    2. It must be better than the live model by the margin, in enough of the samples; else the live
       model stays.
    3. Of those that are, the best wins; but if it is not better in enough of the samples than the
       next ones, and one of these is cheaper, the cheaper one does. Cheap is what answers one row
       clearly more quickly, then what is clearly smaller; an ensemble is the dearest, as it takes
       all that its members take.

    Args:
        verdict: What the evaluator found.
        samples: `select.metric` of each candidate and of `LIVE`, [samples]; empty if there were too
            few groups of rows to draw any: then the metric over all rows decides.
        select: What is asked for.
        evaluate: Its guards say which slices are looked at.

    Returns:
        The decision, with a reason for every candidate.
    """
    contest = Contest(verdict, samples, select)
    objections = {name: list(_objections(contest, name, evaluate)) for name in verdict.candidates}
    eligible = contest.ranked(name for name in verdict.candidates if not objections[name])
    ahead = [name for name in eligible if contest.beats_live(name)]
    winner = _cheapest_of_the_best(contest, ahead) if ahead else None

    words = Words(verdict, select, contest.replicates)
    reasons = {name: words.against(said) for name, said in objections.items() if said}
    reasons |= {
        name: words.not_ahead(contest.better_than_live(name), same=contest.same_as_live(name))
        for name in eligible
        if name not in ahead
    }
    reasons |= {name: _place(contest, words, name, ahead, winner) for name in ahead if winner}
    return Selection(
        metric=select.metric,
        margin=select.margin,
        confidence=select.confidence,
        replicates=contest.replicates,
        groups=verdict.groups,
        winner=winner,
        reason=words.decision(winner, eligible, reasons),
        live=words.live,
        live_value=contest.value(LIVE) if verdict.live else None,
        candidates=tuple(
            _candidate(contest, name, eligible=name in eligible, reason=reasons[name])
            for name in contest.ranked(verdict.candidates)
        ),
    )


@dataclass(frozen=True)
class Contest:
    """How the models of an evaluation compare in one metric."""

    verdict: Verdict
    samples: Samples
    select: SelectConfig

    @property
    def replicates(self) -> int:
        """How many samples there are."""
        return max((len(values) for values in self.samples.values()), default=0)

    @property
    def margin(self) -> float:
        """How much better than the live model a candidate is to be, in the metric's unit."""
        live = self.value(LIVE) if self.verdict.live else None
        return self.select.metric.allowance(self.select.margin, live or 0.0)

    def value(self, name: str) -> float | None:
        """The metric of a model over all rows."""
        return self.verdict.models[name][self.select.metric]

    def ranked(self, names: Iterable[str]) -> list[str]:
        """The best first; those whose metric is undefined last."""

        def key(name: str) -> tuple[bool, float, str]:
            value = self.value(name)
            return (value is None, 0 if value is None else -self._goodness(value), name)

        return sorted(names, key=key)

    def better(self, first: str, second: str, margin: float = 0.0) -> Interval | None:
        """How much better the first model is than the second; None if a metric is undefined.

        `Interval.certainty` is the share of the samples in which it is better by the margin.
        """
        left, right = self.value(first), self.value(second)
        if left is None or right is None:
            return None
        gain = self._goodness(left) - self._goodness(right)
        return lead(
            gain, self._gains(first, second), margin=margin, confidence=self.verdict.confidence
        )

    def better_than_live(self, name: str) -> Interval | None:
        """How much better a candidate is than the live model; None without one to compare with."""
        return self.better(name, LIVE, self.margin) if self.verdict.live else None

    def beats_live(self, name: str) -> bool:
        """Whether a candidate is so much better than the live model as is asked for."""
        gain = self.better_than_live(name)
        if gain is None:
            return True
        return is_enough(gain, self.margin, self.select.confidence) and not self.same_as_live(name)

    def same_as_live(self, name: str) -> bool:
        """Whether a candidate does as the live model does, in every sample."""
        gain = self.better_than_live(name)
        return (
            gain is not None
            and abs(gain.value) <= DUST
            and bool(np.all(np.abs(self._gains(name, LIVE)) <= DUST))
        )

    def beats(self, first: str, second: str) -> bool:
        """Whether the first model is better than the second in enough of the samples."""
        gain = self.better(first, second)
        return gain is not None and gain.value > DUST and gain.certainty >= self.select.confidence

    def _gains(self, first: str, second: str) -> NDArray[np.float64]:
        """In each sample in which both metrics are defined."""
        if first not in self.samples or second not in self.samples:
            return np.empty(0)
        gains = self._goodness(self.samples[first]) - self._goodness(self.samples[second])
        return gains[np.isfinite(gains)]

    def _goodness(self, value: _Number) -> _Number:
        return self.select.metric.goodness(value)


def lead(gain: float, gains: NDArray[np.float64], *, margin: float, confidence: float) -> Interval:
    """How much better one model is than another, by its gain on all rows and in each sample.

    Args:
        gain: On all rows, in the metric's unit; above 0 is better.
        gains: In each of the bootstrap's samples [samples]; empty where there are none.
        margin: `Interval.certainty` is the share of the samples in which the gain is so large.
        confidence: Of the interval.
    """
    if not gains.size:
        certainty = float(reaches(gain, margin))
        return Interval(value=gain, low=gain, high=gain, confidence=confidence, certainty=certainty)
    low, high = np.quantile(gains, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(
        value=gain,
        low=low,
        high=high,
        confidence=confidence,
        certainty=float(np.mean(reaches(gains, margin))),
    )


def is_enough(gain: Interval, margin: float, confidence: float) -> bool:
    """Whether a model is better than the live one by the margin, and as surely as is asked for."""
    return gain.certainty >= confidence and bool(reaches(gain.value, margin))


def reaches(gain: float | NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
    """Whether a gain is as large as the margin; with a margin of 0, whether there is a gain."""
    gains = np.asarray(gain)
    return gains > DUST if margin == 0 else gains >= margin - DUST


def _cheapest_of_the_best(contest: Contest, ahead: Sequence[str]) -> str:
    """The cheapest of the best one, which is the first, and of those that are as good."""
    tied = _as_good(contest, ahead)
    tied = [name for name in tied if name != ENSEMBLE] or tied
    for cost in ("latency_ms", "size_bytes"):
        costs = {name: getattr(contest.verdict.costs[name], cost) for name in tied}
        tied = [name for name in tied if costs[name] <= CLEARLY * min(costs.values())]
    return tied[0]


def _as_good(contest: Contest, ahead: Sequence[str]) -> list[str]:
    """The best one and those that it does not beat, down to the first that it does.

    What is worse on all rows than one that is beaten is beaten too, however it varies.
    """
    best, *others = ahead
    return [best, *takewhile(lambda name: not contest.beats(best, name), others)]


def _objections(contest: Contest, name: str, evaluate: EvaluateConfig) -> Iterator[str]:
    """Why a candidate may not go live, each reason a sentence; none if it may."""
    verdict, select = contest.verdict, contest.select
    if not verdict.blessed[name]:
        yield from [check.reason for check in verdict.failures(name)] or ["it is not blessed"]
    if contest.value(name) is None:
        yield f"{select.metric} is undefined"
    cost = verdict.costs[name]
    if select.max_latency_ms is not None and cost.latency_ms > select.max_latency_ms:
        yield (
            f"it takes {cost.latency_ms:.2f} ms for one row, above {select.max_latency_ms:g} "
            "(select.max_latency_ms)"
        )
    size = cost.size_bytes / MEGABYTE
    if select.max_size_mb is not None and size > select.max_size_mb:
        yield f"its folder has {size:.2f} MB, above {select.max_size_mb:g} (select.max_size_mb)"
    if verdict.live and select.max_slice_loss is not None:
        for part in _guarded(verdict, evaluate):
            yield from _loss(part, name, select.metric, select.max_slice_loss)


def _guarded(verdict: Verdict, evaluate: EvaluateConfig) -> list[Slice]:
    """The slices that a guard watches."""
    return [
        part
        for part in verdict.slices
        if any(
            tuple(part.columns) == guard.columns and part.rows >= guard.min_rows
            for guard in evaluate.guards
        )
    ]


def _loss(part: Slice, name: str, metric: Metric, allowed: float) -> Iterator[str]:
    value, live = part.models[name][metric], part.models[LIVE][metric]
    if live is None:
        return
    if value is None:
        yield f"{part.name}: {metric} is undefined, {metric.words(live)} for the live model"
        return
    worse = metric.goodness(live) - metric.goodness(value)
    if worse > metric.allowance(allowed, live) + DUST:
        yield (
            f"{part.name}: {metric} {metric.words(value)} is {metric.words(worse)} worse than the "
            f"live model's {metric.words(live)}, above {metric.setting_words(allowed)} "
            "(select.max_slice_loss)"
        )


def _place(contest: Contest, words: Words, name: str, ahead: Sequence[str], winner: str) -> str:
    """Why a candidate that is better than the live model won, tied or lost."""
    best = ahead[0]
    if name == winner:
        reason = words.ahead(contest.better_than_live(name), of=len(ahead))
        if winner == best:
            return reason
        return f"{reason}; {words.tied(best, contest.better(best, winner), cheaper=winner)}"
    if name == best:
        return words.tied("it", contest.better(best, winner), cheaper=winner)
    gain = contest.better(best, name)
    as_good = _as_good(contest, ahead)
    if name not in as_good:
        between = ahead[len(as_good)]
        return words.beaten(best, gain, with_it=None if name == between else between)
    return words.tied(best, gain, cheaper=None if winner == best else winner)


def _candidate(contest: Contest, name: str, *, eligible: bool, reason: str) -> Candidate:
    cost = contest.verdict.costs[name]
    return Candidate(
        name=name,
        members=contest.verdict.members if name == ENSEMBLE else (),
        value=contest.value(name),
        better_than_live=contest.better_than_live(name),
        latency_ms=cost.latency_ms,
        rows_per_second=cost.rows_per_second,
        size_mb=cost.size_bytes / MEGABYTE,
        eligible=eligible,
        reason=reason,
    )
