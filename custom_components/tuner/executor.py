"""Reads the train split, and has its hyper-parameters searched."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import tensorflow_transform as tft
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

from custom_components.resolvers import oldest_first, span_of
from models.dataset import Rows, read, weights_by_age
from models.features import ModelInputs
from models.tuning import result
from pipeline.features_config import FeaturesConfig
from pipeline.files.storage import is_remote
from pipeline.train_config import Framework, TrainConfig, TuneConfig

FILE = "best_hyperparameters.txt"
"""As TFX's own Tuner names it."""


class Executor(BaseExecutor):
    """Puts out the best hyper-parameters and every trial."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Searches, or goes on with a search that was interrupted.

        The dictionaries' keys are the names in `component.TunerSpec`.
        """
        # Optuna, which a pipeline's definition does without.
        from models.tuning.search import tune

        study_folder = exec_properties["study_folder"]
        if is_remote(study_folder):  # A study is a database: it ends with this process.
            study_folder = self._get_tmp_dir()
        rows, sizes = _read(input_dict, exec_properties)
        found = tune(
            Framework(exec_properties["framework"]),
            rows,
            sizes,
            TrainConfig.model_validate_json(exec_properties["train"]),
            TuneConfig.model_validate_json(exec_properties["tune"]),
            Path(study_folder),
            search=exec_properties["search"],
        )
        logging.getLogger(__name__).info("tuner: %s: %s", found.sentence(), found.params)
        best, results = (
            artifact_utils.get_single_instance(output_dict[key])
            for key in (keys.BEST_HYPERPARAMETERS_KEY, keys.TUNER_RESULTS_KEY)
        )
        result.write(Path(results.uri), found)
        io_utils.write_string_file(str(Path(best.uri) / FILE), json.dumps(found.params))
        results.set_float_custom_property("value", found.value)
        results.set_int_custom_property("trials", len(found.trials))


def _read(
    input_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
) -> tuple[Rows, tuple[int, ...]]:
    """The rows of the train split, and how many values each categorical column may take."""
    graph = tft.TFTransformOutput(
        artifact_utils.get_single_uri(input_dict[keys.TRANSFORM_GRAPH_KEY])
    )
    features = FeaturesConfig.model_validate_json(exec_properties["features"])
    inputs = ModelInputs.of(
        features,
        graph.transformed_feature_spec(),
        graph.vocabulary_size_by_name,
    )
    examples = oldest_first(input_dict[keys.EXAMPLES_KEY])
    folders = artifact_utils.get_split_uris(examples, "train")
    files = [io_utils.all_files_pattern(folder) for folder in folders]
    weights = weights_by_age([*map(span_of, examples)], exec_properties.get("half_life"))
    rows = read(
        files,
        inputs,
        classes=len(features.class_names),
        weights=weights,
        memory_budget=exec_properties["memory_budget"],
    )
    return rows, inputs.sizes
