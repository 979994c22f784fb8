"""Opens the ML Metadata store of a pipeline: the one place that knows where it is."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import context_lib, event_lib
from tfx.proto.orchestration import pipeline_pb2

from pipeline.config import PipelineConfig
from pipeline.store import connect, database, record

_CONTEXTS = (context_lib.CONTEXT_TYPE_EXECUTION_CACHE, record.RUN, record.STORE, record.ROOT)
# A resolver's execution is internal: it passes artifacts on that others made.
_OUTPUT_EVENTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.INTERNAL_OUTPUT)


def connection(config: PipelineConfig) -> metadata_store_pb2.ConnectionConfig:
    """How to reach the store; the folder of an sqlite file is made."""
    return connect.writable(config)


def handle(connection_config: metadata_store_pb2.ConnectionConfig) -> metadata.Metadata:
    """The store as TFX's orchestration takes it: a context manager, entered for each access."""
    if connection_config.HasField("sqlite"):
        return _SqliteMetadata(connection_config)
    return _Metadata(connection_config)


def create_tables(connection_config: metadata_store_pb2.ConnectionConfig) -> None:
    """Makes the store's tables; before any node starts, since nodes that do it at once collide.

    Raises:
      UserError: the store cannot be reached, or it is something else.
    """
    if connection_config.HasField("sqlite"):
        with handle(connection_config):
            return
    with database.locked(connection_config):
        connect.opened(connection_config)
        database.allow_long_texts(connection_config)


def register_types(
    connection_config: metadata_store_pb2.ConnectionConfig, ir: pipeline_pb2.Pipeline
) -> None:
    """Registers the types that the nodes of `ir` will use.

    PostgreSQL keeps a type twice if two nodes register it at once, and then finds but one's things.
    """
    if connection_config.HasField("sqlite"):
        return
    contexts = {name: metadata_store_pb2.ContextType(name=name) for name in _CONTEXTS}
    executions, artifacts = {}, {}
    for node in (entry.pipeline_node for entry in ir.nodes):
        contexts |= {context.type.name: context.type for context in node.contexts.contexts}
        executions[node.node_info.type.name] = node.node_info.type
        for output in node.outputs.outputs.values():
            artifacts[output.artifact_spec.type.name] = output.artifact_spec.type
    with database.locked(connection_config):
        store = connect.opened(connection_config)
        for put, types in (
            (store.put_context_type, contexts),
            (store.put_execution_type, executions),
            (store.put_artifact_type, artifacts),
        ):
            for kind in types.values():
                put(kind, can_add_fields=True, can_omit_fields=True)


def run_outputs(
    connection_config: metadata_store_pb2.ConnectionConfig, run_id: str
) -> dict[str, dict[str, list[metadata_store_pb2.Artifact]]]:
    """What the nodes of a run put out, cached or not: artifacts by node id and output key."""
    store = connect.opened(connection_config)
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    found: dict[str, dict[str, list[metadata_store_pb2.Artifact]]] = {}
    for execution in store.get_executions_by_context(run.id) if run else []:
        contexts = store.get_contexts_by_execution(execution.id)
        node_id = next(c.name for c in contexts if c.type == "node").partition(".")[2]
        events = store.get_events_by_execution_ids([execution.id])
        outputs = event_lib.reconstruct_artifact_id_multimap(
            [e for e in events if e.type in _OUTPUT_EVENTS]
        )
        found[node_id] = {
            key: [store.get_artifacts_by_id([artifact_id])[0] for artifact_id in ids]
            for key, ids in outputs.items()
        }
    return found


class _Metadata(metadata.Metadata):
    """A store that is opened as everywhere here, with an error that a person can mend."""

    def __enter__(self) -> metadata.Metadata:
        self._store = connect.opened(self._connection_config)
        self._users += 1
        return self


class _SqliteMetadata(_Metadata):
    """An sqlite store that the processes of a machine access one after the other.

    Where two write at once, sqlite refuses one, and ML Metadata's client tries again only after
    half a second or more: longer than a cached node takes in all.
    """

    def __init__(self, connection_config: metadata_store_pb2.ConnectionConfig) -> None:
        super().__init__(connection_config)
        self._lock_file = Path(f"{connection_config.sqlite.filename_uri}.lock")
        self._locks = ExitStack()

    def __enter__(self) -> metadata.Metadata:
        if not self._users:
            self._locks.enter_context(_locked(self._lock_file))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if not self._users:
            self._locks.close()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
