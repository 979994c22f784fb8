"""Writes what runs of a pipeline would have left: a store, and a folder for each output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config import PipelineConfig
from pipeline.files import storage
from pipeline.store import connect, record

COMPLETE, CACHED, RUNNING = pb.Execution.COMPLETE, pb.Execution.CACHED, pb.Execution.RUNNING


class Writer:
    """A pipeline's store, and its root."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        config.local_root.mkdir(parents=True, exist_ok=True)
        self.store = connect.opened(connect.connection_to(config.store_url))
        self._parent = self._context("pipeline", config.name)

    def node(
        self,
        run: str,
        name: str,
        kind: str,
        inputs: Sequence[int] = (),
        *,
        state: int = COMPLETE,
        properties: Mapping[str, int | str] | None = None,
    ) -> int:
        """Runs a node, which makes one artifact of 1,000 bytes; its id."""
        execution = self.execution(run, name, inputs, (), state=state)
        type_id = self.store.put_artifact_type(pb.ArtifactType(name=kind))
        uri = f"{self.config.pipeline_root}/{name}/output/{execution}"
        artifact = pb.Artifact(type_id=type_id, uri=uri, state=pb.Artifact.LIVE)
        for key, value in (properties or {}).items():
            field = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[key], field, value)
        (made,) = self.store.put_artifacts([artifact])
        self.store.put_events([_event(execution, made, pb.Event.OUTPUT)])
        if storage.is_remote(uri):
            storage.write(f"{uri}/data", bytes(1000))
        else:
            Path(uri).mkdir(parents=True)
            Path(uri, "data").write_bytes(bytes(1000))
        return int(made)

    def goes_on_from(self, made: int, key: str, base: int) -> None:
        """Records that the node that made an artifact read another one, by the input's name."""
        (event,) = self.store.get_events_by_artifact_ids([made])
        read = _event(event.execution_id, base, pb.Event.INPUT)
        read.path.steps[0].key = key
        self.store.put_events([read])

    def push(self, run: str, model: int) -> int:
        """Makes a model the live one; the id of the PushedModel."""
        source = self.store.get_artifacts_by_id([model])[0].uri
        properties: dict[str, int | str] = {"pushed": 1, "source_model_uri": source}
        return self.node(run, "Pusher", "PushedModel", [model], properties=properties)

    def execution(
        self,
        run: str,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        state: int = CACHED,
    ) -> int:
        """Records that a node read and put out artifacts that are there; the execution's id."""
        context = self.run(run)
        type_id = self.store.put_execution_type(pb.ExecutionType(name=name))
        execution = pb.Execution(type_id=type_id, last_known_state=state)
        made, _, _ = self.store.put_execution(
            execution, [], [self._parent, context], reuse_context_if_already_exist=True
        )
        events = [_event(made, i, pb.Event.INPUT) for i in inputs]
        events += [_event(made, i, pb.Event.OUTPUT) for i in outputs]
        if events:
            self.store.put_events(events)
        return int(made)

    def run(self, run_id: str) -> pb.Context:
        """The context of a run, and its folder."""
        context = self._context(record.RUN, run_id)
        folder = self.config.local_root / "runs" / run_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text('{"finished": true}')
        return context

    def states(self) -> dict[int, str]:
        """The states of all artifacts."""
        return {a.id: pb.Artifact.State.Name(a.state) for a in self.store.get_artifacts()}

    def folder(self, artifact: int) -> Path:
        """Where an artifact lies."""
        return Path(self.store.get_artifacts_by_id([artifact])[0].uri)

    def _context(self, kind: str, name: str) -> pb.Context:
        return record.named(self.store, kind, name)


def _event(execution: int, artifact: int, kind: int) -> pb.Event:
    event = pb.Event(execution_id=execution, artifact_id=artifact, type=kind)
    event.path.steps.add().key = "given" if kind == pb.Event.INPUT else "made"
    event.path.steps.add().index = artifact
    return event
