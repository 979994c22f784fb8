"""Writes down what there is to tell MLflow, and tells it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from custom_components.beforehand import gently
from custom_components.provenance import of_executor
from custom_components.registrar import record, tracking
from custom_components.registrar.driver import WAITING
from custom_components.registrar.gather import gather
from custom_components.registrar.reconcile import properties
from custom_components.registrar.record import Outcome
from custom_components.registrar.tell import tell
from custom_components.registrar.tracking import Destination, Unreachable
from pipeline.errors import UserError
from pipeline.train_config import TrainConfig

HOW_TO_SYNC = "python -m pipeline registry sync"

_logger = logging.getLogger(__name__)


class Executor(BaseExecutor):
    """Tells MLflow of this run, and of those before it that it could not be told of."""

    @staticmethod
    def prepare() -> None:
        """Imports MLflow, which takes seconds; whoever runs the node may call it beforehand."""
        gently(tracking.import_mlflow)

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the record and what came of it; that MLflow is away is a result, no error.

        The dictionaries' keys are the names in `component.RegistrarSpec`.

        Raises:
            UserError: If a bundle of this run is damaged.
        """
        registration = artifact_utils.get_single_instance(output_dict[record.KEY])
        destination = Destination.model_validate_json(exec_properties["destination"])
        folder = Path(registration.uri)
        told = gather(
            input_dict,
            provenance=of_executor(self._context),
            train=TrainConfig.model_validate_json(exec_properties["train"]),
            model_name=exec_properties["model_name"],
        )
        record.write(folder, told)
        registration.set_string_custom_property("tracking_uri", destination.tracking_uri)
        try:
            client = tracking.client(destination)
            for earlier in json.loads(exec_properties[WAITING]):
                _tell_earlier(earlier, client, destination)
            outcome = tell(told, client, destination)
        except Unreachable as reason:
            _logger.warning("not registered: %s; %s does it later", reason, HOW_TO_SYNC)
            registration.set_int_custom_property("registered", 0)
            registration.set_string_custom_property("reason", str(reason))
            return
        record.write(folder, outcome)
        _describe(registration, outcome, told.champion.name if told.champion else None)


def _tell_earlier(folder: str, client: Any, destination: Destination) -> None:
    """Tells of an earlier run; where its record is damaged, that keeps nobody else waiting."""
    try:
        record.write(folder, tell(record.read(folder), client, destination))
    except UserError as error:
        _logger.warning("%s cannot be told: %s", folder, error)


def _describe(registration: Artifact, outcome: Outcome, champion: str | None) -> None:
    for key, value in properties(outcome, champion).items():
        if isinstance(value, int):
            registration.set_int_custom_property(key, value)
        else:
            registration.set_string_custom_property(key, value)
