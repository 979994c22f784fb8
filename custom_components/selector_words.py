"""What is said of a selection: the sentences for a person, with the numbers that it was made by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from custom_components.evaluator.verdict import LIVE, Verdict
from custom_components.selection import Interval
from pipeline.evaluate_config import SelectConfig

_OBJECTIONS = 3
"""So many objections to a candidate are said, lest dozens of slices hide the rest."""


class Words:
    """Puts comparisons of models into words."""

    def __init__(self, verdict: Verdict, select: SelectConfig, replicates: int) -> None:
        """Takes what the sentences are about, and how many samples were compared."""
        self._verdict = verdict
        self._select = select
        self._replicates = replicates

    @property
    def live(self) -> str | None:
        """What the live model is made with; None if no model is live."""
        return self._verdict.live and (self._verdict.live_framework or self._verdict.live)

    def decision(
        self, winner: str | None, eligible: Sequence[str], reasons: Mapping[str, str]
    ) -> str:
        """The whole decision in a sentence; `eligible` has the best first."""
        metric = self._select.metric
        if winner:
            return f"{winner}: {metric} {self._value(winner)}, {reasons[winner]}"
        stays = f"the live {self.live} stays" if self.live else "no model goes live"
        if eligible:
            best = f"{eligible[0]} ({metric} {self._value(eligible[0])})"
            return f"{stays}: the best candidate, {best}, is {reasons[eligible[0]]}"
        said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        return f"{stays}: no candidate may go live ({said})"

    def against(self, objections: Sequence[str]) -> str:
        """Why a candidate may not go live: the first objections, and how many more there are."""
        more = len(objections) - _OBJECTIONS
        return "; ".join([*objections[:_OBJECTIONS], *([f"and {more} more"] if more > 0 else [])])

    def ahead(self, gain: Interval | None, *, of: int) -> str:
        """Why a candidate won; `gain` over the live model, `of` how many could have won."""
        if gain is not None:
            return self._than_live(gain)
        place = f"the best of {of} that may go live" if of > 1 else "the only one that may go live"
        if self.live:
            return f"{place}; {self._select.metric} is undefined for the live {self.live}"
        return f"{place}; {self._verdict.not_compared or 'no other model is live'}"

    def not_ahead(self, gain: Interval | None, *, same: bool) -> str:
        """Why the live model stays where a candidate is not better enough."""
        if gain is None or same:
            return f"the same as the live {self.live} in {self._select.metric}: a tie"
        reason = self._than_live(gain)
        if self._replicates and gain.certainty < self._select.confidence:
            reason += f"; {_percent(self._select.confidence)} are asked for (select.confidence)"
        elif self._select.margin > 0:
            reason += f"; {self._margin(1)} is asked for on all rows (select.margin)"
        return f"{reason}: a tie" if gain.low <= 0 <= gain.high else reason

    def beaten(self, best: str, gain: Interval | None, *, with_it: str | None) -> str:
        """Why a candidate lost to the best, maybe with a better one that lost to it surely."""
        surely = gain is not None and gain.certainty >= self._select.confidence
        more = "" if surely or not with_it else f", and beats {with_it}, which is better than this"
        return f"{best} is {self._gained(gain)}{more}"

    def tied(self, best: str, gain: Interval | None, *, cheaper: str | None) -> str:
        """Why one that is as good did not win: another is cheaper, or it is no cheaper itself."""
        why = f"{cheaper} is cheaper" if cheaper else "this one is no cheaper"
        return f"{best} is {self._gained(gain)}: a tie, and {why}"

    def _value(self, name: str) -> str:
        value = self._verdict.models[name][self._select.metric]
        return "undefined" if value is None else self._number(value)

    def _number(self, value: float) -> str:
        return self._select.metric.words(value)

    def _margin(self, sign: int) -> str:
        return self._select.metric.setting_words(sign * self._select.margin)

    def _than_live(self, gain: Interval) -> str:
        margin, is_better = self._select.margin, gain.value >= 0
        asked = "" if is_better else "better "
        if margin > 0:
            asked += f"by {self._margin(1)} or more "
        elif margin < 0:
            asked = f"no more than {self._margin(-1)} worse "
        return (
            f"{'better' if is_better else 'worse'} than the live {self.live} "
            f"({self._value(LIVE)}) by {self._number(abs(gain.value))}"
            f"{self._evidence(gain, asked)}"
        )

    def _gained(self, gain: Interval | None) -> str:
        if gain is None or not gain.value:
            return "as good on all rows"
        return f"better by {self._number(gain.value)}{self._evidence(gain)}"

    def _evidence(self, gain: Interval, asked: str = "") -> str:
        if not self._replicates:
            return " on all rows, which are too few groups to draw samples from"
        of = "rows" if self._verdict.groups == "rows" else f"rows by {self._verdict.groups}"
        return (
            f" ({_percent(gain.confidence)} interval {self._number(gain.low)} to "
            f"{self._number(gain.high)}), "
            f"{asked}in {_percent(gain.certainty)} of {self._replicates:,} samples of {of}"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
