"""The trainer: TFX's own, which also tells the model where it comes from."""

from __future__ import annotations

from typing import Any

from tfx.components.trainer import component as tfx_component
from tfx.components.trainer import executor as tfx_executor
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types.artifact import Artifact

from custom_components.provenance import of_executor
from custom_components.resolvers import oldest_first, span_of

PROVENANCE = "provenance"
"""The key of `custom_config` under which `run_fn` finds a `pipeline.provenance.Provenance`."""


class Executor(tfx_executor.GenericExecutor):
    """Calls `run_fn` as TFX's does, with the provenance of the model to be."""

    def _GetFnArgs(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> FnArgs:
        input_dict = input_dict | {"examples": oldest_first(input_dict["examples"])}
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        provenance = of_executor(self._context, spans=map(span_of, input_dict["examples"]))
        fn_args.custom_config[PROVENANCE] = provenance.model_dump_json()
        return fn_args


class Trainer(tfx_component.Trainer):
    """TFX's Trainer: the same inputs, outputs and parameters."""

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
