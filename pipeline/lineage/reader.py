"""Asks the metadata store in bulk, and remembers the answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import count
from types import MappingProxyType
from typing import Any

from google.protobuf import json_format
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from ml_metadata.proto import metadata_store_service_pb2 as service

from pipeline.errors import UserError
from pipeline.lineage import decision, deployment
from pipeline.lineage.artifact import PUSHED_MODEL, Artifact
from pipeline.lineage.decision import Decisions
from pipeline.lineage.deployment import Deployment
from pipeline.lineage.events import GIVEN, INPUTS, MADE, Events, Ids, once
from pipeline.lineage.places import Place, Places
from pipeline.lineage.run import COMPLETE, RESULT, Node, Run, moment, parent_of, state_of
from pipeline.store import record

_PAGE, _LARGEST_PAGE = 20, 100
"""ML Metadata gives 101 at most, and leaves out the rest of a larger page without a word."""
_DEEP = 16
"""Generations."""
_ALIKE = 0.8
"""How alike a run's id is to what was meant by it: those of two days are it by 0.7."""

Ends = dict[str, tuple[Artifact, ...]]
"""The inputs, or the outputs, of a node by their names."""


class Reader:
    """What the store holds, as it is when first asked.

    A question for many things is one question to the store, since each costs more than its answer.
    """

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        self._events = Events(store)
        self._places = Places(self)
        self._artifacts: dict[int, Artifact] = {}
        self._nodes: dict[int, Node] = {}
        self._runs: dict[str, Run | None] = {}
        self._listed: list[Run] = []
        self._unlisted = _newest(store, "GetContextsByType", "contexts", record.RUN)
        self._of_runs: dict[int, tuple[Node, ...]] = {}
        self._makers: dict[int, int | None] = {}
        self._whole: dict[str, set[int]] = {}
        """The numbers of all artifacts of the types that were read as a whole."""

    def artifacts(self, ids: Iterable[int]) -> dict[int, Artifact]:
        """The artifacts by their ids, in the order of these; those that are not there left out."""
        wanted = list(dict.fromkeys(ids))
        unknown = [i for i in wanted if i not in self._artifacts]
        if unknown:
            self.remember(self.store.get_artifacts_by_id(unknown))
        return {i: self._artifacts[i] for i in wanted if i in self._artifacts}

    def remember(self, artifacts: Iterable[pb.Artifact]) -> tuple[Artifact, ...]:
        """The artifacts that were read; each is the same object however it is reached."""
        return tuple(self._artifacts.get(a.id) or self._artifact(a) for a in artifacts)

    def find(self, kind: str | None, properties: Mapping[str, Any]) -> tuple[Artifact, ...]:
        """The artifacts of a type, or of any, that have these properties."""
        store = self.store
        found = store.get_artifacts() if kind is None else store.get_artifacts_by_type(kind)
        # Most are left out before they are made into anything.
        wanted = (a for a in found if all(_has(a, *wish) for wish in properties.items()))
        return self.remember(wanted)

    def _artifact(self, artifact: pb.Artifact) -> Artifact:
        made = self._artifacts[artifact.id] = Artifact(
            id=artifact.id,
            type=artifact.type,
            uri=artifact.uri,
            properties=_fixed(values(artifact.properties) | values(artifact.custom_properties)),
            created=moment(artifact.create_time_since_epoch),
            state=str(pb.Artifact.State.Name(artifact.state)).lower(),
            _reader=self,
        )
        return made

    def nodes(self, ids: Iterable[int]) -> dict[int, Node]:
        """The nodes by the ids of their executions, in the order of these."""
        wanted = list(dict.fromkeys(ids))
        unknown = [i for i in wanted if i not in self._nodes]
        if unknown:
            self._remember_nodes(self.store.get_executions_by_id(unknown))
        return {i: self._nodes[i] for i in wanted if i in self._nodes}

    def _remember_nodes(self, executions: Iterable[pb.Execution]) -> tuple[Node, ...]:
        return tuple(self._nodes.get(e.id) or self._node(e) for e in executions)

    def _node(self, execution: pb.Execution) -> Node:
        properties = values(execution.properties) | values(execution.custom_properties)
        made = self._nodes[execution.id] = Node(
            id=execution.id,
            type=execution.type,
            state=state_of(execution),
            begun=moment(execution.create_time_since_epoch),
            changed=moment(execution.last_update_time_since_epoch),
            settings=_fixed({k: v for k, v in properties.items() if not k.startswith("__")}),
            _result=str(properties.get(RESULT) or ""),
            _reader=self,
        )
        return made

    def place(self, node: Node) -> Place:
        """The node's id, and the names of the run and of the pipeline that it belongs to."""
        return self._places.of(node)

    def runs(self) -> Iterator[Run]:
        """Every run and every backfill, the newest first; read as far as is looked at."""
        for i in count():
            if i == len(self._listed):
                context = next(self._unlisted, None)
                if context is None:
                    return
                self._listed.append(self._runs.get(context.name) or self._run(context))
            yield self._listed[i]

    def _run(self, context: pb.Context) -> Run:
        made = self._runs[context.name] = Run(
            id=context.name,
            facts=_fixed(record.texts(context)),
            begun=moment(context.create_time_since_epoch),
            _context=context.id,
            _reader=self,
        )
        return made

    def known_run(self, run_id: str) -> Run | None:
        """The run, or the backfill, with that id, or None if there is none."""
        if run_id not in self._runs:
            context = self.store.get_context_by_type_and_name(record.RUN, run_id)
            self._runs[run_id] = self._run(context) if context else None
        return self._runs[run_id]

    def run(self, run_id: str) -> Run:
        """The run, or the backfill, with that id.

        Raises:
          UserError: there is none.
        """
        run = self.known_run(run_id)
        if run is None:
            from difflib import get_close_matches

            known = tuple(self.runs())
            newest = next(filter(self.stands_alone, known), None)
            hint = f"; the newest is {newest.id}" if newest else ": it has none yet"
            if near := get_close_matches(run_id, [run.id for run in known], 1, _ALIKE):
                hint = f"; did you mean {near[0]}?"
            raise UserError(f"there is no run {run_id!r} in the metadata store{hint}")
        return run

    def stands_alone(self, run: Run) -> bool:
        """Whether it is no backfill of a run that is there."""
        parent = parent_of(run.id)
        return parent is None or self.known_run(parent) is None

    def backfills(self, run: Run) -> tuple[Run, ...]:
        """The backfills of a run, the oldest first."""
        found, passed = [], False
        for other in self.runs():
            if parent_of(other.id) == run.id:
                found.append(other)
            elif passed and "started" in run.facts:
                break  # Its own are next to it, as its facts are kept before any of its nodes run.
            passed = passed or other is run
        return tuple(reversed(found))

    def nodes_of_run(self, context: int) -> tuple[Node, ...]:
        """Everything that ran in a run, in the order of its begin."""
        if context not in self._of_runs:
            self._of_runs[context] = self._remember_nodes(self.executions_of(context))
        return self._of_runs[context]

    def executions_of(self, context: int) -> list[pb.Execution]:
        """The executions of a run or of a node, by their numbers.

        ML Metadata's own method asks for them by pages and by time, which takes twice as long.
        """
        request = service.GetExecutionsByContextRequest(context_id=context)
        response = service.GetExecutionsByContextResponse()
        self.store._call("GetExecutionsByContext", request, response)
        return list(response.executions)

    def read_ahead(self, runs: Iterable[Run], kind: str) -> None:
        """Reads what the nodes of all these runs made of a type, before they are asked singly."""
        self._whole[kind] = {a.id for a in self.remember(self.store.get_artifacts_by_type(kind))}
        self._events.load([node.id for run in runs for node in run.tries])

    def made_of_type(self, nodes: Iterable[Node], kind: str) -> tuple[Artifact, ...]:
        """What nodes made of a type, or found in the cache; of resolvers nothing."""
        ids = [node.id for node in nodes]
        self._events.load(ids)
        made = [a for i in ids for a in once(self._events.ends(i, MADE))]
        if kind in self._whole:
            made = [a for a in made if a in self._whole[kind]]
        artifacts = self.artifacts(made)
        return tuple(artifacts[a] for a in made if a in artifacts and artifacts[a].type == kind)

    def producers(self, artifacts: Iterable[Artifact]) -> dict[int, Node | None]:
        """The producers by the artifacts' ids."""
        makers = self._makers_of(artifact.id for artifact in artifacts)
        nodes = self.nodes(maker for maker in makers.values() if maker)
        return {i: nodes[maker] if maker else None for i, maker in makers.items()}

    def _makers_of(self, artifacts: Iterable[int]) -> dict[int, int | None]:
        """The first execution that made each artifact, and came to its end."""
        users = self._events.users(artifacts)
        unsure = {}
        for i, users_of in users.items():
            if i not in self._makers:
                if len(users_of.makers) > 1:
                    unsure[i] = users_of.makers
                else:
                    self._makers[i] = users_of.makers[0] if users_of.makers else None
        # Others than the maker took it from the cache, or failed: it is nearly always the first.
        take = 2
        while unsure:
            states = self.nodes(maker for makers in unsure.values() for maker in makers[:take])
            for i, makers in list(unsure.items()):
                whole = next((m for m in makers[:take] if states[m].state == COMPLETE), None)
                if whole or take >= len(makers):
                    self._makers[i] = whole or makers[0]
                    del unsure[i]
            take *= 8
        return {i: self._makers[i] for i in users}

    def put_out_last(self, artifact: Artifact) -> int:
        """The number of the last execution that made it, or found it in the cache; 0: none did."""
        return max(self._events.users([artifact.id])[artifact.id].makers, default=0)

    def consumers(self, artifacts: Iterable[Artifact]) -> dict[int, tuple[Node, ...]]:
        """Those that read an artifact, by the artifacts' ids."""
        users = self._events.users(artifact.id for artifact in artifacts)
        nodes = self.nodes(sorted({r for users_of in users.values() for r in users_of.readers}))
        return {i: tuple(nodes[r] for r in users_of.readers) for i, users_of in users.items()}

    def inputs(self, nodes: Iterable[Node]) -> dict[int, Ends]:
        """What nodes read, by the executions' ids."""
        return self._ends(nodes, INPUTS)

    def outputs(self, nodes: Iterable[Node]) -> dict[int, Ends]:
        """What nodes gave, by the executions' ids."""
        return self._ends(nodes, GIVEN)

    def made(self, nodes: Iterable[Node]) -> dict[int, tuple[Artifact, ...]]:
        """What nodes made, or found in the cache, by the executions' ids; of resolvers nothing."""
        ends = self._ends(nodes, MADE)
        return {i: tuple(dict.fromkeys(a for g in e.values() for a in g)) for i, e in ends.items()}

    def _ends(self, nodes: Iterable[Node], types: tuple[int, ...]) -> dict[int, Ends]:
        ids = [node.id for node in nodes]
        self._events.load(ids)
        found = {i: self._events.ends(i, types) for i in ids}
        artifacts = self.artifacts(i for ends in found.values() for i in once(ends))
        return {
            i: {k: tuple(artifacts[a] for a in group if a in artifacts) for k, group in e.items()}
            for i, e in found.items()
        }

    def parents(self, artifacts: Iterable[Artifact]) -> dict[int, tuple[Artifact, ...]]:
        """What artifacts were made of, by their ids, in the order of the inputs' names."""
        return self._known(self._parents(artifact.id for artifact in artifacts))

    def children(self, artifacts: Iterable[Artifact]) -> dict[int, tuple[Artifact, ...]]:
        """What was made of artifacts, by their ids."""
        return self._known(self._children(artifact.id for artifact in artifacts))

    def _known(self, near: Mapping[int, Ids]) -> dict[int, tuple[Artifact, ...]]:
        artifacts = self.artifacts(i for ids in near.values() for i in ids)
        return {i: tuple(artifacts[a] for a in ids if a in artifacts) for i, ids in near.items()}

    def _parents(self, artifacts: Iterable[int]) -> dict[int, Ids]:
        makers = self._makers_of(artifacts)
        read = self._events.read(maker for maker in makers.values() if maker)
        return {i: read[maker] if maker else () for i, maker in makers.items()}

    def _children(self, artifacts: Iterable[int]) -> dict[int, Ids]:
        users = self._events.users(artifacts)
        made = self._events.made(r for users_of in users.values() for r in users_of.heirs)
        return {
            i: tuple(sorted({a for r in users_of.heirs for a in made[r]}))
            for i, users_of in users.items()
        }

    def reached(
        self,
        artifact: Artifact,
        *,
        back: bool,
        through: Collection[str] | None = None,
        to: str = "",
    ) -> tuple[Artifact, ...]:
        """An artifact's parents, their parents and so on, each once, the nearest first.

        Args:
          artifact: where it begins.
          back: whether to go to parents; else to children.
          through: the only types to go by; all where there are none.
          to: one of these, at whose artifacts it ends.
        """
        step: Callable[[Iterable[int]], dict[int, Ids]] = self._parents if back else self._children
        found = {artifact.id: None}
        generation = [artifact.id]
        depth = 0
        while generation:
            depth += 1
            if depth % _DEEP == 0:
                # A long history: as much again at once, since what is near in time is often next.
                first = max(generation) - len(found) if back else min(generation)
                step(range(max(1, first), first + len(found) + 1))
            # A generation at a time, as each question to the store costs more than its answer.
            near = dict.fromkeys(i for ids in step(generation).values() for i in ids)
            generation = [i for i in near if i not in found]
            if through is not None:
                of = self.artifacts(generation)
                generation = [i for i in of if of[i].type in through]
            found |= dict.fromkeys(generation)
            if through is not None:
                generation = [i for i in generation if of[i].type != to]
        del found[artifact.id]
        return tuple(self.artifacts(found).values())

    @cached_property
    def deployments(self) -> tuple[Deployment, ...]:
        """Every deployment, the newest first."""
        return deployment.all_of(self)

    @cached_property
    def decisions(self) -> Decisions:
        """Every decision to retrain or not, the newest first."""
        return decision.all_of(self)

    @cached_property
    def live_model(self) -> Artifact | None:
        """The model that was pushed last, or None if none has been."""
        newest = _newest(self.store, "GetArtifactsByType", "artifacts", PUSHED_MODEL)
        pushed = next((found for found in newest if _has(found, "pushed", 1)), None)
        return self.remember([pushed])[0] if pushed else None


