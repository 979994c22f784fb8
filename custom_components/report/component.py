"""The report component: what it takes and gives, for the pipeline's definition."""

from __future__ import annotations

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import InfraBlessing, ModelEvaluation, PushedModel

from custom_components.artifacts import ModelSelection, Registration
from custom_components.artifacts import Report as ReportArtifact
from custom_components.report.executor import Executor

_RUN_ID = RuntimeParameter(name="pipeline-run-id", ptype=str)
"""TFX's own runtime parameter: every runner of a compiled pipeline gives it the run's id."""


class ReportSpec(ComponentSpec):
    """The report's interface."""

    PARAMETERS: ClassVar = {
        "run": ExecutionParameter(type=str),
        "store": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "evaluation": ChannelParameter(type=ModelEvaluation),
        "selection": ChannelParameter(type=ModelSelection),
        "infra_blessing": ChannelParameter(type=InfraBlessing),
        "pushed_model": ChannelParameter(type=PushedModel, optional=True),
        "registration": ChannelParameter(type=Registration, optional=True),
    }
    OUTPUTS: ClassVar = {"report": ChannelParameter(type=ReportArtifact)}


class Report(BaseComponent):
    """Writes the page of the run that it belongs to, as the metadata store tells it.

    The inputs are what was decided: the page is made of them, and of all that lies before them, and
    is written once they are there. Each run has a page of its own, which no cache gives: the run's
    id is among the parameters.

    A page that cannot be made does not fail a run whose model may be live by now: then the page
    says why. Only a store that cannot be asked fails the node.

    Output: `report`, whose folder holds index.html, and whose custom properties are `run` and
    `complete`.
    """

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        evaluation: BaseChannel,
        selection: BaseChannel,
        *,
        infra_blessing: BaseChannel,
        pushed_model: BaseChannel | None = None,
        registration: BaseChannel | None = None,
        store: str,
    ) -> None:
        """Defines the node.

        Args:
          evaluation: the ModelEvaluation of all models.
          selection: the ModelSelection.
          infra_blessing: the canary's.
          pushed_model: the Pusher's, where the pipeline has one.
          registration: the Registrar's, where the pipeline has one.
          store: the URL of the metadata store, as in `store.url`: without its password.
        """
        super().__init__(
            ReportSpec(
                evaluation=evaluation,
                selection=selection,
                infra_blessing=infra_blessing,
                pushed_model=pushed_model,
                registration=registration,
                run=_RUN_ID,
                store=store,
                report=OutputChannel(ReportArtifact, self, "report"),
            )
        )
