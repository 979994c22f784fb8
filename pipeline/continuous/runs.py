"""Runs that decisions start: what the loop asks for, and how this machine does it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TextIO

from pipeline import lineage, runs
from pipeline.config import PROJECT, PipelineConfig
from pipeline.errors import UserError
from pipeline.lineage.run import Run
from pipeline.store import decisions
from pipeline.store.record import SUCCEEDED

_POLL_SECONDS = 1.0
GATE = "DataGate"
"""The node that lets a span pass, or does not."""
_REFUSED = 2
"""The runner's exit code where it was asked for what cannot be."""
_SILENCE = timedelta(days=1)
"""After so long without a word a run that others carry out is taken for dead."""


class RefusedSpan(UserError):
    """The span's files are no data that the pipeline takes."""


class RunFailed(UserError):
    """A run did not come to its end; another try may."""


class AtWorkElsewhere(UserError):
    """The decision's run is carried out by another runner, and has not ended."""


@dataclass(frozen=True)
class Done:
    """A run that came to its end."""

    run_id: str
    """Empty where it would only have repeated the one before it, and was not begun."""
    pushed: str
    """The version of the model that it put to work; empty where the live model stays."""
    waits: str = ""
    """The version that it registered instead, for a trial or a person to decide about."""

    @property
    def words(self) -> str:
        """What came of it."""
        if self.pushed:
            return f"version {self.pushed} is live"
        if self.waits:
            return f"version {self.waits} waits as challenger, the live model stays meanwhile"
        return "the live model stays"


class Runner(Protocol):
    """Who carries out runs."""

    def ingest(self, span: int) -> None:
        """Brings the span into the store, as far as the data gate.

        Raises:
          RefusedSpan: its data may not go on.
          RunFailed: it could not be tried.
        """

    def train(self, decision: int, span: int, note: str, begun: Callable[[str], None]) -> Done:
        """Runs the pipeline on a span; goes on with what the decision has begun already.

        Args:
          decision: whose run it is: it has one, however often this is called.
          span: the newest to learn from.
          note: why; kept with the run.
          begun: told the run's id, once it is known.

        Raises:
          RunFailed: a node failed, or the run could not be begun.
          AtWorkElsewhere: another runner has begun it, and may still be at it.
        """


