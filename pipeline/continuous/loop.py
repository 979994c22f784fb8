"""The loop: looks for spans, decides about each of them once, and carries out what was decided.

Everything that it must remember is in the store: whoever goes on after a crash reads there which
deliveries were decided about, and which run was begun and not ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pipeline.config import PipelineConfig
from pipeline.continuous import trial
from pipeline.continuous.challengers import Challengers
from pipeline.continuous.lease import Lease, LeaseLost
from pipeline.continuous.observe import Seen, observed_json
from pipeline.continuous.policy import Policy
from pipeline.continuous.runs import RefusedSpan, RunFailed, Runner
from pipeline.continuous.spans import Arrival, Watch
from pipeline.errors import UserError
from pipeline.store import decisions
from pipeline.store.decisions import (
    COMPLETE,
    FAILED,
    KEEP,
    PROMOTE,
    REFUSED,
    RETRAIN,
    RUNNING,
    WAIT,
    Record,
)

_RECHECK = timedelta(days=1)
"""How long a span may wait before it is asked anew whether time alone has made a reason."""
_LONGEST_BACKOFF = timedelta(hours=1)

Observe = Callable[[int], Seen]
"""Looks at a span that is in the store."""
Tell = Callable[[str, dict[str, str]], None]
"""Told what happened: what kind of thing it is, and facts about it."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Loop:
    """What one pipeline's watcher does, a pass at a time."""

    config: PipelineConfig
    runner: Runner
    observe: Observe
    tell: Tell
    lease: Lease
    watch: Watch
    challengers: Challengers
    now: Callable[[], datetime] = _now
    _not_before: dict[int, datetime] = field(default_factory=dict)
    """When a span may be tried again that could not be ingested."""
    _failures: dict[int, int] = field(default_factory=dict)
    _checked: datetime | None = None

    def step(self) -> bool:
        """One pass: ends what was begun, then decides about each new delivery, in order.

        Returns:
          Whether nothing is left to come back to soon: no span that is still arriving, and nothing
          that failed and will be tried again.

        Raises:
          LeaseLost: another process is at it.
          UserError: the store or the data cannot be read.
        """
        if not self._finish():
            return False  # One at a time: what was begun comes first.
        settled = True
        for arrival in self.watch.look():
            if not arrival.complete:
                settled = False
                continue
            before = next(iter(self._known(arrival.span)), None)
            if before and before.listing == arrival.digest:
                continue  # This delivery was decided about.
            content = self.watch.content(arrival)
            if before and before.content == content:
                continue  # The same again is the same.
            if self._not_before.get(arrival.span, self.now()) > self.now():
                settled = False
                continue
            settled = self._decide(arrival, content) and settled
            if not self._finish():
                return False
        self._check_waiting()
        return self._finish() and settled

    def _finish(self) -> bool:
        """Goes on with what a decision has begun; whether nothing is left."""
        left = [one for one in self._every() if one.state == RUNNING]
        return all(self._carry_out(one) for one in reversed(left)) and self._crown()

    def _carry_out(self, decision: Record) -> bool:
        if decision.next_try and decision.next_try > self.now():
            return False
        return self._train(decision) if decision.verdict == RETRAIN else self._settle(decision)

    def _train(self, decision: Record) -> bool:
        span = self._newest_with(decision.span)

        def begun(run_id: str) -> None:
            with decisions.alone(self.config) as store:
                decisions.started(store, decision.id, run_id)

        self.lease.check()
        try:
            done = self.runner.train(decision.id, span, decision.reason, begun)
        except RunFailed as failed:
            return self._failed(decision, str(failed))
        with decisions.alone(self.config) as store:
            decisions.ended(store, decision.id, COMPLETE)
        outcome = f"version {done.pushed} is live" if done.pushed else "the live model stays"
        self._say("retrained", decision, run_id=done.run_id, outcome=outcome)
        return True

    def _settle(self, decision: Record) -> bool:
        """Has the challenger go live, or drops it, as was decided; whether that is over."""
        version = json.loads(decision.observed)["challenger"]["version"]
        self.lease.check()
        try:
            if decision.verdict == PROMOTE:
                outcome = f"version {self.challengers.promote(version)} is live"
            else:
                self.challengers.drop(version)
                outcome = "the live model stays"
        except UserError as failed:
            return self._failed(decision, str(failed))
        with decisions.alone(self.config) as store:
            decisions.ended(store, decision.id, COMPLETE)
        self._say(
            "promoted" if decision.verdict == PROMOTE else "dropped", decision, outcome=outcome
        )
        return True

    def _crown(self) -> bool:
        """Has a challenger go live that there is nothing to compare with; whether that is over."""
        newest = next(iter(self._every()), None)
        if newest and (newest.verdict, newest.state) == (PROMOTE, FAILED):
            return True  # It was given up; the next span asks again.
        span = self.challengers.unopposed()
        if span is None:
            return True
        seen = self.observe(span)
        assert seen.observation.challenger is not None
        version = seen.observation.challenger.version
        reason = f"Span {span}: challenger version {version} goes live, because no model is."
        return self._carry_out(self._keep(span, ("", ""), PROMOTE, reason, seen=seen))

    def _failed(self, decision: Record, failure: str) -> bool:
        """Keeps that a try failed; whether it was the last one."""
        tries = decision.tries + 1
        is_last = tries >= self.config.continuous.tries
        again = self.now() + self._backoff(tries)
        with decisions.alone(self.config) as store:
            decisions.failed_once(store, decision.id, tries=tries, failure=failure, next_try=again)
            if is_last:
                decisions.ended(store, decision.id, FAILED, failure=failure)
        then = "given up" if is_last else f"tried again from {again:%Y-%m-%d %H:%M:%S} UTC on"
        self._say("failed", decision, failure=failure, outcome=f"try {tries}: {then}")
        return is_last

    def _backoff(self, tries: int) -> timedelta:
        seconds = self.config.continuous.backoff_seconds * 2.0 ** min(tries - 1, 30)
        return min(timedelta(seconds=min(seconds, 1e6)), _LONGEST_BACKOFF)

    def _decide(self, arrival: Arrival, content: str) -> bool:
        """Decides about a delivery and keeps it; False if it has to be tried again."""
        span = arrival.span
        known = self._all()
        kind = _kind(span, known)
        self.lease.check()
        try:
            self.runner.ingest(span)
            seen = self._tried(self.observe(span), (content, arrival.digest))
        except RefusedSpan as refused:
            reason = f"Span {span}: refused, because {refused}."
            made = self._keep(span, (content, arrival.digest), REFUSED, reason)
            self._say("refused", made)
            return True
        except RunFailed as failed:
            self._failures[span] = self._failures.get(span, 0) + 1
            again = self.now() + self._backoff(self._failures[span])
            self._not_before[span] = again
            facts = {"span": str(span), "failure": str(failed)}
            self.tell("failed", facts | {"outcome": f"tried again from {again:%H:%M:%S} UTC on"})
            return False
        if seen is None:
            return False
        self._failures.pop(span, None)
        decision = Policy(self.config.continuous).decide(seen.observation)
        verdict, reason = (RETRAIN if decision.retrain else WAIT), decision.reason
        newest = self._newest_with(span)
        first = max(0, newest - self.config.data.window_at(newest) + 1)
        if span < first:
            verdict = WAIT
            reason = (
                f"Span {span}: no run, because it came late: a run learns from spans "
                f"{first} to {newest} (data.window)."
            )
        made = self._keep(
            span,
            (content, arrival.digest),
            verdict,
            f"{kind}{reason}",
            decision.numbers(),
            seen,
        )
        self._say("decided", made)
        return True

    def _tried(self, seen: Seen, delivery: tuple[str, str]) -> Seen | None:
        """Compares a challenger with the live model; what is seen then, None if it has to wait."""
        found = trial.outcome(seen.observation, self.config.select, self.config.evaluate)
        if found is None:
            return seen
        verdict = PROMOTE if found.promote else KEEP
        made = self._keep(seen.observation.span, delivery, verdict, found.reason, seen=seen)
        if not self._carry_out(made):
            return None
        return self.observe(seen.observation.span) if found.promote else seen

    def _check_waiting(self) -> None:
        """Asks anew about the newest span, as a schedule or an age may ask for a run by now."""
        newest = next((one for one in self._all() if one.verdict != REFUSED), None)
        newest = newest and self._known(self._newest_with(newest.span))[0]
        if newest is None or newest.verdict != WAIT:
            return
        last = max(newest.when, self._checked or newest.when)
        policy = Policy(self.config.continuous)
        if self.now() - last < _RECHECK and not policy.is_due(last, self.now()):
            return
        self._checked = self.now()
        seen = self.observe(newest.span)
        decision = policy.decide(seen.observation)
        if decision.retrain:  # That it waits on is known.
            delivery, numbers = (newest.content, newest.listing), decision.numbers()
            made = self._keep(newest.span, delivery, RETRAIN, decision.reason, numbers, seen)
            self._say("decided", made)

    def _newest_with(self, span: int) -> int:
        """The newest span that a run for `span` learns from: one that was not refused.

        A span that came late, or again, does not take the run back in time.
        """
        newest_of = _newest_of(self._all())
        return max([span, *(n for n, one in newest_of.items() if one.verdict != REFUSED)])

    def _keep(
        self,
        span: int,
        delivery: tuple[str, str],
        verdict: str,
        reason: str,
        numbers: str = "[]",
        seen: Seen | None = None,
    ) -> Record:
        facts = decisions.Facts(
            pipeline=self.config.name,
            span=span,
            content=delivery[0],
            listing=delivery[1],
            verdict=verdict,
            reason=reason,
            numbers=numbers,
            policy=self.config.continuous.model_dump_json(),
            observed=observed_json(seen, self.config.continuous.drift) if seen else "",
        )
        self.lease.check()
        with decisions.alone(self.config) as store:
            made = decisions.write(store, facts, seen.inputs if seen else {})
        return next(one for one in self._every() if one.id == made)

    def _every(self) -> tuple[Record, ...]:
        with decisions.alone(self.config) as store:
            return decisions.read(store, self.config.name)

    def _all(self) -> list[Record]:
        """The decisions about deliveries: not those about challengers."""
        return [one for one in self._every() if one.verdict not in (PROMOTE, KEEP)]

    def _known(self, span: int) -> list[Record]:
        return [one for one in self._all() if one.span == span]

    def _say(self, event: str, decision: Record, **facts: str) -> None:
        about = {
            "decision": str(decision.id),
            "span": str(decision.span),
            "verdict": decision.verdict,
            "reason": decision.reason,
        }
        self.tell(event, about | facts)

    def follow(self, every: float, sleep: Callable[[float], None] = time.sleep) -> None:
        """Passes on and on, until it is interrupted; waits for a store that is away for a while.

        Raises:
          LeaseLost: another process is at it.
        """
        while True:
            try:
                self.step()
            except LeaseLost:
                raise
            except UserError as error:
                self.tell("failed", {"failure": str(error), "outcome": "the next pass tries again"})
            sleep(every)


def _newest_of(records: Iterable[Record]) -> dict[int, Record]:
    """The newest decision about each span, of records of which the newest come first."""
    found: dict[int, Record] = {}
    for one in records:
        found.setdefault(one.span, one)
    return found


def _kind(span: int, known: Iterable[Record]) -> str:
    """What is unusual about a delivery, in words; empty where nothing is."""
    spans = {one.span for one in known}
    if span in spans:
        return "Delivered again, with other content. "
    return "Came late. " if spans and span < max(spans) else ""
