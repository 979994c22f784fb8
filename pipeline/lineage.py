"""Asks the metadata store where an artifact comes from; imports neither TFX nor TensorFlow.

store = lineage.open(config)
store.live_model().ancestors()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.store import connect

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

PUSHED_MODEL = "PushedModel"
REGISTRATION = "Registration"
_INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)


def open(config: PipelineConfig) -> Store:
    """The store of the pipeline, to read from only.

    Raises:
      UserError: there is none, or the file is something else.
    """
    return Store(connect.existing(config))


@dataclass(frozen=True, eq=False, repr=False)
class Execution:
    """One time that a node ran."""

    id: int
    node: str
    """The node's id; the component's type where the execution belongs to no node."""
    run: str
    state: str
    """As the store has it, in lower case: "complete", "cached", "failed", …"""
    _store: Store

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        """What it read, in the order of the inputs' names."""
        return self._store._inputs_of([self])[self.id]

    def __repr__(self) -> str:
        return f"<Execution {self.id}: {self.node} in run {self.run}, {self.state}>"


@dataclass(frozen=True, eq=False, repr=False)
class Artifact:
    """Something that a node made."""

    id: int
    type: str
    uri: str
    properties: Mapping[str, Any]
    """Its type's properties and its own ones."""
    created: datetime
    _store: Store

    @property
    def producer(self) -> Execution | None:
        """The execution that made it: not one that found it in the cache, nor a resolver."""
        return self._store._producers_of([self])[self.id]

    def parents(self) -> tuple[Artifact, ...]:
        """What its producer read."""
        return self.producer.inputs if self.producer else ()

    def children(self) -> tuple[Artifact, ...]:
        """What was made by those who read it."""
        return self._store._children_of(self)

    def ancestors(self) -> tuple[Artifact, ...]:
        """Its parents, their parents and so on, each once, the nearest first."""
        found = {self.id: self}
        generation = [self]
        while generation:
            # A generation at a time, as each question to the store costs more than its answer.
            executions = filter(None, self._store._producers_of(generation).values())
            parents = self._store._inputs_of(list(executions)).values()
            new = {a.id: a for inputs in parents for a in inputs if a.id not in found}
            found |= new
            generation = list(new.values())
        del found[self.id]
        return tuple(found.values())

    def __repr__(self) -> str:
        made = f" by {self.producer.node} in run {self.producer.run}" if self.producer else ""
        return f"<{self.type} {self.id}{made}: {self.uri}>"


class Store:
    """What a pipeline's runs have left; an artifact is the same object however it is reached."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._artifacts: dict[int, Artifact] = {}
        self._executions: dict[int, Execution] = {}
        self._producers: dict[int, Execution | None] = {}
        self._inputs: dict[int, tuple[Artifact, ...]] = {}

    def artifact(self, artifact_id: int) -> Artifact:
        """The artifact with that id.

        Raises:
          UserError: there is none.
        """
        # The store's ids have 64 bits; it fails on more.
        found = self._artifacts_by_id([artifact_id]) if artifact_id < 2**63 else {}
        if artifact_id not in found:
            raise UserError(f"there is no artifact {artifact_id} in the metadata store")
        return found[artifact_id]

    def live_model(self) -> Artifact:
        """The model that was pushed last.

        Raises:
          UserError: none has been.
        """
        pushed = (
            artifact
            for artifact in self._store.get_artifacts_by_type(PUSHED_MODEL)
            if artifact.custom_properties["pushed"].int_value == 1
        )
        newest = max(pushed, key=lambda a: (a.create_time_since_epoch, a.id), default=None)
        if newest is None:
            raise UserError(
                "no model is live yet: no run has pushed one. Its gate, evaluator and canary must "
                "all pass; the summary at a run's end says which did not"
            )
        return self._remember([newest])[newest.id]

    def _artifacts_by_id(self, ids: Iterable[int]) -> dict[int, Artifact]:
        wanted = list(dict.fromkeys(ids))
        unknown = [i for i in wanted if i not in self._artifacts]
        if unknown:
            self._remember(self._store.get_artifacts_by_id(unknown))
        return {i: self._artifacts[i] for i in wanted if i in self._artifacts}

    def _remember(self, artifacts: Iterable[pb.Artifact]) -> dict[int, Artifact]:
        for a in artifacts:
            if a.id not in self._artifacts:
                self._artifacts[a.id] = Artifact(
                    id=a.id,
                    type=a.type,
                    uri=a.uri,
                    properties={
                        key: _value(value)
                        for found in (a.properties, a.custom_properties)
                        for key, value in found.items()
                    },
                    created=datetime.fromtimestamp(a.create_time_since_epoch / 1000, UTC),
                    _store=self,
                )
        return self._artifacts

    def _producers_of(self, artifacts: Iterable[Artifact]) -> dict[int, Execution | None]:
        """The producers by the artifacts' ids."""
        ids = [artifact.id for artifact in artifacts]
        unknown = [i for i in ids if i not in self._producers]
        if unknown:
            # A resolver's event is an INTERNAL_OUTPUT: it passes on what others made.
            events = [
                event
                for event in self._store.get_events_by_artifact_ids(unknown)
                if event.type == pb.Event.OUTPUT
            ]
            maker_ids = list({event.execution_id for event in events})
            executions = {e.id: e for e in self._store.get_executions_by_id(maker_ids)}
            for artifact_id in unknown:
                made = [executions[e.execution_id] for e in events if e.artifact_id == artifact_id]
                self._producers[artifact_id] = self._execution(_maker(made)) if made else None
        return {i: self._producers[i] for i in ids}

    def _execution(self, execution: pb.Execution) -> Execution:
        if execution.id not in self._executions:
            contexts = self._store.get_contexts_by_execution(execution.id)
            names = {context.type: context.name for context in contexts}
            self._executions[execution.id] = Execution(
                id=execution.id,
                node=names.get("node", "").partition(".")[2] or execution.type,
                run=names.get("pipeline_run", ""),
                state=pb.Execution.State.Name(execution.last_known_state).lower(),
                _store=self,
            )
        return self._executions[execution.id]

    def _inputs_of(self, executions: Iterable[Execution]) -> dict[int, tuple[Artifact, ...]]:
        """The inputs by the executions' ids."""
        ids = [execution.id for execution in executions]
        unknown = [i for i in ids if i not in self._inputs]
        if unknown:
            events = [
                event
                for event in self._store.get_events_by_execution_ids(unknown)
                if event.type in _INPUTS
            ]
            events.sort(key=lambda e: [(step.key, step.index) for step in e.path.steps])
            artifacts = self._artifacts_by_id(event.artifact_id for event in events)
            for execution_id in unknown:
                # Once each, though an execution may read an artifact under two keys.
                read = dict.fromkeys(
                    e.artifact_id for e in events if e.execution_id == execution_id
                )
                self._inputs[execution_id] = tuple(artifacts[i] for i in read if i in artifacts)
        return {i: self._inputs[i] for i in ids}

    def _children_of(self, artifact: Artifact) -> tuple[Artifact, ...]:
        events = self._store.get_events_by_artifact_ids([artifact.id])
        readers = {event.execution_id for event in events if event.type in _INPUTS}
        made = self._store.get_events_by_execution_ids(list(readers)) if readers else []
        ids = sorted(event.artifact_id for event in made if event.type == pb.Event.OUTPUT)
        return tuple(self._artifacts_by_id(ids).values())


