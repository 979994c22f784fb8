"""Predicts the rows of files with the live model, and writes them as Parquet."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from custom_components.batch_predict.settings import ReadSettings
from custom_components.selection import SOURCE_MODEL_URI

FILE = "predictions.parquet"
FILES = "files"
"""The parameter that holds the patterns of the files, a line each."""
READ = "read"
"""The parameter that says how the files are written, as JSON."""

_logger = logging.getLogger(__name__)


class Executor(BaseExecutor):
    """Asks the model that this run pushed, or else the one that stays live."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `FILE`; without a live model nothing, which is no error.

        The dictionaries' keys are the names in `component.BatchPredictSpec`.

        Raises:
          UserError: a file cannot be read, or a row is not what the model takes.
        """
        predictions = artifact_utils.get_single_instance(output_dict["predictions"])
        model = _live(input_dict)
        if model is None:
            predictions.set_string_custom_property("reason", "no model is live yet")
            _logger.warning("nothing is predicted: no model is live yet")
            return
        # They take a second to import, for nothing where there is no model.
        from custom_components.batch_predict.score import Scorer
        from custom_components.batch_predict.write import write
        from models.bundle import Bundle

        read = ReadSettings.model_validate_json(exec_properties[READ])
        version = model.get_string_custom_property("pushed_version")
        scorer = Scorer(Bundle.load(model.uri), version, read.csv, format=read.format, typed=True)
        scored = scorer.scored(exec_properties[FILES].split("\n"))
        rows = write(scored, str(Path(predictions.uri, FILE)))
        predictions.set_int_custom_property("rows", rows)
        predictions.set_string_custom_property("model_version", version)
        predictions.set_string_custom_property(SOURCE_MODEL_URI, model.uri)
        _logger.info("%d rows, predicted by version %s", rows, version)


def _live(inputs: dict[str, list[Artifact]]) -> Artifact | None:
    """The model that is live once the Pusher is done."""
    pushed = [
        model
        for key in ("pushed_model", "live_model")
        for model in inputs.get(key, [])
        if model.get_int_custom_property("pushed") == 1
    ]
    return next(iter(pushed), None)
