"""Says in the metadata store what came of a registration, also where that was later than the run.

Imports neither TFX nor MLflow.
"""

from __future__ import annotations

import json

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from custom_components.registrar import record
from custom_components.registrar.record import Outcome

TYPE = "Registration"
"""The name of the artifact's type: `custom_components.artifacts.Registration`."""


def properties(outcome: Outcome, champion: str | None) -> dict[str, int | str]:
    """The custom properties of a Registration artifact, by which MLflow is found from it."""
    return {
        "registered": 1,
        "reason": "",
        "tracking_uri": outcome.tracking_uri,
        "model_name": outcome.model_name,
        "model_version": outcome.model_version or "",
        "mlflow_run": outcome.runs[champion] if champion else "",
        "mlflow_runs": json.dumps(outcome.runs),
    }


def reconcile(store: MetadataStore) -> None:
    """Brings the Registration artifacts up to what their folders say by now."""
    changed = [
        artifact for artifact in store.get_artifacts_by_type(TYPE) if _was_told_since(artifact)
    ]
    for artifact in changed:
        outcome = record.read_outcome(artifact.uri)
        champion = record.read(artifact.uri).champion
        assert outcome is not None
        for key, value in properties(outcome, champion.name if champion else None).items():
            field = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[key], field, value)
    if changed:
        store.put_artifacts(changed)


def _was_told_since(artifact: metadata_store_pb2.Artifact) -> bool:
    properties = artifact.custom_properties
    untold = "registered" in properties and not properties["registered"].int_value
    return untold and record.read_outcome(artifact.uri) is not None
