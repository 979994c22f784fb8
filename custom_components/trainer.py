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
from models.dataset import weights_by_age

PROVENANCE = "provenance"
"""The key of `custom_config` under which `run_fn` finds a `pipeline.provenance.Provenance`."""
HALF_LIFE = "half_life"
"""The key under which the pipeline says by how many spans' age a row counts half; None: by none."""
TRAIN_WEIGHTS = "train_weights"
"""The key under which `run_fn` finds what a row of each of its `train_files` weighs."""
CROSS_VALIDATION = "cross_validation"
"""The key under which the pipeline says how rows are parted, a CrossValidation as JSON; `examples`
are raw ones then, of every split in `train_args`."""


class Executor(tfx_executor.GenericExecutor):
    """Calls `run_fn` as TFX's does, with the model's provenance and what its rows weigh."""

    def _GetFnArgs(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> FnArgs:
        input_dict = input_dict | {"examples": oldest_first(input_dict["examples"])}
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        spans = [span_of(examples) for examples in input_dict["examples"]]
        provenance = of_executor(self._context, spans=spans)
        fn_args.custom_config[PROVENANCE] = provenance.model_dump_json()
        half_life = fn_args.custom_config.get(HALF_LIFE)
        splits = len(fn_args.train_files) // len(spans)
        fn_args.custom_config[TRAIN_WEIGHTS] = weights_by_age(spans, half_life) * splits
        return fn_args


class Trainer(tfx_component.Trainer):
    """TFX's Trainer: the same inputs, outputs and parameters."""

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
