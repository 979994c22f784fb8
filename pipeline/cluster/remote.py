"""Runs on a server, whichever one it is: what is sent to it, and what it tells of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from pipeline.errors import UserError
from pipeline.parameters import NEWEST

Value = str | bool | int | float
"""The value of a parameter."""

FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
"""States after which nothing happens any more."""

ANSWERS = frozenset({400, 404, 409})
"""Statuses of errors that tell what a server has; with any other one it could not be asked."""


class NoScheduleError(UserError):
    """There is no schedule of the pipeline's name."""


@dataclass(frozen=True)
class RemoteTask:
    """One task of a run."""

    name: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class RemoteRun:
    """A run, as its server tells of it."""

    id: str
    name: str
    state: str
    created: str
    link: str
    error: str = ""
    tasks: tuple[RemoteTask, ...] = ()


@dataclass(frozen=True)
class Package:
    """A compiled pipeline: the text of its YAML file, and what its version is called after."""

    text: str
    label: str = ""
    """Stands in the version's name, such as the commit; the name is one of the content anyway."""

    @classmethod
    def read(cls, file: Path) -> Package:
        """The package in a file.

        Raises:
            UserError: if it is none.
        """
        package = cls(file.read_text(encoding="utf-8"))
        try:
            is_one = bool(package.name and package.tasks)
        except (yaml.YAMLError, StopIteration, KeyError, TypeError, AttributeError):
            is_one = False
        if not is_one:
            raise UserError(
                f"{file} is no package of a pipeline; `kubeflow_runner.py compile` writes one."
            )
        return package

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The pipeline's specification; Kubernetes' settings are a document of their own."""
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        spec: dict[str, Any] = next(yaml.load_all(self.text, Loader=loader))
        return spec

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.spec["pipelineInfo"]["name"])

    @cached_property
    def version(self) -> str:
        """A name for exactly this content."""
        label = f"{self.label}-" if self.label else ""
        return f"{self.name}-{label}{self.digest[:12]}"

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def images(self) -> list[str]:
        """The container images of its tasks, each once."""
        executors = self.spec.get("deploymentSpec", {}).get("executors", {}).values()
        return sorted({e["container"]["image"] for e in executors if "container" in e})

    @property
    def tasks(self) -> list[str]:
        """The names of its tasks, those inside an exit handler's group included."""
        dags = [self.spec["root"], *self.spec.get("components", {}).values()]
        named = [name for part in dags for name in part.get("dag", {}).get("tasks", {})]
        return [name for name in named if not name.startswith("exit-handler")]

    def parameters(self, texts: Sequence[str]) -> dict[str, Value]:
        """The values of KEY=VALUE words, each checked against the type the package declares.

        Raises:
            UserError: if there is no such parameter, its value is of another type, or one that is
                needed is missing.
        """
        inputs = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values = dict(_parameter(text, inputs) for text in texts)
        needed = [
            name
            for name, declared in inputs.items()
            if not declared.get("isOptional") and name not in values
        ]
        if needed:
            raise UserError(f"The run needs {', '.join(needed)}; give each as --param NAME=VALUE.")
        return values


class Server(Protocol):
    """Where runs are sent to. Making one contacts nothing; the first call does."""

    @property
    def place(self) -> str:
        """The server's address, or the project and region."""

    def upload(self, package: Package) -> str:
        """Has the server keep the package as a version, unless it does; the version's id.

        Nothing that is at work changes. Vertex has no versions: the id is empty.
        """

    def check_version(self, package: Package) -> None:
        """Makes sure that the server keeps the package, and nothing else under its name.

        Raises:
            UserError: if it does not; an `UnreachableError` if it could not be asked.
        """

    def check_schedule(self, package: Package) -> None:
        """Makes sure that the schedule starts runs of this package, and of no other.

        Raises:
            UserError: if it does not; an `UnreachableError` if the server could not be asked.
        """

    def check_unscheduled(self) -> None:
        """Makes sure that no schedule of the pipeline's name starts runs.

        Raises:
            UserError: if one does; an `UnreachableError` if the server could not be asked.
        """

    def plan(self, package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What would be sent to start a run, for people to read."""

    def schedule_plan(self, package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What would be sent to have runs start by themselves."""

    def submit(
        self, package: Package, parameters: Mapping[str, Any], *, label: str = ""
    ) -> RemoteRun:
        """Starts a run; a label, of up to 63 small letters, digits and dashes, finds it again."""

    def labelled(self, label: str) -> list[RemoteRun]:
        """The pipeline's runs that were started with a label, the newest first, without tasks."""

    def schedule(self, package: Package, parameters: Mapping[str, Any]) -> str:
        """Has runs start by themselves as the configuration says; says what changed."""

    def pause(self) -> str:
        """Stops the schedule from starting runs; says what changed.

        Raises:
            UserError: if that fails; a `NoScheduleError` if there is none.
        """

    def resume(self) -> str:
        """Lets the schedule start runs again; says what changed."""

    def unschedule(self) -> str:
        """Deletes the schedule; says what changed."""

    def runs(self, limit: int = 10) -> list[RemoteRun]:
        """The last runs, the newest first, without their tasks."""

    def run(self, run_id: str) -> RemoteRun:
        """One run with its tasks."""

    def cancel(self, run_id: str) -> None:
        """Ends a run."""


def _parameter(text: str, inputs: Mapping[str, Mapping[str, str]]) -> tuple[str, Value]:
    name, equals, value = text.partition("=")
    if name not in inputs or not equals:
        raise UserError(
            f"--param {text}: "
            + (f"there is no parameter {name!r}" if name not in inputs else "no value is given")
            + f"; expected NAME=VALUE with one of {', '.join(sorted(inputs)) or 'none at all'}."
        )
    kind = inputs[name]["parameterType"]
    if kind == "STRING":
        if name == "span" and value not in ("", NEWEST) and not value.isdecimal():
            raise UserError(
                f"--param {text}: expected a span's number, {NEWEST}, or nothing: as configured."
            )
        return name, value
    if kind == "BOOLEAN":
        if value not in ("true", "false"):
            raise UserError(f"--param {text}: expected true or false.")
        return name, value == "true"
    try:
        return name, int(value) if kind == "NUMBER_INTEGER" else float(value)
    except ValueError:
        raise UserError(f"--param {text}: expected a number.") from None


def unwanted_schedule(name: str) -> str:
    """What is wrong where a schedule is at work that the configuration does not have."""
    return (
        f"The schedule {name} starts runs, though [schedule] says nothing of when: release anew, "
        "which deletes it."
    )


def moment(text: str | None, key: str, *, timezone: str) -> datetime | None:
    """The time that a setting names; one without an offset is meant in `timezone`.

    Raises:
        UserError: if it is no time, or the time zone is none.
    """
    zone = time_zone(timezone)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"{key} is {text!r}; expected a time, as in 2026-12-01T00:00:00Z."
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=zone)


def time_zone(name: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        UserError: if there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UserError(
            f"schedule.timezone is {name!r}; expected a name as in Europe/Berlin, or UTC."
        ) from None
