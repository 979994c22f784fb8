"""What a store knows of one pipeline, read in a few questions: runs, artifacts, who made what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.errors import UserError
from pipeline.lineage.artifact import EXAMPLES
from pipeline.store import record

PINNED = "pinned"
"""The fact of a run that keeps what it used: "yes", or nothing."""
_PUSHED_MODEL = "PushedModel"
_CACHE = "TransformCache"
_STATISTICS = "ExampleStatistics"
_BASES = ("base_model", "base_transform_graph")
_SOURCE = "source_model_uri"
_MOVE = "registry-"
"""What the names of the contexts begin with under which `registry` makes a version live."""
_INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)


@dataclass(frozen=True)
class Run:
    """A run together with its backfills."""

    id: str
    newest: int
    """Grows from run to run."""
    executions: frozenset[int]
    pinned: bool
    running: bool
    """By what the store has; a local run that was killed seems to be at work as well."""


@dataclass(frozen=True)
class History:
    """What the runs of a pipeline have left in the store."""

    runs: tuple[Run, ...]
    """The newest first."""
    artifacts: Mapping[int, pb.Artifact]
    """What they read or made, by id."""
    inputs: Mapping[int, frozenset[int]]
    """The artifacts that an execution read."""
    outputs: Mapping[int, frozenset[int]]
    """Those that it put out, be it from the cache, or as a resolver."""
    makers: Mapping[int, frozenset[int]]
    """The executions that made an artifact, or were about to."""
    foreign: frozenset[int]
    """The artifacts that another pipeline used as well."""
    bases: frozenset[tuple[int, int]] = frozenset()
    """Executions, each with a model or a transform graph of an earlier run that it went on from."""

    def used_by(self, run: Run) -> set[int]:
        """The artifacts that a run read or put out, those from the cache included."""
        return {a for e in run.executions for a in (*self.inputs[e], *self.outputs[e])}

    def with_checks(self, artifacts: set[int]) -> set[int]:
        """Also what the nodes up to the data gate found out about the spans among them.

        A later run whose window has such a span takes that as it is, and does not ask again.
        """
        spans = {i for i in artifacts if self.artifacts[i].type == EXAMPLES}
        statistics = {i for i in self._made_of(spans) if self.artifacts[i].type == _STATISTICS}
        return artifacts | statistics | self._made_of(statistics)

    def _made_of(self, artifacts: set[int]) -> set[int]:
        return {i for e, read in self.inputs.items() if read & artifacts for i in self.outputs[e]}

    def origin(self, artifact: int) -> set[int]:
        """The artifact and its ancestors.

        They end at models that were live before, whose own ancestors made none of this one: it
        was but compared with them; and at a model that it went on from, and its transform graph:
        they are whole by themselves. What only saved an analysis is none of them.
        """
        found = {artifact}
        waiting = [artifact]
        while waiting:
            makers = self.makers.get(waiting.pop(), ())
            read = {(e, parent) for e in makers for parent in self.inputs[e]}
            new = {a for _, a in read if self.artifacts[a].type != _CACHE} - found
            found |= new
            ends = {a for e, a in read if (e, a) in self.bases}
            waiting += [a for a in new - ends if self.artifacts[a].type != _PUSHED_MODEL]
        return found

    def live_models(self) -> list[int]:
        """The model that was pushed last, and the one before that was another."""
        pushed = [
            artifact
            for artifact in self.artifacts.values()
            if artifact.type == _PUSHED_MODEL
            and artifact.custom_properties["pushed"].int_value == 1
            and self.makers.get(artifact.id)
        ]
        pushed.sort(key=lambda a: (a.create_time_since_epoch, a.id), reverse=True)
        sources = [artifact.custom_properties[_SOURCE].string_value for artifact in pushed]
        earlier = [a.id for a, source in zip(pushed, sources, strict=True) if source != sources[0]]
        return [artifact.id for artifact in pushed[:1]] + earlier[:1]


def read(store: MetadataStore, pipeline: str) -> History:
    """The history of the pipeline of that name.

    Raises:
      UserError: the store knows none of that name.
    """
    parent = store.get_context_by_type_and_name("pipeline", pipeline)
    if parent is None:
        raise UserError(f"the metadata store knows no run of {pipeline}; check name in the config")
    executions = {e.id: e for e in store.get_executions_by_context(parent.id)}
    inputs: dict[int, set[int]] = {e: set() for e in executions}
    outputs: dict[int, set[int]] = {e: set() for e in executions}
    makers: defaultdict[int, set[int]] = defaultdict(set)
    bases = set()
    events = store.get_events_by_execution_ids(list(executions)) if executions else []
    for event in events:
        kind = inputs if event.type in _INPUTS else outputs
        kind[event.execution_id].add(event.artifact_id)
        cached = executions[event.execution_id].last_known_state == pb.Execution.CACHED
        if kind is inputs and any(step.key in _BASES for step in event.path.steps):
            bases.add((event.execution_id, event.artifact_id))
        if event.type == pb.Event.OUTPUT and not cached:
            makers[event.artifact_id].add(event.execution_id)
    ids = sorted({event.artifact_id for event in events})
    everyone = store.get_events_by_artifact_ids(ids) if ids else []
    return History(
        runs=_runs(store, pipeline, executions),
        artifacts={a.id: a for a in store.get_artifacts_by_id(ids)} if ids else {},
        inputs=_frozen(inputs),
        outputs=_frozen(outputs),
        makers=_frozen(makers),
        bases=frozenset(bases),
        foreign=frozenset(e.artifact_id for e in everyone if e.execution_id not in executions),
    )


def pin(store: MetadataStore, pipeline: str, run_id: str, *, off: bool = False) -> None:
    """Has `gc` keep what a run used, or keep it no longer.

    Raises:
      UserError: there is no such run.
    """
    known = [run.id for run in read(store, pipeline).runs]
    if run_id not in known:
        newest = ", ".join(known[:5]) or "none"
        raise UserError(f"{pipeline} has no run {run_id}; the newest ones are: {newest}")
    record.write(store, run_id, {PINNED: "" if off else "yes"})


def _runs(
    store: MetadataStore, pipeline: str, executions: Mapping[int, pb.Execution]
) -> tuple[Run, ...]:
    parts: defaultdict[str, list[_Part]] = defaultdict(list)
    # Not by the pipeline's context: a run that was noted down before its nodes is not below it.
    for context in store.get_contexts_by_type(record.RUN):
        facts = record.texts(context)
        if context.name.startswith(_MOVE) or facts.get("pipeline", pipeline) != pipeline:
            continue
        all_of_it = {e.id for e in store.get_executions_by_context(context.id)}
        mine = all_of_it & executions.keys()
        if mine or "pipeline" in facts:
            parts[_run_id(context.name)].append(_Part(context.id, facts, mine))
    runs = [_run(run_id, found, executions) for run_id, found in parts.items()]
    return tuple(sorted(runs, key=lambda run: run.newest, reverse=True))


@dataclass(frozen=True)
class _Part:
    """The context of a run, or of one of its backfills."""

    context: int
    facts: dict[str, str]
    executions: set[int]


def _run(run_id: str, parts: Sequence[_Part], executions: Mapping[int, pb.Execution]) -> Run:
    mine = frozenset[int]().union(*(part.executions for part in parts))
    at_work = any(executions[e].last_known_state == pb.Execution.RUNNING for e in mine)
    facts = [part.facts for part in parts]
    told = [(fact["started"], fact.get("finished", "")) for fact in facts if "started" in fact]
    return Run(
        id=run_id,
        newest=max(part.context for part in parts),
        executions=mine,
        pinned=any(fact.get(PINNED) for fact in facts),
        # What a killed task left at work is not, once the run has noted down its end.
        running=any(end < begin for begin, end in told) if told else at_work,
    )


def _run_id(context: str) -> str:
    """The run that a context belongs to: a backfill's is named RUN-span-NUMBER."""
    run_id, _, span = context.rpartition("-span-")
    return run_id if run_id and span.isdecimal() else context


def _frozen(sets: Mapping[int, set[int]]) -> dict[int, frozenset[int]]:
    return {key: frozenset(values) for key, values in sets.items()}
