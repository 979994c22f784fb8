"""The pusher: puts a blessed model where a server finds it, whole or not at all."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tfx.components.pusher import component as tfx_component
from tfx.components.pusher import executor as tfx_executor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.proto.pusher_pb2 import PushDestination
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel
from tfx.utils import io_utils

from custom_components.selection import CHAMPION_PROPERTIES, SOURCE_MODEL_URI
from custom_components.serving_folder import push


class Executor(tfx_executor.Executor):
    """TFX's Pusher, with versions that appear in one step and always grow.

    TFX's own copies file by file into the version's folder, which a server may see half full, and
    takes a model whose second another push has taken for pushed.
    """

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if every blessing says so; the keys are those of TFX's Pusher."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = json_format.Parse(exec_properties["push_destination"], PushDestination())
        folder = destination.filesystem.base_directory
        model_folder = self.GetModelPath(input_dict)
        # Kept with the artifact as well, as TFX does: an old version may be deleted where it is
        # served, and the next candidate still be compared with it. First, so that what is live is
        # always kept.
        io_utils.copy_dir(model_folder, pushed.uri)
        version_folder = push(Path(model_folder), folder)
        self._MarkPushed(
            pushed,
            pushed_destination=version_folder,
            pushed_version=version_folder.rpartition("/")[2],
        )
        model = artifact_utils.get_single_instance(input_dict["model"])
        pushed.set_string_custom_property(SOURCE_MODEL_URI, model.uri)
        for name in CHAMPION_PROPERTIES:
            if model.has_custom_property(name):
                pushed.set_string_custom_property(name, model.get_string_custom_property(name))
        logging.getLogger(__name__).info("pushed to %s", version_folder)


class Pusher(tfx_component.Pusher):
    """Pushes a blessed model to a serving folder: a numbered folder per version.

    This is the least that a component of one's own can be: a standard one with another executor.
    The spec stays TFX's, so whatever reads a PushedModel goes on working. Beside TFX's properties
    (`pushed`, `pushed_destination`, `pushed_version`) the PushedModel has those of `ModelSelector`:
    `framework`, `digest`, and `source_model_uri`, by which the `LiveModel` resolver tells a model
    from itself.
    """

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: BaseChannel,
        model_blessing: BaseChannel,
        *,
        infra_blessing: BaseChannel,
        directory: str,
    ) -> None:
        """Defines the node.

        Args:
          model: the Model to push.
          model_blessing: the selector's ModelBlessing.
          infra_blessing: the canary's InfraBlessing.
          directory: the serving folder, absolute or a URL (gs://…).
        """
        super().__init__(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            push_destination=PushDestination(
                filesystem=PushDestination.Filesystem(base_directory=directory)
            ),
        )
