"""Runs a build's steps on this machine, in a checkout, as Cloud Build runs them in containers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.cloudbuild.builders import Here, Skip, find
from pipeline.cloudbuild.file import WORKSPACE, Build, Step
from pipeline.cloudbuild.output import Output
from pipeline.cloudbuild.workspace import environment
from pipeline.cluster.process_groups import Groups
from pipeline.errors import UserError

_POLL_SECONDS = 0.02


class State(StrEnum):
    """How a step ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ALLOWED = "failed, allowed"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    """It was at work when another failed."""
    SKIPPED = "skipped"
    """Nothing here stands for its image."""
    NOT_STARTED = "not started"


_GOOD = (State.SUCCEEDED, State.ALLOWED, State.SKIPPED)


@dataclass(frozen=True)
class Result:
    """What there is to say of a step.

    Attributes:
      step: the step.
      state: how it ended.
      seconds: how long it was at work.
      note: a sentence for a person; empty where all is well.
      log: what it printed, if it was started.
    """

    step: Step
    state: State
    seconds: float = 0.0
    note: str = ""
    log: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a build.

    Attributes:
      results: of the steps, in the order of the file.
      error: why the build failed; empty if it did not.
      interrupted: whether by Ctrl-C.
    """

    results: tuple[Result, ...]
    error: str
    interrupted: bool


def check(build: Build, builders: Mapping[str, Here | Skip], *, skip: Collection[str] = ()) -> None:
    """Finds that the build can be run here.

    Raises:
      UserError: nothing stands for an image, a secret is not there, the build says something that
        only Cloud Build can do, or there is no step that is to be skipped.
    """
    if build.foreign:
        raise UserError(f"{', '.join(build.foreign)}: nothing stands here for that.")
    ids = {step.id for step in build.steps}
    if unknown := sorted(set(skip) - ids):
        raise UserError(f"there is no step {', '.join(unknown)} to skip.")
    skipped = {s.index for s in build.steps if isinstance(_here(s, builders, skip), Skip)}
    asked = {name for s in build.steps if s.index not in skipped for name in s.secrets}
    if missing := sorted(asked - set(os.environ)):
        raise UserError(
            f"steps ask for secrets: set the environment variables {', '.join(missing)}; here "
            "nobody asks Secret Manager."
        )
    for step in build.steps:
        mounts = (WORKSPACE, *step.volumes.values())
        inside = any(step.folder == m or step.folder.startswith(f"{m}/") for m in mounts)
        if (step.folder.startswith("/") and not inside) or ".." in Path(step.folder).parts:
            raise UserError(f"{step.name}: dir {step.folder} lies outside {' and '.join(mounts)}.")


def run(
    build: Build,
    builders: Mapping[str, Here | Skip],
    *,
    workspace: Path,
    folder: Path,
    skip: Collection[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Runs the build's steps, at once where they do not wait for one another.

    A step that fails ends those at work, and none is started after it: as in Cloud Build.

    Args:
      build: what `file.read` gave.
      builders: what stands for the images.
      workspace: a checkout, which stands for /workspace and stays as the steps leave it.
      folder: gets the steps' logs, the volumes, and the artifacts if the build succeeds.
      skip: ids of steps that are passed over, as if they had succeeded.
      say: is told every line that a step prints.

    Raises:
      UserError: the build cannot be run here.
    """
    check(build, builders, skip=skip)
    here = {step.index: _here(step, builders, skip) for step in build.steps}
    folder.mkdir(parents=True, exist_ok=True)
    with Groups() as groups:
        begun = _Run(build, here, workspace.resolve(), folder.resolve(), groups, say)
        return begun.to_the_end()


@dataclass(eq=False)
class _Work:
    """A step that has been started."""

    step: Step
    start: float
    process: subprocess.Popen[bytes]
    output: Output


