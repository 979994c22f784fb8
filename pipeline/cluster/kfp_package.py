"""Reads a compiled KFP package: its container tasks, what each waits for, gets and makes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError

EXIT_STRATEGY = "ALL_UPSTREAM_TASKS_COMPLETED"
_PLACEHOLDER = re.compile(r"\{\{\$.*?\}\}")
_TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "BOOLEAN": (bool,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "LIST": (list,),
    "STRUCT": (dict,),
}


@dataclass(frozen=True)
class Constant:
    """A value that the package or the caller gives; only the package's may hold placeholders."""

    value: Any
    from_package: bool = False


@dataclass(frozen=True)
class Output:
    """A parameter or an artifact that a task makes."""

    task_id: str
    key: str


@dataclass(frozen=True)
class Task:
    """A container to run.

    Attributes:
      id: its name in the package.
      name: its display name.
      command: the program and its arguments, with placeholders.
      parameters: values that it gets.
      artifacts: other tasks' artifacts that it gets.
      output_parameters: values that it makes, with their types.
      output_artifacts: artifacts that it makes.
      needs: ids of the tasks that it waits for.
      always: whether it runs whatever became of them.
      retries: tries after the first.
      backoff: seconds before the second try, the factor to each next wait, and the longest wait.
      timeout: seconds that one try may take.
      environment: variables that it gets.
      secrets: variables that hold a secret, and have to be in the caller's environment.
    """

    id: str
    name: str
    command: tuple[str, ...]
    parameters: Mapping[str, Constant | Output]
    artifacts: Mapping[str, Output]
    output_parameters: Mapping[str, str]
    output_artifacts: tuple[str, ...]
    needs: frozenset[str]
    always: bool
    retries: int
    backoff: tuple[float, float, float]
    timeout: float | None
    environment: Mapping[str, str]
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Package:
    """The tasks of a package, each after those that it waits for."""

    name: str
    tasks: tuple[Task, ...]


def read(file: Path, parameters: Mapping[str, object]) -> Package:
    """The package in `file`, with the values of its `parameters`.

    Raises:
      UserError: it is no package, it has a step that is no container, or a parameter is wrong.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{file}: is no KFP package: compile it anew") from None
    if not (documents and isinstance(documents[0], dict) and "root" in documents[0]):
        raise UserError(f"{file}: is no KFP package: compile it anew")
    spec, *platforms = documents
    kubernetes: dict[str, Any] = {}
    for document in platforms:
        of_platform = document.get("platforms", {}).get("kubernetes", {})
        kubernetes |= of_platform.get("deploymentSpec", {}).get("executors", {})
    reader = _Reader(spec, kubernetes)
    given = _given(spec["root"].get("inputDefinitions", {}), parameters)
    reader.expand(spec["root"]["dag"], given, needs=frozenset(), prefix="")
    return Package(spec["pipelineInfo"]["name"], tuple(reader.tasks.values()))


def filled(text: str, values: Mapping[str, Any]) -> str:
    """`text` with the value of each of its placeholders, which `values` has by its full text.

    Raises:
      UserError: a placeholder has no value.
    """

    def value(match: re.Match[str]) -> str:
        placeholder = match.group()
        if placeholder not in values:
            raise UserError(f"the placeholder {placeholder} has no value outside a cluster")
        found = values[placeholder]
        return found if isinstance(found, str) else json.dumps(_plain(found))

    return _PLACEHOLDER.sub(value, text)


def _plain(value: Any) -> Any:
    """`value` with whole numbers as such: a package holds every number as a fraction."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_plain(element) for element in value]
        case dict():
            return {key: _plain(element) for key, element in value.items()}
    return value


def parsed(text: str, kind: str) -> Any:
    """The value of the type `kind` that a task has written into the file of an output.

    Raises:
      ValueError: the text is none.
    """
    if kind == "STRING":
        return text
    value = json.loads(text.strip().lower() if kind == "BOOLEAN" else text)
    if not _is(value, kind):
        raise ValueError(f"{text!r} is no {kind}")
    return value


