"""What the metadata store keeps of a whole run: facts on the run's context, without TFX."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline import provenance
from pipeline.config import PipelineConfig

SUCCEEDED, FAILED = "succeeded", "failed"
PIPELINE = "pipeline"
RUN = "pipeline_run"
"""The type of a run's context, as TFX calls it; its name is the run's id."""
STORE, ROOT = "metadata_store", "pipeline_root"
"""The types of contexts that say which store this is, and where the root of a pipeline is."""


def now() -> str:
    """The time in UTC, as facts have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def begun(config: PipelineConfig, *, note: str, runner: str, image: str = "") -> dict[str, str]:
    """What is known of a run when it begins; a retry leaves nothing of the try before it."""
    commit, clean = provenance.commit_and_clean()
    return {
        "pipeline": config.name,
        "commit": (commit or "") + ("" if clean in (True, None) else "+"),
        "image": image,
        "note": note,
        "config": config.model_dump_json(),
        "runner": runner,
        "started": now(),
        "failed_node": "",
        "reason": "",
        "refused": "",
    }


def ended(
    outcome: str, *, failed_node: str = "", reason: str = "", refused: bool = False
) -> dict[str, str]:
    """What is known when it has come to its end: outcome is SUCCEEDED or FAILED.

    It was refused if it failed by what it was given: another try would fail alike.
    """
    return {
        "outcome": outcome,
        "failed_node": failed_node,
        "reason": reason,
        "refused": "yes" if refused else "",
        "finished": now(),
    }


def write(store: MetadataStore, run_id: str, facts: Mapping[str, str]) -> None:
    """Keeps `facts` with the run, whose context TFX's launcher takes as it is.

    The first are those of `begun`, which say whose run it is: TFX looks for a pipeline's runs among
    the children of its context.
    """
    context = named(store, RUN, run_id)
    if "pipeline" in facts:
        parent = named(store, PIPELINE, facts["pipeline"])
        if parent.id not in {p.id for p in store.get_parent_contexts_by_context(context.id)}:
            link = pb.ParentContext(parent_id=parent.id, child_id=context.id)
            with suppress(errors.AlreadyExistsError):  # Another task was quicker.
                store.put_parent_contexts([link])
    for key, value in facts.items():
        context.custom_properties[key].string_value = value
    store.put_contexts([context])


def read(store: MetadataStore, run_id: str) -> dict[str, str]:
    """The facts of the run; none where the store does not know it."""
    context = store.get_context_by_type_and_name(RUN, run_id)
    return texts(context) if context else {}


def texts(context: pb.Context) -> dict[str, str]:
    """The custom properties of a context."""
    return {key: value.string_value for key, value in context.custom_properties.items()}


def named(store: MetadataStore, kind: str, name: str) -> pb.Context:
    """The context of that type and name; made where there is none, once by whoever comes first."""
    found = store.get_context_by_type_and_name(kind, name)
    if found is None:
        type_id = store.put_context_type(pb.ContextType(name=kind), can_omit_fields=True)
        with suppress(errors.AlreadyExistsError):  # Another task was quicker.
            store.put_contexts([pb.Context(type_id=type_id, name=name)])
        found = store.get_context_by_type_and_name(kind, name)
    return found


def executions(store: MetadataStore, kind: str, name: str | None = None) -> list[pb.Execution]:
    """What ran in the context of that type and name, or in all of the type; the newest first."""
    if name is None:
        contexts = store.get_contexts_by_type(kind)
    else:
        found = store.get_context_by_type_and_name(kind, name)
        contexts = [found] if found else []
    ran = [e for context in contexts for e in store.get_executions_by_context(context.id)]
    return sorted(ran, key=lambda execution: execution.id, reverse=True)
