"""What the metadata store keeps of deployments: which package was put to work, when and by whom."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.cluster import packed
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.store import connect, database, record

CONTEXT, EXECUTION = "deployment", "Deployment"
"""The types: a context for each pipeline, and in it an execution for each deployment."""
PACKAGE = "deployed_package"
"""The type of the contexts that hold a package's text; their names are the versions'."""
RELEASE, ROLLBACK, PAUSE = "release", "rollback", "pause"
COMPLETE, FAILED, RUNNING = "complete", "failed", "running"
_STATES = {
    pb.Execution.COMPLETE: COMPLETE,
    pb.Execution.FAILED: FAILED,
    pb.Execution.RUNNING: RUNNING,
}
_WAIT_SECONDS = 1500.0
_MEANWHILE = "another deployment is under way, and does not come to its end"


@dataclass(frozen=True)
class Facts:
    """What was put to work, and by whom."""

    pipeline: str
    target: str
    """Who runs it: "kfp" or "vertex"."""
    server: str
    """The server's address, or the Google Cloud project and region."""
    commit: str
    """Of the code, with + behind it if files were changed since."""
    committed: str
    """When it was committed, as ISO 8601 in UTC; empty where that is not known."""
    image: str
    """The container image, by its digest."""
    package_digest: str
    """SHA-256 of the package's text, in hexadecimal digits."""
    version: str
    """The package's name on the server."""
    version_id: str
    """Its id there; empty on Vertex, which has no versions."""
    parameters: str
    """Those of the scheduled runs, as JSON."""
    who: str
    action: str
    """RELEASE, ROLLBACK, or PAUSE: its schedule starts nothing, and nothing was before it."""


@dataclass(frozen=True)
class Record(Facts):
    """A deployment as the store has it."""

    id: int
    """Of its execution."""
    when: datetime
    outcome: str
    """COMPLETE, FAILED, or RUNNING while it is under way."""
    reason: str
    """Why it failed; empty where it did not."""


class Deployments:
    """The deployments of one pipeline, to write to."""

    def __init__(self, store: MetadataStore, pipeline: str) -> None:
        """Makes what the store needs to hold them; `alone` gives them to one process at a time."""
        self._store = store
        self._pipeline = pipeline
        self._context = record.named(store, CONTEXT, pipeline)

    def all(self, target: str) -> tuple[Record, ...]:
        """Those on one target, the newest first."""
        return tuple(r for r in read(self._store, self._pipeline) if r.target == target)

    def begin(self, facts: Facts, package: str) -> int:
        """Keeps the package's text and that the deployment is under way; the record's id."""
        for left in read(self._store, self._pipeline):
            if left.outcome == RUNNING:  # Nobody else is at work now.
                self.fail(left.id, "it was broken off")
        keep_package(self._store, facts.version, package)
        kind = pb.ExecutionType(name=EXECUTION)
        execution = pb.Execution(
            type_id=self._store.put_execution_type(kind), last_known_state=pb.Execution.RUNNING
        )
        for key, value in vars(facts).items():
            execution.custom_properties[key].string_value = value
        made, _, _ = self._store.put_execution(execution, [], [self._context])
        return int(made)

    def complete(self, record_id: int, *, version_id: str) -> None:
        """Keeps that it is at work."""
        self._end(record_id, pb.Execution.COMPLETE, version_id=version_id)

    def fail(self, record_id: int, reason: str) -> None:
        """Keeps that it is not."""
        self._end(record_id, pb.Execution.FAILED, reason=reason)

    def _end(self, record_id: int, state: int, **facts: str) -> None:
        (execution,) = self._store.get_executions_by_id([record_id])
        execution.last_known_state = state
        for key, value in facts.items():
            execution.custom_properties[key].string_value = value
        self._store.put_executions([execution])

    def package(self, version: str) -> str:
        """The text of a package that was deployed.

        Raises:
          UserError: the store does not have it.
        """
        return package_of(self._store, version)