def _newest(store: MetadataStore, question: str, field: str, kind: str) -> Iterator[Any]:
    """What is of a kind, the newest first; a page at a time, as far as it is looked at.

    ML Metadata's own methods ask for all of a type.
    """
    request = getattr(service, f"{question}Request")(type_name=kind)
    order = request.options.order_by_field
    order.field, order.is_asc = pb.ListOperationOptions.OrderByField.CREATE_TIME, False
    request.options.max_result_size = _PAGE
    while True:
        response = getattr(service, f"{question}Response")()
        store._call(question, request, response)
        yield from getattr(response, field)
        if not response.next_page_token:
            return
        request.options.next_page_token = response.next_page_token
        request.options.max_result_size = _LARGEST_PAGE


def _has(artifact: pb.Artifact, key: str, value: Any) -> bool:
    for properties in (artifact.custom_properties, artifact.properties):
        if key in properties:
            found = _value(properties[key])
            # What looks like a number may be kept as a text, as MLflow's versions are.
            kinds = {type(found), type(value)}
            return bool(found == value) or (kinds == {int, str} and str(found) == str(value))
    return False


def _fixed(content: dict[str, Any]) -> Mapping[str, Any]:
    """Read-only, and in the order of the keys: that of the store differs from time to time."""
    return MappingProxyType(dict(sorted(content.items())))


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
