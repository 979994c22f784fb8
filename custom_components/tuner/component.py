"""The tuner component: what it takes and gives, for the pipeline's definition."""

from __future__ import annotations

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_component_specs as keys
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples, HyperParameters, TransformGraph, TunerResults

from custom_components.tuner.executor import Executor
from models.tuning.space import space_of
from pipeline.errors import UserError
from pipeline.features_config import FeaturesConfig
from pipeline.train_config import Framework, TrainConfig, TuneConfig


class TunerSpec(ComponentSpec):
    """The tuner's interface, its inputs and outputs named as those of TFX's own."""

    PARAMETERS: ClassVar = {
        "framework": ExecutionParameter(type=str),
        "search": ExecutionParameter(type=str),
        "features": ExecutionParameter(type=str),
        "train": ExecutionParameter(type=str),
        "tune": ExecutionParameter(type=str),
        "memory_budget": ExecutionParameter(type=float),
        "half_life": ExecutionParameter(type=float, optional=True),
        "study_folder": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        keys.EXAMPLES_KEY: ChannelParameter(type=Examples),
        keys.TRANSFORM_GRAPH_KEY: ChannelParameter(type=TransformGraph),
    }
    OUTPUTS: ClassVar = {
        keys.BEST_HYPERPARAMETERS_KEY: ChannelParameter(type=HyperParameters),
        keys.TUNER_RESULTS_KEY: ChannelParameter(type=TunerResults),
    }


class Tuner(BaseComponent):
    """Searches for the hyper-parameters of one framework, by Optuna.

    Outputs:

    *   `best_hyperparameters`, a standard HyperParameters artifact, which TFX's Trainer takes as
        its `hyperparameters`: best_hyperparameters.txt, a JSON object;
    *   `tuner_results`, a standard TunerResults artifact, whose folder `models.tuning.result`
        reads: every trial, the importance of each hyper-parameter, and a picture of both.
    """

    SPEC_CLASS = TunerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: BaseChannel,
        transform_graph: BaseChannel,
        *,
        framework: Framework,
        features: FeaturesConfig,
        train: TrainConfig,
        tune: TuneConfig,
        study_folder: str,
        memory_budget: float = 1.0,
        half_life: float | None = None,
        search: str | None = None,
    ) -> None:
        """Defines the node.

        Args:
          examples: transformed Examples, of whose train split part is held out from each trial.
          transform_graph: the TransformGraph that they went through.
          framework: whose hyper-parameters are searched.
          features: the columns.
          train: what is not searched, and the first trial.
          tune: the space, and how long to search.
          study_folder: a folder of this machine where searches are kept, so that one that was
            interrupted goes on; with a URL it begins anew.
          memory_budget: GiB that the rows may take in memory.
          half_life: by how many spans' age a row counts half; by default all count the same.
          search: dotted name of a `models.tuning.trainers.Search`, in place of the framework's.

        Raises:
          UserError: the space does not fit the framework, or there are no trials to make.
        """
        if not tune.trials:
            raise UserError(
                f"tune.trials is 0: no trials of {framework} to make; expected 1 or more"
            )
        space_of(framework, train, tune)
        super().__init__(
            TunerSpec(
                examples=examples,
                transform_graph=transform_graph,
                framework=framework.value,
                search=search or f"models.{framework}_model.search",
                features=features.model_dump_json(),
                train=train.only(framework).model_dump_json(),
                tune=_space_of_one(framework, tune).model_dump_json(),
                memory_budget=memory_budget,
                half_life=half_life,
                study_folder=study_folder,
                best_hyperparameters=OutputChannel(
                    HyperParameters, self, keys.BEST_HYPERPARAMETERS_KEY
                ),
                tuner_results=OutputChannel(TunerResults, self, keys.TUNER_RESULTS_KEY),
            )
        )


def _space_of_one(framework: Framework, tune: TuneConfig) -> TuneConfig:
    space = {framework: tune.space[framework]} if framework in tune.space else {}
    return tune.model_copy(update={"frameworks": (framework,), "space": space})
