"""Asks the metadata store in bulk, and remembers the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from google.protobuf import json_format
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.errors import UserError
from pipeline.lineage.artifact import PUSHED_MODEL, Artifact
from pipeline.lineage.run import RESULT, Node, Run, moment, parent_of, state_of
from pipeline.store import record

_INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)
# A resolver's event is an INTERNAL_OUTPUT: it passes on what others made.
_OUTPUTS = (pb.Event.OUTPUT, pb.Event.INTERNAL_OUTPUT)

Ends = dict[str, tuple[Artifact, ...]]
"""The inputs, or the outputs, of a node by their names."""


class Reader:
    """What the store holds, as it is when first asked.

    A question for many things is one question to the store, since each costs more than its answer.
    """

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        self._artifacts: dict[int, Artifact] = {}
        self._nodes: dict[int, Node] = {}
        self._places: dict[int, tuple[str, str, str]] = {}
        self._by_artifact: dict[int, list[pb.Event]] = {}
        self._by_node: dict[int, list[pb.Event]] = {}
        self._of_runs: dict[int, tuple[Node, ...]] = {}
        self._producers: dict[int, Node | None] = {}

    def artifacts(self, ids: Iterable[int]) -> dict[int, Artifact]:
        """The artifacts by their ids, in the order of these; those that are not there left out."""
        wanted = list(dict.fromkeys(ids))
        unknown = [i for i in wanted if i not in self._artifacts]
        if unknown:
            self.remember(self.store.get_artifacts_by_id(unknown))
        return {i: self._artifacts[i] for i in wanted if i in self._artifacts}

    def beside(
        self, artifacts: Iterable[Artifact], count: int, *, back: bool
    ) -> tuple[Artifact, ...]:
        """The artifacts that were made just before these, or after; about `count`."""
        ids = [artifact.id for artifact in artifacts]
        first = max(1, min(ids) - count) if back else min(ids)
        last = max(ids) if back else max(ids) + count
        return tuple(self.artifacts(range(first, last + 1)).values())

    def remember(self, artifacts: Iterable[pb.Artifact]) -> tuple[Artifact, ...]:
        """The artifacts that were read; each is the same object however it is reached."""
        return tuple(self._artifacts.setdefault(a.id, self._artifact(a)) for a in artifacts)

    def _artifact(self, artifact: pb.Artifact) -> Artifact:
        return Artifact(
            id=artifact.id,
            type=artifact.type,
            uri=artifact.uri,
            properties=values(artifact.properties) | values(artifact.custom_properties),
            created=moment(artifact.create_time_since_epoch),
            state=str(pb.Artifact.State.Name(artifact.state)).lower(),
            _reader=self,
        )

    def nodes(self, ids: Iterable[int]) -> dict[int, Node]:
        """The nodes by the ids of their executions, in the order of these."""
        wanted = list(dict.fromkeys(ids))
        unknown = [i for i in wanted if i not in self._nodes]
        if unknown:
            self._remember_nodes(self.store.get_executions_by_id(unknown))
        return {i: self._nodes[i] for i in wanted if i in self._nodes}

    def _remember_nodes(self, executions: Iterable[pb.Execution]) -> tuple[Node, ...]:
        return tuple(self._nodes.setdefault(e.id, self._node(e)) for e in executions)

    def _node(self, execution: pb.Execution) -> Node:
        properties = values(execution.properties) | values(execution.custom_properties)
        return Node(
            id=execution.id,
            type=execution.type,
            state=state_of(execution),
            begun=moment(execution.create_time_since_epoch),
            changed=moment(execution.last_update_time_since_epoch),
            settings={k: v for k, v in properties.items() if not k.startswith("__")},
            _result=str(properties.get(RESULT) or ""),
            _reader=self,
        )

    def place(self, node: Node) -> tuple[str, str, str]:
        """The node's id, and the names of the run and of the pipeline that it belongs to."""
        if node.id not in self._places:
            # The one question that the store answers for a single execution only.
            contexts = self.store.get_contexts_by_execution(node.id)
            names = {context.type: context.name for context in contexts}
            name = names.get("node", "").partition(".")[2]
            self._places[node.id] = name, names.get(record.RUN, ""), names.get("pipeline", "")
        return self._places[node.id]

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Every run and every backfill by its id, the newest first."""
        found = self.store.get_contexts_by_type(record.RUN)
        found.sort(key=lambda c: (c.create_time_since_epoch, c.id), reverse=True)
        return {
            context.name: Run(
                id=context.name,
                facts=record.texts(context),
                begun=moment(context.create_time_since_epoch),
                _context=context.id,
                _reader=self,
            )
            for context in found
        }

    @cached_property
    def _backfills(self) -> Mapping[str, list[Run]]:
        found = defaultdict(list)
        for run in reversed(self.runs.values()):
            if parent := parent_of(run.id):
                found[parent].append(run)
        return found

    def backfills(self, run_id: str) -> tuple[Run, ...]:
        """The backfills of a run, the oldest first."""
        return tuple(self._backfills.get(run_id, ()))

    def nodes_of_run(self, context: int) -> tuple[Node, ...]:
        """Everything that ran in a run, in the order of its begin."""
        if context not in self._of_runs:
            found = self._remember_nodes(self.store.get_executions_by_context(context))
            self._of_runs[context] = tuple(sorted(found, key=lambda node: node.id))
        return self._of_runs[context]

    def read_ahead(self, runs: Iterable[Run]) -> None:
        """Reads what the nodes of all these runs made, before the runs are asked one by one."""
        self.made([node for run in runs for node in run.tries])

    def _events(
        self,
        known: dict[int, list[pb.Event]],
        ids: list[int],
        ask: Callable[[list[int]], list[pb.Event]],
        key: str,
    ) -> Iterator[pb.Event]:
        """The events of artifacts, or of nodes; the store is asked for those unknown."""
        unknown = [i for i in dict.fromkeys(ids) if i not in known]
        if unknown:
            known |= {i: [] for i in unknown}
            for event in ask(unknown):
                known[getattr(event, key)].append(event)
        return (event for i in dict.fromkeys(ids) for event in known[i])

    def _events_of_artifacts(self, artifacts: Iterable[Artifact]) -> Iterator[pb.Event]:
        ids = [artifact.id for artifact in artifacts]
        ask = self.store.get_events_by_artifact_ids
        return self._events(self._by_artifact, ids, ask, "artifact_id")

    def _events_of_nodes(self, nodes: Iterable[Node]) -> Iterator[pb.Event]:
        ids = [node.id for node in nodes]
        ask = self.store.get_events_by_execution_ids
        return self._events(self._by_node, ids, ask, "execution_id")

    def producers(self, artifacts: Iterable[Artifact]) -> dict[int, Node | None]:
        """The producers by the artifacts' ids."""
        artifacts = list(artifacts)
        unknown = [a for a in artifacts if a.id not in self._producers]
        events = [e for e in self._events_of_artifacts(unknown) if e.type == pb.Event.OUTPUT]
        makers = self.nodes(event.execution_id for event in events)
        made: dict[int, list[Node]] = defaultdict(list)
        for event in events:
            made[event.artifact_id].append(makers[event.execution_id])
        for artifact in unknown:
            # Others than the maker took it from the cache, or failed.
            self._producers[artifact.id] = min(
                made[artifact.id], key=lambda n: (n.state != "complete", n.id), default=None
            )
        return {artifact.id: self._producers[artifact.id] for artifact in artifacts}

    def consumers(self, artifacts: Iterable[Artifact]) -> dict[int, tuple[Node, ...]]:
        """Those that read an artifact, by the artifacts' ids."""
        artifacts = list(artifacts)
        events = [e for e in self._events_of_artifacts(artifacts) if e.type in _INPUTS]
        readers = self.nodes(sorted(event.execution_id for event in events))
        found: dict[int, dict[int, Node]] = {artifact.id: {} for artifact in artifacts}
        for event in sorted(events, key=lambda e: e.execution_id):
            found[event.artifact_id][event.execution_id] = readers[event.execution_id]
        return {i: tuple(nodes.values()) for i, nodes in found.items()}

    def inputs(self, nodes: Iterable[Node]) -> dict[int, Ends]:
        """What nodes read, by the executions' ids."""
        return self._ends(list(nodes), _INPUTS)

    def outputs(self, nodes: Iterable[Node]) -> dict[int, Ends]:
        """What nodes gave, by the executions' ids."""
        return self._ends(list(nodes), _OUTPUTS)

    def made(self, nodes: Iterable[Node]) -> dict[int, tuple[Artifact, ...]]:
        """What nodes made, or found in the cache, by the executions' ids; of resolvers nothing."""
        return _once(self._ends(list(nodes), (pb.Event.OUTPUT,)))

    def _ends(self, nodes: list[Node], types: tuple[int, ...]) -> dict[int, Ends]:
        events = [event for event in self._events_of_nodes(nodes) if event.type in types]
        artifacts = self.artifacts(event.artifact_id for event in events)
        found: dict[int, dict[str, list[tuple[int, int]]]]
        found = {node.id: defaultdict(list) for node in nodes}
        for event in events:
            for key, index in _steps(event):
                found[event.execution_id][key].append((index, event.artifact_id))
        return {
            node_id: {
                key: tuple(artifacts[i] for _, i in sorted(ends[key]) if i in artifacts)
                for key in sorted(ends)
            }
            for node_id, ends in found.items()
        }

    def parents(self, artifacts: Iterable[Artifact]) -> dict[int, tuple[Artifact, ...]]:
        """What the producers read, by the artifacts' ids, in the order of the inputs' names."""
        producers = self.producers(artifacts)
        read = _once(self.inputs({n.id: n for n in producers.values() if n}.values()))
        return {i: read[node.id] if node else () for i, node in producers.items()}

    def children(self, artifacts: Iterable[Artifact]) -> dict[int, tuple[Artifact, ...]]:
        """What was made by those who read an artifact, by the artifacts' ids."""
        readers = self.consumers(artifacts)
        made = self.made({n.id: n for nodes in readers.values() for n in nodes}.values())
        found = {}
        for artifact_id, nodes in readers.items():
            made_of_it = {a.id: a for node in nodes for a in made[node.id]}
            found[artifact_id] = tuple(made_of_it[i] for i in sorted(made_of_it))
        return found

    def run(self, run_id: str) -> Run:
        """The run, or the backfill, with that id.

        Raises:
          UserError: there is none.
        """
        if run_id not in self.runs:
            from difflib import get_close_matches

            near = get_close_matches(run_id, self.runs, 1) or list(self.runs)[:1]
            hint = f"; did you mean {near[0]}?" if near else ": it has none yet"
            raise UserError(f"there is no run {run_id!r} in the metadata store{hint}")
        return self.runs[run_id]

    @cached_property
    def live_model(self) -> Artifact | None:
        """The model that was pushed last, or None if none has been."""
        pushed = (
            artifact
            for artifact in self.remember(self.store.get_artifacts_by_type(PUSHED_MODEL))
            if artifact.properties.get("pushed") == 1
        )
        return max(pushed, key=lambda a: (a.created, a.id), default=None)


def _once(ends: Mapping[int, Ends]) -> dict[int, tuple[Artifact, ...]]:
    """Each artifact once, though a node may have it under two names."""
    return {
        i: tuple(dict.fromkeys(artifact for group in named.values() for artifact in group))
        for i, named in ends.items()
    }


def _steps(event: pb.Event) -> Iterator[tuple[str, int]]:
    """The names under which a node has an artifact, with its place among those of the name.

    TFX writes the place as a step of its own.
    """
    key, index = "", 0
    for step in event.path.steps:
        if step.HasField("index"):
            index = step.index
            continue
        if key:
            yield key, index
        key, index = step.key, 0
    yield key, index


def values(properties: Mapping[str, pb.Value]) -> dict[str, Any]:
    """Properties as Python has them."""
    return {key: _value(value) for key, value in properties.items()}


def _value(value: pb.Value) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    content = getattr(value, kind)
    return (
        json_format.MessageToDict(content) if kind in ("struct_value", "proto_value") else content
    )
