"""The Evaluator component: a lesson in TFX's fully custom style."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from custom_components.evaluator.executor import Executor
from pipeline.features_config import FeaturesConfig


class EvaluatorSpec(component_spec.ComponentSpec):
    """The contract of an Evaluator: its settings, and the artifacts that go in and out."""

    PARAMETERS: ClassVar = {
        "evaluate": component_spec.ExecutionParameter(type=str),
        "label": component_spec.ExecutionParameter(type=str),
        "problem": component_spec.ExecutionParameter(type=str),
        "classes": component_spec.ExecutionParameter(type=str),
        "canary_rows": component_spec.ExecutionParameter(type=int),
        "ensemble": component_spec.ExecutionParameter(type=int),
        "group_by": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "learned": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
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
    """Judges models by rows that they have not seen, beside the model that is live.

    They may be made with anything: a bundle is asked by its rows. All of them and, if it is wanted,
    the mean of the best ones predict the same rows in one pass.

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
       `self._make_beam_pipeline()` runs in memory here and on Dataflow there. An output may
       become several artifacts: the executor puts them in the place of the one that it is given
       (here: a blessing for each candidate).
    3. This **component** class ties both together. Its constructor runs when the pipeline is
       defined, long before there is any data: it only makes output channels and fills in the
       spec.

    There is a fourth part, a **driver**, for a component that chooses its inputs itself (see the
    ExampleGen). This one is content with TFX's own.

    Outputs: `evaluation`, in TensorFlow Model Analysis's format with `verdict.json` (schema:
    `verdict.Verdict`), `canary.parquet`, `bootstrap.parquet` and, by the problem, `curves.parquet`
    (`curves.Curves`), `confusion.parquet` (`confusion.Confusion`) or `points.parquet`
    (`points.Points`) beside it, and `blessing`: for each trained candidate a
    ModelBlessing, whose custom property `candidate` names it, that says whether it may be pushed.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        models: types.BaseChannel,
        *,
        evaluate: str,
        features: FeaturesConfig,
        canary_rows: int,
        ensemble: int,
        group_by: str,
        learned: types.BaseChannel | None = None,
        baseline_model: types.BaseChannel | None = None,
    ) -> None:
        """Defines an evaluation.

        Args:
            examples: Examples to judge by, one artifact for each span: the eval split of those
                that the models learned from, else all rows.
            models: The models to judge, one of each framework: a channel of one, or a union of
                channels (`tfx.types.channel_utils.union`).
            evaluate: Metrics, slices, thresholds and guards: EvaluateConfig as JSON.
            features: The label's column, and what is predicted of it.
            canary_rows: How many raw rows to keep for the canary, with the models' predictions.
            ensemble: The mean of so many of the best models is judged too; 0 or 1: none. The best
                have the lowest loss on rows held out from training.
            group_by: The column by whose values rows resemble one another: the bootstrap keeps
                those together. Empty: each row is by itself.
            learned: The Examples that the models learned from; by default all.
            baseline_model: The PushedModel that is live; it may hold no artifact.
        """
        parameters: dict[str, Any] = {
            "evaluate": evaluate,
            "label": features.label,
            "problem": str(features.problem),
            "classes": json.dumps(features.class_names),
            "canary_rows": canary_rows,
            "ensemble": ensemble,
            "group_by": group_by,
        }
        spec = EvaluatorSpec(
            examples=examples,
            learned=learned,
            model=models,
            baseline_model=baseline_model,
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            **parameters,
        )
        super().__init__(spec=spec)
