"""What the metadata store keeps of decisions to retrain or not: why each run happened, or did not.

A decision is an execution that read the span's examples and statistics and the live model. One that
starts a run is RUNNING until the run has come to its end, so that whoever goes on after a crash
finds what was begun.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config import PipelineConfig
from pipeline.store import connect, database, record

CONTEXT, EXECUTION = "retraining", "RetrainDecision"
"""The types: a context for each pipeline, and in it an execution for each decision."""
RETRAIN, WAIT, REFUSED = "retrain", "wait", "refused"
"""The verdicts: a run was started; none was; the span is no data that one could learn from."""
PROMOTE, KEEP = "promote", "keep"
"""The verdicts about a challenger: it goes live; it is dropped, and the live model stays."""
VERDICTS = (RETRAIN, WAIT, REFUSED, PROMOTE, KEEP)
_BEGUN = (RETRAIN, PROMOTE, KEEP)
"""Those that something is to be done about."""
TO_DECIDE = "to decide about it"
"""How the note ends of a run that takes a span in, so that it can be looked at."""
COMPLETE, FAILED, RUNNING = "complete", "failed", "running"
_STATES = {
    pb.Execution.COMPLETE: COMPLETE,
    pb.Execution.FAILED: FAILED,
    pb.Execution.RUNNING: RUNNING,
}
_POSTPONED = "postponed"
_ENDS = {COMPLETE: pb.Execution.COMPLETE, FAILED: pb.Execution.FAILED}


@dataclass(frozen=True)
class Facts:
    """What was decided, and from what."""

    pipeline: str
    span: int
    content: str
    """SHA-256 of the span's files, which tells one delivery from another."""
    listing: str
    """SHA-256 of their names, sizes and times of change: the same spares looking into them."""
    verdict: str
    """RETRAIN, WAIT or REFUSED; PROMOTE or KEEP where it is about a challenger."""
    reason: str
    """One sentence."""
    numbers: str
    """What each rule of the policy found, as JSON."""
    policy: str
    """The section [continuous] of the configuration, as JSON."""
    observed: str = field(default="", kw_only=True)
    """What was known of the span, as JSON; empty where it could not be looked at, and in what was
    decided before this was kept."""


@dataclass(frozen=True)
class Record(Facts):
    """A decision as the store has it."""

    id: int
    """Of its execution."""
    when: datetime
    state: str
    """RUNNING until the run that it started is over; then COMPLETE, or FAILED as that run did."""
    run_id: str
    """The run that it started; empty where there is none (yet)."""
    failure: str
    """Why the last try failed; empty where none did."""
    tries: int
    """How often the run was tried, and failed."""
    next_try: datetime | None
    """Not to be tried again before; None where it may be at once."""


@dataclass(frozen=True)
class Postponed:
    """A span that could not be taken in, through no fault of its own."""

    tries: int
    """How often that was tried since it last could be."""
    next_try: datetime


@contextmanager
def alone(config: PipelineConfig) -> Iterator[MetadataStore]:
    """The store, to write to for a moment; no other process that asks so has it meanwhile.

    Its tables are made where there are none: data is watched before a pipeline first runs.

    Raises:
      UserError: it cannot be reached, or it is something else.
    """
    connection = connect.writable(config)
    if connection.HasField("sqlite"):
        with Path(f"{connection.sqlite.filename_uri}.lock").open(
            "a"
        ) as lock:  # The one that the nodes of a run take.
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield connect.opened(connection)
        return
    with database.locked(connection, meanwhile="another process writes to it"):
        store = connect.opened(connection)
        database.allow_long_texts(connection)
        yield store


