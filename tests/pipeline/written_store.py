"""Metadata stores that are written by hand, as runs would have left them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.store import connect, record

COMPLETE, CACHED, FAILED = pb.Execution.COMPLETE, pb.Execution.CACHED, pb.Execution.FAILED
RUNNING = pb.Execution.RUNNING
OUTPUT, INTERNAL_OUTPUT = pb.Event.OUTPUT, pb.Event.INTERNAL_OUTPUT


class Writer:
    """Writes to the store at a URL, or to the one of a local root."""

    def __init__(self, place: Path | str) -> None:
        if isinstance(place, Path):
            place.mkdir(parents=True, exist_ok=True)
            place = f"sqlite:///{place / 'metadata.sqlite'}"
        self.store = connect.opened(connect.connection_to(place))

    def artifact(self, kind: str, *, uri: str | None = None, **properties: int | str) -> int:
        type_id = self.store.put_artifact_type(pb.ArtifactType(name=kind))
        artifact = pb.Artifact(type_id=type_id, uri=uri or f"/data/{kind}")
        for key, value in properties.items():
            field = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[key], field, value)
        return int(self.store.put_artifacts([artifact])[0])

    def execution(
        self,
        node: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        cache: Sequence[int] = (),
        run: str = "run-1",
        state: int = COMPLETE,
        output_event: int = OUTPUT,
        error: str = "",
        **settings: Any,
    ) -> int:
        type_id = self.store.put_execution_type(pb.ExecutionType(name=node))
        execution = pb.Execution(type_id=type_id, last_known_state=state)
        if error:
            settings["__execution_result__"] = json.dumps({"resultMessage": error})
        for key, value in settings.items():
            execution.custom_properties[key].string_value = value
        events = [self._event(i, pb.Event.INPUT, k, "input") for k, i in enumerate(inputs)]
        events += [self._event(i, pb.Event.INPUT, k, "analyzer_cache") for k, i in enumerate(cache)]
        events += [self._event(i, output_event, k, "output") for k, i in enumerate(outputs)]
        contexts = [
            self._context("pipeline", "flights"),
            self._context("node", f"flights.{node}"),
            self._context(record.RUN, run),
        ]
        made, _, _ = self.store.put_execution(
            execution, [], contexts, reuse_context_if_already_exist=True
        )
        for event in events:
            event.execution_id = made
        self.store.put_events(events)
        return int(made)

    def facts(self, run: str, **facts: str) -> None:
        record.write(self.store, run, facts)

    @staticmethod
    def _event(artifact: int, kind: int, index: int, key: str) -> pb.Event:
        event = pb.Event(artifact_id=artifact, type=kind)
        event.path.steps.add().key = key
        event.path.steps.add().index = index
        return event

    def _context(self, kind: str, name: str) -> pb.Context:
        type_id = self.store.put_context_type(pb.ContextType(name=kind))
        return pb.Context(type_id=type_id, name=name)