def _is(value: object, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "BOOLEAN" or not isinstance(value, bool))


def _given(
    definitions: Mapping[str, Any], parameters: Mapping[str, object]
) -> dict[str, Constant | Output]:
    """Every parameter's value: what the caller says, else its default."""
    if definitions.get("artifacts"):
        raise UserError(f"the package wants artifacts ({', '.join(definitions['artifacts'])})")
    known = definitions.get("parameters", {})
    for name in parameters:
        if name not in known:
            there = ", ".join(known) or "none"
            raise UserError(f"the package has no parameter {name!r}; there are: {there}")
    given: dict[str, Constant | Output] = {}
    for name, definition in known.items():
        kind = definition["parameterType"]
        if name in parameters and not _is(parameters[name], kind):
            raise UserError(f"parameter {name} is {parameters[name]!r}; expected a {kind}")
        if name in parameters:
            given[name] = Constant(parameters[name])
        elif "defaultValue" in definition:
            given[name] = Constant(definition["defaultValue"])
        elif not definition.get("isOptional"):
            raise UserError(f"parameter {name} has no default; give it a {kind}")
    return given


@dataclass(frozen=True)
class _Expanded:
    """The containers of one step of a graph, and what it makes."""

    ids: frozenset[str]
    outputs: Mapping[str, Output]


class _Reader:
    """Turns a graph of graphs into a list of containers."""

    def __init__(self, spec: Mapping[str, Any], kubernetes: Mapping[str, Any]) -> None:
        self.tasks: dict[str, Task] = {}
        self._components = spec["components"]
        self._executors = spec["deploymentSpec"]["executors"]
        self._kubernetes = kubernetes

    def expand(
        self,
        dag: Mapping[str, Any],
        given: Mapping[str, Constant | Output],
        *,
        needs: frozenset[str],
        prefix: str,
    ) -> _Expanded:
        """Adds the containers of `dag`, whose inputs are `given` once those in `needs` are done."""
        steps = dag["tasks"]
        expanded: dict[str, _Expanded] = {}
        for key in _in_order(steps):
            step = steps[key]
            _refuse_control_flow(key, step)
            upstream = needs.union(*[expanded[name].ids for name in _upstream(step)])
            component = self._components[step["componentRef"]["name"]]
            inputs = _defaults(component) | {
                name: found
                for kind in ("parameters", "artifacts")
                for name, source in step.get("inputs", {}).get(kind, {}).items()
                if (found := _source(source, given, expanded)) is not None
            }
            if "dag" in component:
                expanded[key] = self.expand(
                    component["dag"], inputs, needs=upstream, prefix=f"{prefix}{key}."
                )
            else:
                task_id = key if key not in self.tasks else f"{prefix}{key}"
                task = self._task(task_id, step, component, inputs, upstream)
                self.tasks[task_id] = task
                made = [*task.output_parameters, *task.output_artifacts]
                outputs = {name: Output(task_id, name) for name in made}
                expanded[key] = _Expanded(frozenset([task_id]), outputs)
        ids: frozenset[str] = frozenset().union(*[step.ids for step in expanded.values()])
        return _Expanded(ids, dict(_outputs(dag, expanded)))

    def _task(
        self,
        task_id: str,
        step: Mapping[str, Any],
        component: Mapping[str, Any],
        inputs: Mapping[str, Constant | Output],
        needs: frozenset[str],
    ) -> Task:
        label = component["executorLabel"]
        container = self._executors[label].get("container")
        if container is None:
            raise UserError(f"{task_id} is no container: only those can be run here")
        wanted = component.get("inputDefinitions", {})
        made = component.get("outputDefinitions", {})
        retry = step.get("retryPolicy", {})
        settings = self._kubernetes.get(label, {})
        artifacts = wanted.get("artifacts", {})
        deadline = settings.get("activeDeadlineSeconds")
        return Task(
            id=task_id,
            name=step.get("taskInfo", {}).get("name", task_id),
            command=(*container.get("command", []), *container.get("args", [])),
            parameters={n: v for n, v in inputs.items() if n not in artifacts},
            artifacts={
                name: source
                for name, source in inputs.items()
                if name in artifacts and isinstance(source, Output)
            },
            output_parameters={
                name: definition["parameterType"]
                for name, definition in made.get("parameters", {}).items()
            },
            output_artifacts=tuple(made.get("artifacts", {})),
            needs=needs,
            always=step.get("triggerPolicy", {}).get("strategy") == EXIT_STRATEGY,
            retries=int(retry.get("maxRetryCount", 0)),
            backoff=(
                _seconds(retry.get("backoffDuration", "0s")),
                float(retry.get("backoffFactor", 2.0)),
                _seconds(retry.get("backoffMaxDuration", "3600s")),
            ),
            timeout=float(deadline) if deadline else None,
            environment={e["name"]: e.get("value", "") for e in container.get("env", [])},
            secrets=tuple(
                entry["envVar"]
                for secret in settings.get("secretAsEnv", [])
                if not secret.get("optional")
                for entry in secret["keyToEnv"]
            ),
        )