class LocalRuns:
    """The local runner, as `local_runner.py` is called by hand."""

    def __init__(
        self, config: PipelineConfig, words: Sequence[str], *, program: Sequence[str] = ()
    ) -> None:
        """`words` are the options --config and --set that lead to `config`."""
        self._config, self._words = config, words
        self._program = program or (sys.executable, str(PROJECT / "local_runner.py"))

    def ingest(self, span: int) -> None:
        """Runs the pipeline to its data gate, of this one span."""
        note = f"Span {span}, {decisions.TO_DECIDE}"
        before = self._of(note)
        # This span alone: others of the window are no matter here, nor what judges on it.
        window = ["--set", "data.window=1", "--set", "evaluate.on=newest"]
        options = ["--span", str(span), "--to", GATE, "--note", note]
        with self._alone() as lock:
            code = self._run([*window, *options], lock, lambda: None)
        if code == 0:
            return
        run = self._of(note)
        if run and before and run.id == before.id:
            run = None  # This one ended before the store knew it.
        failed = f"span {span} cannot be ingested: {_reason(code, run)}"
        raise (RefusedSpan if run and run.facts.get("refused") else RunFailed)(failed)

    def train(self, decision: int, span: int, note: str, begun: Callable[[str], None]) -> Done:
        """Runs the pipeline, or goes on with the decision's run."""
        with self._alone() as lock:
            return self._train(decision, span, note, begun, lock)

    def _train(
        self, decision: int, span: int, note: str, begun: Callable[[str], None], lock: TextIO
    ) -> Done:
        mark = mark_of(decision)
        run = self._of(mark)
        if run is not None and run.facts.get("outcome") == SUCCEEDED:
            begun(run.id)
            return done(run)
        refuse_second(run, "local")
        options = ["--span", str(span), "--note", f"{mark}{note}"]
        newest = next(iter(runs.newest_first(self._config.local_root)), None)
        resumes = run is not None and newest and newest.id == run.id and not newest.finished
        told = False

        def look() -> None:
            nonlocal told
            found = None if told else self._of(mark)
            if found is not None:
                begun(found.id)
                told = True

        code = self._run([*options, "--resume"], lock, look) if resumes else _REFUSED
        if code == _REFUSED:  # It cannot go on with what was begun by other code, say.
            code = self._run(options, lock, look)
        run = self._of(mark)
        if code == 0:
            look()
            return done(run) if run else Done("", "")
        reason = _reason(code, run)
        raise RunFailed(f"run {run.id}: {reason}" if run else f"the run did not begin: {reason}")

    def _run(self, options: Sequence[str], lock: TextIO, meanwhile: Callable[[], None]) -> int:
        process = subprocess.Popen(
            [*self._program, *self._words, "--plain", *options],
            stdin=subprocess.DEVNULL,
            pass_fds=[lock.fileno()],
            env={**os.environ, runs.LOCK_VARIABLE: str(lock.fileno())},
        )
        try:
            while True:
                try:
                    return process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    meanwhile()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()

    @contextmanager
    def _alone(self) -> Iterator[TextIO]:
        """Holds the root, to hand it to a run, once whoever was at work in it has ended."""
        with ExitStack() as held:
            while True:
                try:
                    lock = held.enter_context(runs.only_one(self._config.local_root))
                    break
                except UserError:
                    time.sleep(_POLL_SECONDS)
            yield lock

    def _of(self, mark: str) -> Run | None:
        return next(runs_with(self._config, mark), None)


def _reason(code: int, run: Run | None) -> str:
    """Why the runner ended with an exit code other than 0."""
    if code == 1 and run and run.reason:
        return run.reason
    refused = "the runner refused it; see its words in the log"
    return refused if code == _REFUSED else "it died without a word; see its log"


def mark_of(decision: int) -> str:
    """What the note of a decision's runs begins with."""
    return f"Decision {decision}: "


def runs_with(config: PipelineConfig, mark: str) -> Iterator[Run]:
    """The runs in the store whose note begins with `mark`, the newest first.

    A decision has several where its first try left nothing to go on with.
    """
    try:
        known = lineage.open(config).runs()
    except UserError:
        return  # There is no store yet.
    yield from (run for run in known if run.note.startswith(mark))


def refuse_second(newest: Run | None, runner: str) -> None:
    """Sees to it that nobody else is at a decision's run.

    Args:
      newest: the newest run of the decision.
      runner: who would begin another one.

    Raises:
      AtWorkElsewhere: another runner has begun it, has not ended it, and was heard of within a day.
    """
    if newest is None or newest.facts.get("outcome") or newest.runner in ("", runner):
        return
    heard = max([newest.begun, *(node.changed for node in newest.tries)])
    if datetime.now(UTC) - heard < _SILENCE:
        raise AtWorkElsewhere(
            f"run {newest.id} of it is carried out by {newest.runner} and has not ended; if it is "
            f"dead, another one is begun from {heard + _SILENCE:%Y-%m-%d %H:%M} UTC on"
        )


def done(run: Run) -> Done:
    """What a run that has come to its end came to."""
    pushed = next((a for a in run.outputs("PushedModel") if a.properties.get("pushed") == 1), None)
    if pushed is not None:
        return Done(run.id, str(pushed.properties.get("pushed_version", "")))
    if not all(one.properties.get("blessed") for one in run.outputs("InfraBlessing")):
        return Done(run.id, "")  # The canary refused what was registered.
    versions = (one.properties.get("model_version") for one in run.outputs("Registration"))
    return Done(run.id, "", next(filter(None, versions), ""))
