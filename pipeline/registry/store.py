"""Records in the metadata store that a model went live, as the Pusher's node would have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from custom_components.registrar.record import Push
from custom_components.selection import CHAMPION_PROPERTIES, SOURCE_MODEL_URI
from custom_components.serving_folder import newest, push, withdraw
from pipeline.config import PipelineConfig
from pipeline.files import storage
from pipeline.store import connect

PUSHER = "Pusher"
"""The node whose PushedModel artifacts say what is live."""
EXECUTION_TYPE = "pipeline.registry"
PUSHED_MODEL = "PushedModel"


def open(config: PipelineConfig) -> MetadataStore:
    """The pipeline's metadata store, to write to.

    Raises:
        UserError: If there is none.
    """
    return connect.existing(config, mode=connect.READ_WRITE)


@contextmanager
def gone_live(
    store: MetadataStore,
    config: PipelineConfig,
    *,
    bundle: Path,
    model: pb.Artifact,
    run_id: str,
    facts: Mapping[str, str],
) -> Iterator[Push]:
    """Publishes a bundle and records it; if what is done meanwhile fails, both are taken back.

    Args:
        store: The metadata store.
        config: Says where models are served.
        bundle: The bundle's folder.
        model: The Model artifact that it is.
        run_id: Under which it is recorded.
        facts: Custom properties of the PushedModel, beside the Pusher's.

    Yields:
        Where the model is live.
    """
    serving = config.serving_directory
    with ExitStack() as undo:
        execution = _begin(store, config.name, run_id)
        undo.callback(_fail, store, execution)
        kept = f"{config.pipeline_root}/{PUSHER}/pushed_model/{execution.id}"
        undo.callback(_remove, kept)
        # As the Pusher keeps it: a version may be deleted where it is served.
        _keep(bundle, kept)
        before = newest(serving)
        version = push(bundle, serving)
        if version != before:
            undo.callback(withdraw, version)
        artifact = _pushed_model(store, model, kept, version)
        for key, value in facts.items():
            artifact.custom_properties[key].string_value = value
        artifact.id = _complete(store, execution, model, artifact)
        undo.callback(_take_back, store, artifact)
        yield Push(pushed_model=artifact.id, version=_number(version), destination=version)
        undo.pop_all()


def is_live(store: MetadataStore, facts: Mapping[str, str]) -> Push | None:
    """Where a model is live that was published with these facts; None if another one is live."""
    pushed = [
        artifact
        for artifact in store.get_artifacts_by_type(PUSHED_MODEL)
        if artifact.custom_properties["pushed"].int_value
    ]
    newest = max(pushed, key=lambda artifact: artifact.id, default=None)
    if newest is None:
        return None
    found = {key: value.string_value for key, value in newest.custom_properties.items()}
    if not facts.items() <= found.items():
        return None
    return Push(
        pushed_model=newest.id,
        version=found["pushed_version"],
        destination=found["pushed_destination"],
    )


def _begin(store: MetadataStore, pipeline: str, run_id: str) -> pb.Execution:
    """An execution in the contexts in which the Pusher's are: pipeline, run and node."""
    parent = _context(store, "pipeline", pipeline)
    run = _context(store, "pipeline_run", run_id)
    node = _context(store, "node", f"{pipeline}.{PUSHER}")
    execution = pb.Execution(
        type_id=store.put_execution_type(pb.ExecutionType(name=EXECUTION_TYPE)),
        last_known_state=pb.Execution.RUNNING,
    )
    execution.id, _, context_ids = store.put_execution(
        execution, [], [parent, run, node], reuse_context_if_already_exist=True
    )
    above, below, _ = context_ids
    store.put_parent_contexts([pb.ParentContext(child_id=below, parent_id=above)])
    return execution


def _context(store: MetadataStore, kind: str, name: str) -> pb.Context:
    return store.get_context_by_type_and_name(kind, name) or pb.Context(
        type_id=store.put_context_type(pb.ContextType(name=kind)), name=name
    )


def _keep(bundle: Path, folder: str) -> None:
    if storage.is_remote(folder):
        storage.upload(bundle, folder)
    else:
        shutil.copytree(bundle, folder)


def _remove(folder: str) -> None:
    if storage.is_remote(folder):
        storage.remove_tree(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _number(version: str) -> str:
    return version.rpartition("/")[2]


def _pushed_model(store: MetadataStore, model: pb.Artifact, kept: str, version: str) -> pb.Artifact:
    kind = pb.ArtifactType(name=PUSHED_MODEL, base_type=pb.ArtifactType.MODEL)
    artifact = pb.Artifact(type_id=store.put_artifact_type(kind), uri=kept, state=pb.Artifact.LIVE)
    properties = artifact.custom_properties
    properties["pushed"].int_value = 1
    properties["pushed_destination"].string_value = version
    properties["pushed_version"].string_value = _number(version)
    properties[SOURCE_MODEL_URI].string_value = model.uri
    for key in CHAMPION_PROPERTIES:
        if key in model.custom_properties:
            properties[key].CopyFrom(model.custom_properties[key])
    return artifact


def _complete(
    store: MetadataStore, execution: pb.Execution, model: pb.Artifact, pushed: pb.Artifact
) -> int:
    """Records what the execution read and put out; the id of what it put out."""
    execution.last_known_state = pb.Execution.COMPLETE
    contexts = store.get_contexts_by_execution(execution.id)
    read, made = pb.Event(type=pb.Event.INPUT), pb.Event(type=pb.Event.OUTPUT)
    for event, key in ((read, "model"), (made, "pushed_model")):
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
    _, (_, artifact_id), _ = store.put_execution(
        execution, [(model, read), (pushed, made)], contexts, reuse_context_if_already_exist=True
    )
    return int(artifact_id)


def _fail(store: MetadataStore, execution: pb.Execution) -> None:
    execution.last_known_state = pb.Execution.FAILED
    store.put_executions([execution])


def _take_back(store: MetadataStore, pushed: pb.Artifact) -> None:
    pushed.custom_properties["pushed"].int_value = 0
    store.put_artifacts([pushed])
