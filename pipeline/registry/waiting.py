"""What MLflow was not told yet, because it did not answer or a run was cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from custom_components.registrar import record, tracking
from custom_components.registrar.reconcile import reconcile
from custom_components.registrar.record import Outcome
from custom_components.registrar.tell import tell
from custom_components.registrar.tracking import Destination
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.registry import store
from pipeline.registry.versions import in_words

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Told:
    """One run of which MLflow was told now, or could not be."""

    run: str
    """The run's id."""
    outcome: Outcome | None
    """What came of it."""
    error: str = ""
    """Why it cannot be told at all."""


def sync(config: PipelineConfig) -> list[Told]:
    """Tells MLflow of every run that waits, oldest first; for one process at a time.

    Raises:
        UserError: If MLflow does not answer; what was told by then stays told.
    """
    folders = record.waiting(config.pipeline_root)
    if not folders:
        return []
    destination = Destination.of(config)
    metadata = store.open(config)
    with in_words():
        client = tracking.client(destination)
        try:
            return [_tell(folder, client, destination) for folder in folders]
        finally:
            reconcile(metadata)


def _tell(folder: str, client: MlflowClient, destination: Destination) -> Told:
    try:
        told = record.read(folder)
        outcome = tell(told, client, destination)
    except UserError as error:
        return Told(folder.rpartition("/")[2], None, str(error))
    record.write(folder, outcome)
    return Told(told.run, outcome)