def _in_order(steps: Mapping[str, Any]) -> list[str]:
    """The steps' keys, each after those that it waits for, otherwise as they are written."""
    return list(
        TopologicalSorter({key: _upstream(step) for key, step in steps.items()}).static_order()
    )


def _upstream(step: Mapping[str, Any]) -> list[str]:
    """The steps of the same graph that `step` waits for."""
    inputs = step.get("inputs", {})
    sources = [*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()]
    producers = [
        source[kind]["producerTask"]
        for source in sources
        for kind in ("taskOutputParameter", "taskOutputArtifact")
        if kind in source
    ]
    return sorted({*step.get("dependentTasks", []), *producers})


def _defaults(component: Mapping[str, Any]) -> dict[str, Constant | Output]:
    definitions = component.get("inputDefinitions", {}).get("parameters", {})
    return {
        name: Constant(definition["defaultValue"])
        for name, definition in definitions.items()
        if "defaultValue" in definition
    }


def _source(
    source: Mapping[str, Any],
    given: Mapping[str, Constant | Output],
    expanded: Mapping[str, _Expanded],
) -> Constant | Output | None:
    """Where one input of a step comes from; None if it may be left out, and is."""
    match source:
        case {"componentInputParameter": name} | {"componentInputArtifact": name}:
            return given.get(name)
        case {"taskOutputParameter": {"producerTask": key, "outputParameterKey": name}}:
            return expanded[key].outputs[name]
        case {"taskOutputArtifact": {"producerTask": key, "outputArtifactKey": name}}:
            return expanded[key].outputs[name]
        case {"runtimeValue": {"constant": value}}:
            return Constant(value, from_package=True)
    raise UserError(f"an input comes from {', '.join(source)}, which only a cluster has")


def _outputs(
    dag: Mapping[str, Any], expanded: Mapping[str, _Expanded]
) -> Iterator[tuple[str, Output]]:
    """What a graph hands on of what its steps make."""
    outputs = dag.get("outputs", {})
    for name, source in outputs.get("parameters", {}).items():
        found = source["valueFromParameter"]
        yield name, expanded[found["producerSubtask"]].outputs[found["outputParameterKey"]]
    for name, source in outputs.get("artifacts", {}).items():
        (found,) = source["artifactSelectors"]
        yield name, expanded[found["producerSubtask"]].outputs[found["outputArtifactKey"]]


def _refuse_control_flow(key: str, step: Mapping[str, Any]) -> None:
    if "condition" in step.get("triggerPolicy", {}):
        raise UserError(f"{key} depends on a condition, which only a cluster can follow")
    if "parameterIterator" in step or "artifactIterator" in step:
        raise UserError(f"{key} is a loop, which only a cluster can follow")


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