def write(store: MetadataStore, facts: Facts, inputs: Mapping[str, int]) -> int:
    """Keeps a decision; its id.

    Args:
      store: opened to write to.
      facts: what was decided.
      inputs: the numbers of the artifacts that were read, by what they are, as in "statistics".
    """
    context = record.named(store, CONTEXT, facts.pipeline)
    execution = pb.Execution(
        type_id=store.put_execution_type(pb.ExecutionType(name=EXECUTION)),
        last_known_state=(
            pb.Execution.RUNNING if facts.verdict in _BEGUN else pb.Execution.COMPLETE
        ),
    )
    for key, value in vars(facts).items():
        if isinstance(value, int):
            execution.custom_properties[key].int_value = value
        else:
            execution.custom_properties[key].string_value = value
    artifacts = store.get_artifacts_by_id(list(inputs.values())) if inputs else []
    known = {artifact.id: artifact for artifact in artifacts}
    pairs = [(known[i], _read_as(name, i)) for name, i in inputs.items()]
    # In one transaction: who dies before its end has decided nothing.
    made, _, _ = store.put_execution(execution, pairs, [context])
    return int(made)


def _read_as(name: str, artifact: int) -> pb.Event:
    event = pb.Event(artifact_id=artifact, type=pb.Event.INPUT)
    event.path.steps.add().key = name
    event.path.steps.add().index = 0
    return event


def started(store: MetadataStore, decision: int, run_id: str) -> None:
    """Keeps which run the decision started."""
    _change(store, decision, run_id=run_id)


def failed_once(
    store: MetadataStore, decision: int, *, tries: int, failure: str, next_try: datetime
) -> None:
    """Keeps that a try failed, and when there may be another one."""
    _change(store, decision, tries=str(tries), failure=failure, next_try=next_try.isoformat())


def ended(store: MetadataStore, decision: int, state: str, *, failure: str = "") -> None:
    """Keeps that the run is over: COMPLETE, or FAILED and why."""
    _change(store, decision, _ENDS[state], failure=failure)


def _change(store: MetadataStore, decision: int, state: int | None = None, **texts: str) -> None:
    (execution,) = store.get_executions_by_id([decision])
    if state is not None:
        execution.last_known_state = state
    for key, text in texts.items():
        execution.custom_properties[key].string_value = text
    store.put_executions([execution])


def postponed(store: MetadataStore, pipeline: str) -> dict[int, Postponed]:
    """The spans of a pipeline that could not be taken in and are to be tried again."""
    kept = record.named(store, CONTEXT, pipeline).custom_properties
    found = json.loads(kept[_POSTPONED].string_value or "{}") if _POSTPONED in kept else {}
    return {
        int(span): Postponed(one["tries"], datetime.fromisoformat(one["next_try"]))
        for span, one in found.items()
    }


def postpone(store: MetadataStore, pipeline: str, span: int, until: Postponed | None) -> None:
    """Keeps when a span is to be tried again; None: it need not be."""
    known = {one: when for one, when in postponed(store, pipeline).items() if one != span}
    if until is not None:
        known[span] = until
    context = record.named(store, CONTEXT, pipeline)
    context.custom_properties[_POSTPONED].string_value = json.dumps(
        {
            one: {"tries": when.tries, "next_try": when.next_try.isoformat()}
            for one, when in known.items()
        }
    )
    store.put_contexts([context])


def read(store: MetadataStore, pipeline: str | None = None) -> tuple[Record, ...]:
    """The decisions of a pipeline, or of all, the newest first."""
    return tuple(map(_record, record.executions(store, CONTEXT, pipeline)))


def _record(execution: pb.Execution) -> Record:
    kept = execution.custom_properties

    def text(name: str) -> str:
        return str(kept[name].string_value) if name in kept else ""

    return Record(
        pipeline=text("pipeline"),
        span=kept["span"].int_value,
        content=text("content"),
        listing=text("listing"),
        verdict=text("verdict"),
        reason=text("reason"),
        numbers=text("numbers"),
        policy=text("policy"),
        observed=text("observed"),
        id=execution.id,
        when=datetime.fromtimestamp(execution.create_time_since_epoch / 1000, UTC),
        state=_STATES.get(execution.last_known_state, FAILED),
        run_id=text("run_id"),
        failure=text("failure"),
        tries=int(text("tries") or 0),
        next_try=datetime.fromisoformat(text("next_try")) if text("next_try") else None,
    )
