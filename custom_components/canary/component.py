"""The canary component: what it takes and gives, for the pipeline's definition."""

from __future__ import annotations

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelBlessing, ModelEvaluation

from custom_components.canary.executor import Executor
from pipeline.config import CanaryConfig


class CanarySpec(ComponentSpec):
    """The canary's interface: what may be connected to it, checked when the pipeline is defined."""

    PARAMETERS: ClassVar = {"canary": ExecutionParameter(type=str)}
    INPUTS: ClassVar = {
        "model": ChannelParameter(type=Model),
        "evaluation": ChannelParameter(type=ModelEvaluation),
        "model_blessing": ChannelParameter(type=ModelBlessing),
    }
    OUTPUTS: ClassVar = {"blessing": ChannelParameter(type=InfraBlessing)}


class Canary(BaseComponent):
    """Loads a model as a server would, and compares its answers with the evaluator's.

    This is a component in TFX's second style, a fully custom one, in three parts:

    *   the *spec* above declares parameters, inputs and outputs by name and type. Parameters and
        the inputs' identities make the cache key;
    *   the *executor* (`executor.Executor`) does the work: its `Do` gets the resolved artifacts and
        the parameters, by the spec's names. It runs wherever the runner puts it, so it is named
        here by its class and not called;
    *   the *component*, this class, is what a pipeline's definition calls: it turns readable
        arguments into the spec.

    A fourth part, a *driver*, decides before the executor runs; TFX's ExampleGen has one, to find
    out which span to read (see `example_gen`). Take this style where a function does not do: an
    input holds several artifacts, the executor is worth a class of its own, may be replaced by
    another (`EXECUTOR_SPEC`), or runs Beam.

    Outputs: `blessing`, a standard InfraBlessing, so that TFX's Pusher and resolvers understand it.
    Its folder holds canary.json (`report.CanaryReport`).
    """

    SPEC_CLASS = CanarySpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: BaseChannel,
        evaluation: BaseChannel,
        *,
        model_blessing: BaseChannel,
        canary: CanaryConfig,
    ) -> None:
        """Defines the node.

        Args:
          model: the Model to try, with its bundle in Format-Serving: a SavedModel with the
            signatures `serving_default` and `serving_raw`, or what `models.bundle` loads.
          evaluation: the ModelEvaluation with raw rows and the predictions that were judged.
          model_blessing: the selector's ModelBlessing; a model without one is not tried.
          canary: how it is tried.
        """
        super().__init__(
            CanarySpec(
                model=model,
                evaluation=evaluation,
                model_blessing=model_blessing,
                canary=canary.model_dump_json(),
                blessing=OutputChannel(InfraBlessing, self, "blessing"),
            )
        )