def _maker(executions: Iterable[pb.Execution]) -> pb.Execution:
    """Which of those that put out an artifact made it: others took it from the cache, or failed."""
    return min(executions, key=lambda e: (e.last_known_state != pb.Execution.COMPLETE, e.id))


def _value(value: pb.Value) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    content = getattr(value, kind)
    return (
        json_format.MessageToDict(content) if kind in ("struct_value", "proto_value") else content
    )


def tree(artifact: Artifact) -> Tree:
    """The ancestors of an artifact for a terminal, each told once, where it is nearest.

    It ends at models that were live before, whose own ancestors are another tree.
    """
    from rich.tree import Tree

    artifact.ancestors()  # asks the store for all of them, a generation at a time
    root = Tree(_label(artifact))
    told = {artifact.id}
    waiting = deque([(artifact, root)])
    while waiting:
        child, branch = waiting.popleft()
        elsewhere = [f"{p.type} {p.id}" for p in child.parents() if p.id in told]
        for parent in child.parents():
            if parent.id in told:
                continue
            told.add(parent.id)
            added = branch.add(_label(parent))
            if parent.type != PUSHED_MODEL:
                waiting.append((parent, added))
            elif parent.parents():
                added.add(f"[dim]lineage {parent.id} goes on from here")
        if elsewhere:
            branch.add(f"{', '.join(elsewhere)} [dim](in a branch of this tree)")
    return root


def registration(artifact: Artifact) -> tuple[str, str] | None:
    """The name and the version in MLflow of a pushed model or a champion."""
    for near in (artifact, *artifact.parents()):
        for child in near.children():
            if child.type == REGISTRATION and child.properties.get("model_version"):
                return child.properties["model_name"], child.properties["model_version"]
    return None


def _label(artifact: Artifact) -> Text:
    from rich.text import Text

    facts = [f"{artifact.created.astimezone():%Y-%m-%d %H:%M:%S}", *_facts(artifact.properties)]
    if artifact.producer:
        facts.insert(0, f"{artifact.producer.node} in run {artifact.producer.run}")
    return Text.assemble(
        (f"{artifact.type} {artifact.id}", "bold"),
        f"  {', '.join(facts)}\n",
        (artifact.uri, "dim"),
    )


def _facts(properties: Mapping[str, Any]) -> Iterator[str]:
    if "span" in properties:
        yield f"span {properties['span']}"
    for key in sorted(properties, reverse=True):  # rows_train, rows_eval, rows_dropped
        if key.startswith("rows_") and isinstance(properties[key], int) and properties[key]:
            yield f"{properties[key]:,} {key.removeprefix('rows_')} rows"
    if "blessed" in properties and isinstance(properties["blessed"], int):
        yield "blessed" if properties["blessed"] else "not blessed"
    if properties.get("framework"):
        yield str(properties["framework"])
    if "pushed_version" in properties:
        yield f"version {properties['pushed_version']}"