class _Run:
    def __init__(
        self,
        build: Build,
        here: Mapping[int, Here | Skip],
        workspace: Path,
        folder: Path,
        groups: Groups,
        say: Callable[[str], None],
    ) -> None:
        self._build = build
        self._here = here
        self._workspace = workspace
        self._folder = folder
        self._groups = groups
        self._say = say
        self._secrets = {n: os.environ[n] for n in build.secrets if n in os.environ}
        self._results: dict[int, Result] = {}
        self._work: list[_Work] = []
        self._error = ""

    def to_the_end(self) -> Outcome:
        """Runs what there is to run, and says how it went."""
        interrupted = False
        try:
            self._loop(time.monotonic() + self._build.timeout)
            if not self._error:
                self._keep_artifacts()
        except KeyboardInterrupt:
            interrupted = True
            self._fail("was interrupted")
        results = [
            self._results.get(step.index, Result(step, State.NOT_STARTED))
            for step in self._build.steps
        ]
        return Outcome(tuple(results), self._error, interrupted)

    def _loop(self, deadline: float) -> None:
        while not self._error and len(self._results) < len(self._build.steps):
            for step in self._startable():
                if not self._error:
                    self._start(step)
            for work in list(self._work):
                if work in self._work:  # A failure ends the others.
                    self._look_at(work)
            if time.monotonic() > deadline and self._work:
                self._fail(f"took longer than {self._build.timeout:g} s", State.TIMED_OUT)
            time.sleep(_POLL_SECONDS)

    def _startable(self) -> list[Step]:
        started = {*self._results, *(work.step.index for work in self._work)}
        good = {index for index, result in self._results.items() if result.state in _GOOD}
        return [s for s in self._build.steps if s.index not in started and s.needs <= good]

    def _start(self, step: Step) -> None:
        here = self._here[step.index]
        if isinstance(here, Skip):
            self._results[step.index] = Result(step, State.SKIPPED, note=here.reason)
            self._say(f"{step.name}: skipped: {here.reason}")
            return
        start, log = time.monotonic(), self._folder / f"{step.index:02d}-{_plain(step.id)}.log"
        output = Output(log, step.name, self._secrets.values(), self._say)
        try:
            folder = self._workspace / self._local(step, step.folder)
            folder.mkdir(parents=True, exist_ok=True)
            command, environment = self._command(step, here), self._environment(step)
            with output.sink() as sink:
                process = self._groups.start(command, sink, environment, folder=folder)
        except OSError as error:
            output.close()
            log.write_text(f"{error}\n", encoding="utf-8")
            self._end(step, State.FAILED, f"cannot be started: {error}", start, log)
        else:
            self._work.append(_Work(step, start, process, output))

    def _command(self, step: Step, here: Here) -> list[str]:
        if step.script:
            script = self._folder / f"{step.index:02d}-{_plain(step.id)}.script"
            text = step.script if step.script.startswith("#!") else f"#!/bin/sh\n{step.script}"
            script.write_text(self._local(step, text), encoding="utf-8")
            script.chmod(0o755)
            return [str(script)]
        first = (step.entrypoint,) if step.entrypoint else here.entrypoint
        words = [self._local(step, word) for word in (*first, *step.command)]
        if not words:
            raise OSError("it has neither args nor an entrypoint")
        return words

    def _environment(self, step: Step) -> dict[str, str]:
        """This machine's, which stands for the image's, the step's, and its secrets: no others."""
        secrets, machine = self._build.secrets, environment()
        machine = {name: value for name, value in machine.items() if name not in secrets}
        own = {name: self._local(step, value) for name, value in step.environment.items()}
        if "PATH" in own:  # What an image has lies in folders of this machine's own PATH.
            own["PATH"] += os.pathsep + machine.get("PATH", os.defpath)
        return machine | own | {name: self._secrets[name] for name in step.secrets}

    def _local(self, step: Step, text: str) -> str:
        """The text with this machine's folders in the place of /workspace and of volumes."""
        places = {WORKSPACE: self._workspace}
        for name, path in step.volumes.items():
            places[path] = self._folder / "volumes" / name
            places[path].mkdir(parents=True, exist_ok=True)
        known = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
        return re.sub(rf"(?<![\w./-])({known})(?![\w.-])", lambda m: str(places[m[1]]), text)

    def _look_at(self, work: _Work) -> None:
        """Ends a step that is over, or has taken too long."""
        code, step = work.process.poll(), work.step
        seconds = time.monotonic() - work.start
        if code is None and (step.timeout is None or seconds <= step.timeout):
            return
        self._stop([work])
        if code is None:
            state, note = State.TIMED_OUT, f"took longer than {step.timeout:g} s"
        elif code == 0:
            state, note = State.SUCCEEDED, ""
        else:
            allowed = step.allowed and code in step.allowed
            state, note = State.ALLOWED if allowed else State.FAILED, _reason(code)
        self._end(step, state, note, work.start, work.output.log)

    def _end(self, step: Step, state: State, note: str, start: float, log: Path) -> None:
        if step.allowed is None and state is not State.SUCCEEDED:
            state = State.ALLOWED
        self._results[step.index] = Result(step, state, time.monotonic() - start, note, log)
        if state not in _GOOD:
            self._fail(f"{step.name} {note}")

    def _fail(self, error: str, state: State = State.CANCELLED) -> None:
        """Fails the build, and ends what is at work."""
        self._error = self._error or error
        ended = list(self._work)
        self._stop(ended)
        for work in ended:
            seconds = time.monotonic() - work.start
            self._results[work.step.index] = Result(
                work.step, state, seconds, "was ended", work.output.log
            )

    def _stop(self, ended: Sequence[_Work]) -> None:
        """Ends the steps' processes, and whatever they may have left running."""
        self._groups.stop([work.process for work in ended])
        for work in ended:
            work.output.close()
            self._work.remove(work)

    def _keep_artifacts(self) -> None:
        """Copies the files that Cloud Build would put in its bucket."""
        for pattern in self._build.artifacts:
            pattern = pattern.removeprefix(f"{WORKSPACE}/")
            files = [file for file in sorted(self._workspace.glob(pattern)) if file.is_file()]
            if not files:
                self._error = f"artifacts: no file is {pattern}"
                return
            for file in files:
                (self._folder / "artifacts").mkdir(exist_ok=True)
                shutil.copy2(file, self._folder / "artifacts" / file.name)


def _here(step: Step, builders: Mapping[str, Here | Skip], skip: Collection[str]) -> Here | Skip:
    return Skip("as asked") if step.id in skip else find(step.builder, builders)


def _plain(name: str) -> str:
    """A name that a file may have."""
    return re.sub(r"[^\w.-]", "-", name) or "step"


def _reason(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