@contextmanager
def alone(config: PipelineConfig) -> Iterator[Deployments]:
    """The deployments of the pipeline; no other process has them meanwhile.

    The store's tables are made where there are none: a pipeline is deployed before it runs.

    Raises:
      UserError: the store cannot be reached, or another process does not come to an end.
    """
    connection = connect.writable(config)
    if connection.HasField("sqlite"):
        file = Path(f"{connection.sqlite.filename_uri}.deploy")
        lock: AbstractContextManager[None] = _file_locked(file)
    else:
        lock = database.locked(connection, "deploy", seconds=_WAIT_SECONDS, meanwhile=_MEANWHILE)
    with lock:
        try:
            yield Deployments(_with_tables(connection), config.name)
        except errors.StatusError as error:
            why = str(error).partition("\n")[0]
            raise UserError(
                f"{database.place(connection)}: the metadata store failed ({why}); repeat the "
                "command: it makes up for what was not kept"
            ) from None


def _with_tables(connection: pb.ConnectionConfig) -> MetadataStore:
    if connection.HasField("sqlite"):
        return connect.opened(connection)
    with database.locked(connection):
        store = connect.opened(connection)
        database.allow_long_texts(connection)
        return store


@contextmanager
def _file_locked(file: Path) -> Iterator[None]:
    deadline = time.monotonic() + _WAIT_SECONDS
    with file.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(f"{file}: {_MEANWHILE}; try again") from None
                time.sleep(0.05)
        yield


def read(store: MetadataStore, pipeline: str | None = None) -> tuple[Record, ...]:
    """The deployments of a pipeline, or of all, the newest first."""
    return tuple(map(_record, record.executions(store, CONTEXT, pipeline)))


def _record(execution: pb.Execution) -> Record:
    kept = {key: value.string_value for key, value in execution.custom_properties.items()}
    return Record(
        **{name: kept.get(name, "") for name in Facts.__dataclass_fields__},
        id=execution.id,
        when=datetime.fromtimestamp(execution.create_time_since_epoch / 1000, UTC),
        outcome=_STATES.get(execution.last_known_state, FAILED),
        reason=kept.get("reason", ""),
    )


def at_work(records: Sequence[Record]) -> tuple[Record, ...]:
    """What is at work, and behind it what each rollback would put to work, one after the other.

    A rollback takes away what it went back from, and so does whatever follows a pause: nothing
    goes back to that.

    Args:
      records: of one target, the newest first.
    """
    stack: list[Record] = []
    for one in reversed(records):
        if one.outcome != COMPLETE:
            continue
        if stack and stack[-1].action == PAUSE:
            del stack[-1]
        if one.action == ROLLBACK:
            there = [i for i, below in enumerate(stack) if below.version == one.version]
            del stack[there[-1] if there else len(stack) :]
        elif stack and stack[-1].version == one.version:  # By another address, say.
            del stack[-1]
        stack.append(one)
    return tuple(reversed(stack))


def newest_release(records: Sequence[Record]) -> Record | None:
    """The release that was completed last, be it at work or rolled back; None without any."""
    done = (one for one in records if one.outcome == COMPLETE and one.action == RELEASE)
    return next(done, None)


def keep_package(store: MetadataStore, version: str, text: str) -> None:
    """Keeps a package's text under its version, which is a name for exactly that text."""
    context = record.named(store, PACKAGE, version)
    context.custom_properties["text"].string_value = packed.pack_text(text.encode())
    store.put_contexts([context])


def package_of(store: MetadataStore, version: str) -> str:
    """The text of a package that was deployed.

    Raises:
      UserError: the store does not have it.
    """
    context = store.get_context_by_type_and_name(PACKAGE, version)
    if context is None:
        raise UserError(f"the metadata store has no package {version}: release it anew")
    return packed.unpack_text(context.custom_properties["text"].string_value).decode()


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """Parameters as `Facts` has them."""
    return json.dumps(dict(parameters), sort_keys=True)
