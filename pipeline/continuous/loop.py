"""The loop: looks for spans, decides about each of them once, and carries out what was decided.

Everything that it must remember is in the store: whoever goes on after a crash reads there which
deliveries were decided about, and which run was begun and not ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pipeline.config import PipelineConfig
from pipeline.continuous import trial
from pipeline.continuous.challengers import Challengers
from pipeline.continuous.lease import Lease, LeaseLost
from pipeline.continuous.observe import Seen, observed_json
from pipeline.continuous.policy import Policy
from pipeline.continuous.records import (
    Records,
    kind,
    newest_of,
    newest_with,
    no_run,
    waits,
)
from pipeline.continuous.runs import AtWorkElsewhere, RefusedSpan, RunFailed, Runner
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
    Postponed,
    Record,
)

_RECHECK = timedelta(days=1)
"""How long a span may wait before it is asked anew whether time alone has made a reason."""
_LONGEST_BACKOFF = timedelta(hours=1)
_NO_SPAN = -1
"""Stands among the spans to be tried again for the first challenger, which has to go live."""

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
    arriving: list[Arrival] = field(default_factory=list, init=False)
    """What the last pass saw that is not whole yet."""
    _waits: set[int] = field(default_factory=set)
    """The decisions of which was told that another runner has their run."""
    _checked: datetime | None = None
    _settled: bool = True

    def __post_init__(self) -> None:
        self._records = Records(self.config)

    def step(self) -> bool:
        """One pass: ends what was begun, then decides about each new delivery, in order.

        Returns:
          Whether nothing is left to come back to soon: no span that is still arriving, and nothing
          that failed and will be tried again.

        Raises:
          LeaseLost: another process is at it.
          UserError: the store or the data cannot be read.
        """
        self.arriving, self._settled = [], True
        self._records.forget()
        if not self._finish():
            return False  # One at a time: what was begun comes first.
        for arrival in self.watch.look():
            before = newest_of(self._records.about_spans).get(arrival.span)
            if before and before.listing == arrival.digest:
                continue  # This delivery was decided about.
            if not arrival.complete:
                self.arriving.append(arrival)
                self._settled = False
                continue
            content = self.watch.content(arrival)
            if before and before.content == content:
                continue  # The same again is the same.
            if not self._may_try(arrival.span):
                continue
            self._decide(arrival, content)
            if not self._finish():
                return False
        self._check_waiting()
        return self._finish() and self._settled

    def _finish(self) -> bool:
        """Goes on with what a decision has begun; whether nothing is left."""
        left = [one for one in self._records.every if one.state == RUNNING]
        return all(self._carry_out(one) for one in reversed(left)) and self._crown()

    def _carry_out(self, decision: Record) -> bool:
        if decision.next_try and decision.next_try > self.now():
            return False
        return self._train(decision) if decision.verdict == RETRAIN else self._settle(decision)

    def _train(self, decision: Record) -> bool:
        span = newest_with(decision.span, self._records.about_spans)

        def begun(run_id: str) -> None:
            with self._records.writing() as store:
                decisions.started(store, decision.id, run_id)

        self.lease.check()
        try:
            done = self.runner.train(decision.id, span, decision.reason, begun)
        except RunFailed as failed:
            return self._failed(decision, str(failed))
        except AtWorkElsewhere as elsewhere:
            if decision.id not in self._waits:
                self._waits.add(decision.id)
                self._say("waits", decision, failure=str(elsewhere))
            return False
        with self._records.writing() as store:
            decisions.ended(store, decision.id, COMPLETE)
        self._say("retrained", decision, run_id=done.run_id, outcome=done.words)
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
        with self._records.writing() as store:
            decisions.ended(store, decision.id, COMPLETE)
        self._say(
            "promoted" if decision.verdict == PROMOTE else "dropped", decision, outcome=outcome
        )
        return True

    def _crown(self) -> bool:
        """Has a challenger go live that there is nothing to compare with; whether that is over."""
        newest = next(iter(self._records.every), None)
        if newest and (newest.verdict, newest.state) == (PROMOTE, FAILED):
            return True  # It was given up; the next span asks again.
        if not self._may_try(_NO_SPAN):
            return True
        try:
            span = self.challengers.unopposed()
            seen = self.observe(span) if span is not None else None
        except UserError as failed:
            self._put_off(_NO_SPAN, failed)
            return True
        self._came_back(_NO_SPAN)
        if seen is None or span is None or seen.observation.challenger is None:
            return True
        version = seen.observation.challenger.version
        reason = f"Span {span}: challenger version {version} goes live, because no model is."
        return self._carry_out(self._keep(span, ("", ""), PROMOTE, reason, seen=seen))

    def _failed(self, decision: Record, failure: str) -> bool:
        """Keeps that a try failed; whether it was the last one."""
        tries = decision.tries + 1
        is_last = tries >= self.config.continuous.tries
        again = self.now() + self._backoff(tries)
        with self._records.writing() as store:
            decisions.failed_once(store, decision.id, tries=tries, failure=failure, next_try=again)
            if is_last:
                decisions.ended(store, decision.id, FAILED, failure=failure)
        then = "given up" if is_last else f"tried again from {again:%Y-%m-%d %H:%M:%S} UTC on"
        self._say("failed", decision, failure=failure, outcome=f"try {tries}: {then}")
        return is_last

    def _backoff(self, tries: int) -> timedelta:
        seconds = self.config.continuous.backoff_seconds * 2.0 ** min(tries - 1, 30)
        return min(timedelta(seconds=min(seconds, 1e6)), _LONGEST_BACKOFF)

    def _may_try(self, span: int) -> bool:
        """Whether no earlier failure keeps a span waiting still."""
        until = self._records.postponed.get(span)
        if until is None or until.next_try <= self.now():
            return True
        self._settled = False
        return False

    def _put_off(self, span: int, failed: UserError) -> None:
        """Keeps that a span could not be looked at, and when that is tried again.

        Raises:
          LeaseLost: that was why, which is no failure.
        """
        if isinstance(failed, LeaseLost):
            raise failed
        before = self._records.postponed.get(span)
        tries = before.tries + 1 if before else 1
        again = self.now() + self._backoff(tries)
        with self._records.writing() as store:
            decisions.postpone(store, self.config.name, span, Postponed(tries, again))
        self._settled = False
        outcome = f"try {tries}: tried again from {again:%Y-%m-%d %H:%M:%S} UTC on"
        about = {} if span == _NO_SPAN else {"span": str(span)}
        self.tell("failed", {**about, "failure": str(failed), "outcome": outcome})

    def _came_back(self, span: int) -> None:
        """Keeps that a span could be looked at, where it could not before."""
        if span in self._records.postponed:
            with self._records.writing() as store:
                decisions.postpone(store, self.config.name, span, None)

    def _decide(self, arrival: Arrival, content: str) -> None:
        """Decides about a delivery and keeps it, or that it has to be tried again."""
        span = arrival.span
        known = self._records.about_spans
        unusual = kind(span, known)
        self.lease.check()
        try:
            self.runner.ingest(span)
            seen = self._tried(self.observe(span), (content, arrival.digest))
        except RefusedSpan as refused:
            reason = f"Span {span}: refused, because {refused}."
            made = self._keep(span, (content, arrival.digest), REFUSED, reason)
            self._say("refused", made)
            return
        except UserError as failed:
            self._put_off(span, failed)
            return
        if seen is None:
            return  # What is at work on its challenger comes first.
        if seen.observation.unscored:
            outcome = "decided without the live model's scores"
            failure = seen.observation.unscored
            self.tell("failed", {"span": str(span), "failure": failure, "outcome": outcome})
        decision = Policy(self.config.continuous).decide(seen.observation)
        verdict, reason = (RETRAIN if decision.retrain else WAIT), decision.reason
        newest = newest_with(span, known)
        if refusal := no_run(self.config, seen.observation, newest):
            verdict, reason = WAIT, refusal
        made = self._keep(
            span,
            (content, arrival.digest),
            verdict,
            f"{unusual}{reason}",
            decision.numbers(),
            seen,
        )
        self._say("decided", made)

    def _tried(self, seen: Seen, delivery: tuple[str, str]) -> Seen | None:
        """Compares a challenger with the live model; what is seen then, None if it has to wait."""
        found = trial.outcome(seen.observation, self.config.select, self.config.evaluate)
        span, (content, _) = seen.observation.span, delivery
        given_up = any(
            (one.span, one.content, one.state) == (span, content, FAILED)
            for one in self._records.every
            if one.verdict in (PROMOTE, KEEP)
        )
        if found is None or given_up:  # The next span asks again.
            return seen
        verdict = PROMOTE if found.promote else KEEP
        made = self._keep(span, delivery, verdict, found.reason, seen=seen)
        if not self._carry_out(made):
            return None
        return self.observe(span) if found.promote else seen

    def _check_waiting(self) -> None:
        """Asks anew about the newest span, as a schedule or an age may ask for a run by now."""
        known = self._records.about_spans
        newest = next((one for one in known if one.verdict != REFUSED), None)
        newest = newest and newest_of(known)[newest_with(newest.span, known)]
        if newest is None or not waits(newest):
            return
        last = max(newest.when, self._checked or newest.when)
        policy = Policy(self.config.continuous)
        if self.now() - last < _RECHECK and not policy.is_due(last, self.now()):
            return
        if not self._may_try(newest.span):
            return
        try:
            seen = self.observe(newest.span)
        except UserError as failed:
            self._put_off(newest.span, failed)
            return
        self._came_back(newest.span)
        self._checked = self.now()
        decision = policy.decide(seen.observation)
        refused = no_run(self.config, seen.observation, newest.span)
        if decision.retrain and not refused:  # That it waits on is known.
            delivery, numbers = (newest.content, newest.listing), decision.numbers()
            made = self._keep(newest.span, delivery, RETRAIN, decision.reason, numbers, seen)
            self._say("decided", made)

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
        with self._records.writing() as store:
            made = decisions.write(store, facts, seen.inputs if seen else {})
            if span in decisions.postponed(store, self.config.name):
                decisions.postpone(store, self.config.name, span, None)
        return next(one for one in self._records.every if one.id == made)

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
