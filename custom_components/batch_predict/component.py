"""The component of batch inference: what it takes and gives, for the pipeline's definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import PushedModel

from custom_components.artifacts import Predictions
from custom_components.batch_predict.driver import STAMPS, Driver
from custom_components.batch_predict.executor import FILES, READ, Executor
from custom_components.batch_predict.settings import ReadSettings


class BatchPredictSpec(ComponentSpec):
    """The interface of batch inference."""

    PARAMETERS: ClassVar = {
        FILES: ExecutionParameter(type=str),
        READ: ExecutionParameter(type=str),
        STAMPS: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "pushed_model": ChannelParameter(type=PushedModel, optional=True),
        "live_model": ChannelParameter(type=PushedModel, optional=True),
    }
    OUTPUTS: ClassVar = {"predictions": ChannelParameter(type=Predictions)}


class BatchPredict(BaseComponent):
    """Predicts every row of raw files with the model that is live after this run.

    What TFX's BulkInferrer does for tf.Examples, for raw files and any framework: rows are read by
    the rules of ingest, some at a time, and come out with the predictions beside their columns.

    Its driver puts the files' names, sizes and times into the parameters, which are part of the
    cache key: with the same files and the same live model the node comes from the cache.

    Output: `predictions`, whose folder holds predictions.parquet, and whose custom properties are
    `rows`, `model_version`, `source_model_uri` (of the pushed model that was asked) and, where
    there is no live model yet, `reason`; then there is no file.
    """

    SPEC_CLASS = BatchPredictSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        files: Sequence[str],
        *,
        pushed_model: BaseChannel | None = None,
        live_model: BaseChannel,
        read: ReadSettings,
    ) -> None:
        """Defines the node.

        Args:
          files: absolute paths, or gs://… or s3://…: each a file, a folder or a glob.
          pushed_model: the Pusher's, where the pipeline has one; asked if this run pushed it.
          live_model: the one that was live before, if any; asked if it stays.
          read: how the files are written.
        """
        super().__init__(
            BatchPredictSpec(
                pushed_model=pushed_model,
                live_model=live_model,
                predictions=OutputChannel(Predictions, self, "predictions"),
                **{FILES: "\n".join(files), READ: read.model_dump_json(), STAMPS: ""},
            )
        )
