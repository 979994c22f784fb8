"""The Evaluator component: a lesson in TFX's fully custom style."""

from __future__ import annotations

from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from custom_components.evaluator.executor import Executor


class EvaluatorSpec(component_spec.ComponentSpec):
    """The contract of an Evaluator: its settings, and the artifacts that go in and out."""

    PARAMETERS: ClassVar = {
        "evaluate": component_spec.ExecutionParameter(type=str),
        "label": component_spec.ExecutionParameter(type=str),
        "candidate": component_spec.ExecutionParameter(type=str),
        "canary_rows": component_spec.ExecutionParameter(type=int),
    }
    INPUTS: ClassVar = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": component_spec.ChannelParameter(
            type=standard_artifacts.PushedModel, optional=True
        ),
    }
    OUTPUTS: ClassVar = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """Judges a model by rows that it has not seen, beside the model that is live.

    This is a *fully custom* component. Write one when a function will not do: here because the
    rows go through Beam, because one input may be several artifacts (a span each), and because
    the executor is worth a class of its own. It has three parts:

    1. A **spec** (`EvaluatorSpec`) names the parameters, inputs and outputs with their types. TFX
       checks calls against it, and writes it into the compiled pipeline. Parameters are plain
       values, since they become cache keys in the metadata store: a section of the configuration
       travels as JSON.
    2. An **executor** (`executor.Executor`) does the work when the node runs: `Do` gets lists of
       artifacts and the parameters, writes files to the outputs' `uri`s, and sets properties
       that other nodes can ask for. It may run in another process or container than this class,
       so nothing else is passed. A BaseBeamExecutor also gets the pipeline's Beam arguments:
       `self._make_beam_pipeline()` runs in memory here and on Dataflow there.
    3. This **component** class ties both together. Its constructor runs when the pipeline is
       defined, long before there is any data: it only makes output channels and fills in the
       spec.

    There is a fourth part, a **driver**, for a component that chooses its inputs itself (see the
    ExampleGen). This one is content with TFX's own.

    Outputs: `evaluation`, in TensorFlow Model Analysis's format with `verdict.json` (schema:
    `verdict.Verdict`) and `canary.parquet` beside it, and `blessing`, which says whether the
    model may be pushed.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        *,
        evaluate: str,
        label: str,
        canary_rows: int,
        candidate: str = "keras",
        baseline_model: types.BaseChannel | None = None,
    ) -> None:
        """Defines an evaluation.

        Args:
            examples: Examples, one artifact for each span; their eval split is used.
            model: The model to judge.
            evaluate: Metrics, slices, thresholds and guards: EvaluateConfig as JSON.
            label: The label's column.
            canary_rows: How many raw rows to keep for the canary, with the model's predictions.
            candidate: The model's name in the evaluation.
            baseline_model: The PushedModel that is live; it may hold no artifact.
        """
        parameters: dict[str, Any] = {
            "evaluate": evaluate,
            "label": label,
            "candidate": candidate,
            "canary_rows": canary_rows,
        }
        spec = EvaluatorSpec(
            examples=examples,
            model=model,
            baseline_model=baseline_model,
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            **parameters,
        )
        super().__init__(spec=spec)
