"""Runs a compiled KFP package on this machine: the command of each container as a process.

So a package can be tried, and tested, where there is neither a cluster nor a container engine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.cluster import kfp_package
from pipeline.cluster.kfp_package import Constant, Output, Package, Task
from pipeline.cluster.process_groups import Groups
from pipeline.config import PROJECT
from pipeline.errors import UserError

_POLL_SECONDS = 0.05
_PYTHONS = ("python", "python3")


class State(StrEnum):
    """How a task is doing."""

    RUNNING = "running"
    WAITING = "waiting"
    """For its next try."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class TaskResult:
    """What there is to say of a task.

    Attributes:
      task_id: its name in the package.
      name: its display name.
      state: how it is doing, or how it ended.
      tries: how often it was started.
      seconds: since it was started first.
      log: what it printed in its last try.
      error: on failure, a sentence for a person.
    """

    task_id: str
    name: str
    state: State
    tries: int = 0
    seconds: float = 0.0
    log: Path | None = None
    error: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a run; the tasks in the order in which they ended."""

    run_id: str
    results: tuple[TaskResult, ...]
    interrupted: bool

    @property
    def succeeded(self) -> bool:
        """Whether every task did."""
        return all(result.state is State.SUCCEEDED for result in self.results)


def run_package(
    file: Path,
    parameters: Mapping[str, object],
    *,
    folder: Path,
    jobs: int,
    run_id: str | None = None,
    report: Callable[[TaskResult], None] = lambda result: None,
) -> Outcome:
    """Runs the package in `file`, up to `jobs` of its tasks at once.

    After a failure, tasks that do not need what failed still run. So do exit tasks, also after
    Ctrl-C, which ends the others.

    Args:
      file: the package's YAML.
      parameters: of the run, where they differ from the package's defaults.
      folder: gets logs/TASK.TRY.log and what tasks hand on to one another.
      jobs: tasks at once.
      run_id: of a run that is to be taken up again; by default a new one.
      report: is told whenever a task's state changes.

    Raises:
      UserError: the package cannot be run here, a parameter is wrong, or a secret is missing.
    """
    package = kfp_package.read(file, parameters)
    missing = sorted({v for task in package.tasks for v in task.secrets if v not in os.environ})
    if missing:
        raise UserError(f"tasks need secrets: set the environment variables {', '.join(missing)}")
    with Groups() as groups:
        run = _Run(package, folder.resolve(), groups, run_id or str(uuid.uuid4()), report)
        return run.to_the_end(jobs)


@dataclass
class _Work:
    """A task that has been started."""

    task: Task
    first_start: float
    tries: int = 0
    start: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    due: float = 0.0
    """When to try again, if there is no process."""


class _Run:
    def __init__(
        self,
        package: Package,
        folder: Path,
        groups: Groups,
        run_id: str,
        report: Callable[[TaskResult], None],
    ) -> None:
        self._package = package
        self._folder = folder
        self._groups = groups
        self._run_id = run_id
        self._report = report
        self._waiting = {task.id: task for task in package.tasks}
        self._work: list[_Work] = []
        self._results: dict[str, TaskResult] = {}
        self._outputs: dict[Output, Any] = {}

    def to_the_end(self, jobs: int) -> Outcome:
        """Runs what there is to run; after an interruption, only what always runs."""
        (self._folder / "logs").mkdir(parents=True, exist_ok=True)
        for task in self._package.tasks:
            self._command(task, lambda output: "")  # A mistake in one is told before all.
        interrupted = False
        try:
            self._loop(jobs)
        except KeyboardInterrupt:
            interrupted = True
            self._give_up()
            self._loop(jobs)
        return Outcome(self._run_id, tuple(self._results.values()), interrupted)

    def _loop(self, jobs: int) -> None:
        while self._waiting or self._work:
            self._skip()
            for work in self._startable(jobs):
                self._try(work)
            for work in [work for work in self._work if work.process]:
                self._look_at(work)
            time.sleep(_POLL_SECONDS)

    def _skip(self) -> None:
        """Takes leave of the tasks that need one that did not succeed."""
        for task in list(self._waiting.values()):
            needed = [self._results[n].state for n in task.needs if n in self._results]
            if not task.always and any(state is not State.SUCCEEDED for state in needed):
                self._end(task, State.SKIPPED)

    def _startable(self, jobs: int) -> list[_Work]:
        now = time.monotonic()
        free = jobs - sum(work.process is not None for work in self._work)
        again = [work for work in self._work if not work.process and work.due <= now]
        ready = [t for t in self._waiting.values() if all(n in self._results for n in t.needs)]
        new = [_Work(task, now) for task in ready[: max(0, free - len(again))]]
        self._work += new
        for work in new:
            del self._waiting[work.task.id]
        return [*again, *new][:free]

    def _try(self, work: _Work) -> None:
        """Starts the task's process."""
        task = work.task
        work.tries += 1
        work.start = time.monotonic()
        try:
            self._make_room(task)
            command = self._command(task, self._made)
            with self._log(work).open("wb") as log:
                environment = {**os.environ, **task.environment}
                work.process = self._groups.start(command, log, environment, folder=PROJECT)
        except (UserError, OSError) as error:
            self._end(task, State.FAILED, work, f"cannot be started: {error}")
        else:
            self._report(self._result(work, State.RUNNING))

    def _make_room(self, task: Task) -> None:
        """Makes the folders for what the task will make, and removes what a try before made."""
        for key in task.output_parameters:
            file = self._output_file(task.id, key)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
        for key in task.output_artifacts:
            path = self._artifact(Output(task.id, key))
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)

    def _command(self, task: Task, made: Callable[[Output], Any]) -> list[str]:
        values = self._values(task, made)
        command = [kfp_package.filled(element, values) for element in task.command]
        if command[0] in _PYTHONS:
            command[0] = sys.executable
        return command

    def _values(self, task: Task, made: Callable[[Output], Any]) -> dict[str, Any]:
        """The value of every placeholder that the task's command may hold."""
        job = f"{self._package.name}-{self._run_id}"
        of_run = {
            "{{$.pipeline_job_uuid}}": self._run_id,
            "{{$.pipeline_job_name}}": job,
            "{{$.pipeline_job_resource_name}}": job,
            "{{$.pipeline_task_name}}": task.name,
            "{{$.pipeline_root}}": str(self._folder / "artifacts"),
        }
        given = {
            key: source.value if isinstance(source, Constant) else made(source)
            for key, source in task.parameters.items()
        }
        in_texts = of_run | {_input(key): value for key, value in given.items()}
        for key, source in task.parameters.items():
            if isinstance(source, Constant) and source.from_package:
                given[key] = _filled_within(source.value, in_texts)
        values = of_run | {_input(key): value for key, value in given.items()}
        for key in task.output_parameters:
            file = self._output_file(task.id, key)
            values[f"{{{{$.outputs.parameters['{key}'].output_file}}}}"] = str(file)
        for key, source in task.artifacts.items():
            values |= _artifact_values("inputs", key, self._artifact(source))
        for key in task.output_artifacts:
            values |= _artifact_values("outputs", key, self._artifact(Output(task.id, key)))
        return values

    def _made(self, output: Output) -> Any:
        if output not in self._outputs:
            raise UserError(f"{output.task_id} has not made {output.key}")
        return self._outputs[output]

    def _look_at(self, work: _Work) -> None:
        """Ends a try that is over, or has taken too long."""
        assert work.process is not None
        code = work.process.poll()
        timeout = work.task.timeout
        if code is None and timeout is not None and time.monotonic() - work.start > timeout:
            self._groups.stop([work.process])
            self._failed(work, f"took longer than {timeout:g} s and was ended")
        elif code is not None:
            self._groups.stop([work.process])  # What it may have left running.
            error = _reason(code, self._log(work)) if code else self._take_outputs(work.task)
            if error:
                self._failed(work, error)
            else:
                self._end(work.task, State.SUCCEEDED, work)

    def _take_outputs(self, task: Task) -> str:
        """Reads the values that the task has made; a sentence if one is not there."""
        for key, kind in task.output_parameters.items():
            try:
                text = self._output_file(task.id, key).read_text(encoding="utf-8")
                self._outputs[Output(task.id, key)] = kfp_package.parsed(text, kind)
            except FileNotFoundError:
                return f"ended well, but has not made {key}"
            except ValueError as error:
                return f"has made {key}, which is wrong: {error}"
        return ""

    def _failed(self, work: _Work, error: str) -> None:
        """Lets the task wait for its next try, if it has one."""
        work.process = None
        if work.tries > work.task.retries:
            self._end(work.task, State.FAILED, work, error)
            return
        first, factor, longest = work.task.backoff
        work.due = time.monotonic() + min(longest, first * factor ** (work.tries - 1))
        self._report(self._result(work, State.WAITING, error))

    def _give_up(self) -> None:
        self._groups.stop([work.process for work in self._work if work.process])
        for work in list(self._work):
            self._end(work.task, State.FAILED, work, "was interrupted")
        for task in [task for task in self._waiting.values() if not task.always]:
            self._end(task, State.SKIPPED)

    def _end(self, task: Task, state: State, work: _Work | None = None, error: str = "") -> None:
        skipped = TaskResult(task.id, task.name, state)
        result = self._result(work, state, error) if work else skipped
        # First: an interruption between two lines must lose no task.
        self._results[task.id] = result
        self._waiting.pop(task.id, None)
        self._work = [other for other in self._work if other is not work]
        self._report(result)

    def _result(self, work: _Work, state: State, error: str = "") -> TaskResult:
        seconds = time.monotonic() - work.first_start
        log = self._log(work)
        return TaskResult(work.task.id, work.task.name, state, work.tries, seconds, log, error)

    def _log(self, work: _Work) -> Path:
        return self._folder / "logs" / f"{work.task.id}.{work.tries}.log"

    def _output_file(self, task_id: str, key: str) -> Path:
        return self._folder / "outputs" / task_id / key

    def _artifact(self, output: Output) -> Path:
        return self._folder / "artifacts" / output.task_id / output.key


def _input(key: str) -> str:
    return f"{{{{$.inputs.parameters['{key}']}}}}"


def _artifact_values(side: str, key: str, path: Path) -> dict[str, str]:
    return {f"{{{{$.{side}.artifacts['{key}'].{form}}}}}": str(path) for form in ("uri", "path")}


def _filled_within(value: Any, values: Mapping[str, Any]) -> Any:
    """`value` of the package, with the placeholders in its texts replaced."""
    match value:
        case str():
            return kfp_package.filled(value, values)
        case list():
            return [_filled_within(element, values) for element in value]
        case dict():
            return {key: _filled_within(element, values) for key, element in value.items()}
    return value


def _reason(code: int, log: Path) -> str:
    """Why a process with that exit code failed, with the last line that it printed."""
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"ended by {how}" + (f": {lines[-1].strip()}" if lines else "")
