"""The registrar component: what it takes and gives, for the pipeline's definition."""

from __future__ import annotations

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import (
    InfraBlessing,
    Model,
    ModelEvaluation,
    ModelRun,
    PushedModel,
    Schema,
)

from custom_components.artifacts import ModelSelection, Registration
from custom_components.registrar.driver import WAITING, Driver
from custom_components.registrar.executor import Executor
from custom_components.registrar.tracking import Destination
from pipeline.train_config import TrainConfig


class RegistrarSpec(ComponentSpec):
    """The registrar's interface."""

    PARAMETERS: ClassVar = {
        "destination": ExecutionParameter(type=str),
        "model_name": ExecutionParameter(type=str),
        "root": ExecutionParameter(type=str),
        "train": ExecutionParameter(type=str),
        WAITING: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "models": ChannelParameter(type=Model),
        "model_runs": ChannelParameter(type=ModelRun),
        "evaluation": ChannelParameter(type=ModelEvaluation),
        "selection": ChannelParameter(type=ModelSelection),
        "model": ChannelParameter(type=Model),
        "schema": ChannelParameter(type=Schema),
        "infra_blessing": ChannelParameter(type=InfraBlessing, optional=True),
        "pushed_model": ChannelParameter(type=PushedModel, optional=True),
    }
    OUTPUTS: ClassVar = {"registration": ChannelParameter(type=Registration)}


class Registrar(BaseComponent):
    """Tells MLflow of every training, and registers the champion.

    Each training is a run of MLflow with its model; the champion is a version of the registered
    model, `challenger` until it is live, then `champion`. If MLflow does not answer, the node
    completes all the same: what there is to tell lies in its artifact, and is told by the next run
    or by `python -m pipeline registry sync`.

    Output: `registration`, whose folder holds registration.json and outcome.json (`record`), and
    whose custom properties name MLflow's run and version: `registered` (1 or 0), `reason` (why
    not), `tracking_uri`, `model_name`, `model_version`, `mlflow_run` (the champion's) and
    `mlflow_runs` (each training's, as JSON).
    """

    SPEC_CLASS = RegistrarSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        models: BaseChannel,
        model_runs: BaseChannel,
        *,
        evaluation: BaseChannel,
        selection: BaseChannel,
        model: BaseChannel,
        schema: BaseChannel,
        infra_blessing: BaseChannel | None = None,
        pushed_model: BaseChannel | None = None,
        destination: Destination,
        model_name: str,
        root: str,
        train: TrainConfig,
    ) -> None:
        """Defines the node.

        Args:
          models: the trainers' Model artifacts: a union of channels, or one.
          model_runs: their ModelRun artifacts, in any order.
          evaluation: the ModelEvaluation of all of them.
          selection: the ModelSelection, which says who is the champion.
          model: the champion.
          schema: the schema of the raw columns.
          infra_blessing: the canary's; a champion that it refused is no challenger.
          pushed_model: the Pusher's, where the pipeline has one; without it the champion waits for
            approval.
          destination: whom to tell.
          model_name: under which the champion is registered.
          root: the pipeline's root, below which earlier records may wait.
          train: the settings of the trainings.
        """
        super().__init__(
            RegistrarSpec(
                models=models,
                model_runs=model_runs,
                evaluation=evaluation,
                selection=selection,
                model=model,
                schema=schema,
                infra_blessing=infra_blessing,
                pushed_model=pushed_model,
                destination=destination.model_dump_json(),
                model_name=model_name,
                root=root,
                train=train.model_dump_json(),
                **{WAITING: "[]"},
                registration=OutputChannel(Registration, self, "registration"),
            )
        )
