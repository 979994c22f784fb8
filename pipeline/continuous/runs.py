"""Runs that decisions start: what the loop asks for, and how this machine does it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline import lineage, runs
from pipeline.config import PROJECT, PipelineConfig
from pipeline.errors import UserError
from pipeline.lineage.run import Run
from pipeline.store import decisions
from pipeline.store.record import SUCCEEDED

_POLL_SECONDS = 1.0
_GATE = "DataGate"
_DIED = "its process was ended by"
_REFUSED = 2
"""The runner's exit code where it was asked for what cannot be."""
_LOST = "it died without a word; see its log"


class RefusedSpan(UserError):
    """The span's files are no data that the pipeline takes."""


class RunFailed(UserError):
    """A run did not come to its end; another try may."""


@dataclass(frozen=True)
class Done:
    """A run that came to its end."""

    run_id: str
    """Empty where it would only have repeated the one before it, and was not begun."""
    pushed: str
    """The version of the model that it put to work; empty where the live model stays."""


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
        self._wait_for_others()
        note = f"Span {span}, {decisions.TO_DECIDE}"
        # This span alone: others of the window are no matter here.
        window = ["--set", "data.window=1"]
        options = ["--span", str(span), "--to", _GATE, "--note", note]
        code = self._run([*window, *options], lambda: None)
        if code == 0:
            return
        run = self._of(note)
        failed = f"span {span} cannot be ingested: {run.reason if run and run.reason else _LOST}"
        if code == 1 and run and run.reason and _DIED not in run.reason:
            raise RefusedSpan(failed)
        raise RunFailed(failed)

    def train(self, decision: int, span: int, note: str, begun: Callable[[str], None]) -> Done:
        """Runs the pipeline, or goes on with the decision's run."""
        self._wait_for_others()
        mark = mark_of(decision)
        run = self._of(mark)
        if run is not None and run.facts.get("outcome") == SUCCEEDED:
            begun(run.id)
            return done(run)
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

        code = self._run([*options, "--resume"], look) if resumes else _REFUSED
        if code == _REFUSED:  # It cannot go on with what was begun by other code, say.
            code = self._run(options, look)
        run = self._of(mark)
        if code == 0:
            look()
            return done(run) if run else Done("", "")
        reason = "the runner refused it; see its words in the log" if code == _REFUSED else _LOST
        if code == 1 and run and run.reason:
            reason = run.reason
        raise RunFailed(f"run {run.id}: {reason}" if run else f"the run did not begin: {reason}")

    def _run(self, options: Sequence[str], meanwhile: Callable[[], None]) -> int:
        process = subprocess.Popen(
            [*self._program, *self._words, "--plain", *options], stdin=subprocess.DEVNULL
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

    def _wait_for_others(self) -> None:
        """Waits for a run that is at work, such as one whose starter was killed."""
        root = self._config.local_root
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".lock").open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    time.sleep(_POLL_SECONDS)

    def _of(self, mark: str) -> Run | None:
        return next(runs_with(self._config, mark), None)


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


def done(run: Run) -> Done:
    """What a run that has come to its end came to."""
    pushed = next((a for a in run.outputs("PushedModel") if a.properties.get("pushed") == 1), None)
    return Done(run.id, str(pushed.properties.get("pushed_version", "")) if pushed else "")
