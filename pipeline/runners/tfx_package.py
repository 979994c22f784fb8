"""Compiles the pipeline by TFX's own runner for Vertex, as far as that can say what it does.

TFX's KubeflowV2DagRunner hands nodes, caching and metadata over to Vertex. It knows two strategies
of resolvers and takes one artifact for an input. So the pipeline is bent to it here: one model, one
span, no report, and for what earlier runs made the newest artifact of its type, in place of our
strategies. The package of `pipeline.runners.kubeflow` has none of these limits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)
from tfx.orchestration.kubeflow.v2.pipeline_builder import DEFAULT_IMAGE_PATH_KEY
from tfx.orchestration.pipeline import Pipeline
from tfx.types.channel import UnionChannel

import custom_components
from pipeline.config import PROJECT, PipelineConfig
from pipeline.errors import UserError
from pipeline.pipeline import create_pipeline

INSTEAD = "Use --pipeline nodes, which has no such limit."


def compile_package(config: PipelineConfig) -> str:
    """The package of `config` as TFX's runner makes it: the YAML of a PipelineSpec 2.1.

    Raises:
        UserError: if the runner cannot express the pipeline, and why.
    """
    _refuse_what_cannot_be_said(config)
    pipeline = create_pipeline(config)
    _leave_out_the_window(pipeline)
    _leave_out_the_report(pipeline)
    for node in pipeline.components:
        _bend(node)
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(
            default_image=_images(config, pipeline),
            default_commands=["python", "-m", "pipeline.cluster.vertex_task"],
            use_pipeline_spec_2_1=True,
        )
    )
    with _importable_artifacts():
        job = runner.run(pipeline, write_out=False)
    # A path in the project is one below the image's working folder, where that is the project's.
    spec = json.dumps(job["pipelineSpec"], ensure_ascii=False).replace(f"{PROJECT}/", "")
    return str(yaml.safe_dump(json.loads(spec)))


def _refuse_what_cannot_be_said(config: PipelineConfig) -> None:
    problems = []
    if config.data.window != 1:
        problems.append(
            f"data.window is {config.data.window}, but its resolvers choose one artifact, and not"
            " the last spans (node Window): set data.window=1"
        )
    if len(config.train.frameworks) > 1:
        several = ", ".join(config.train.frameworks)
        problems.append(
            f"train.frameworks are {several}, but an input comes from one node alone (nodes"
            " Evaluator, ModelSelector and Registrar take all the models): leave one"
        )
    if problems:
        raise UserError(
            f"TFX's KubeflowV2DagRunner cannot express this pipeline: {'; '.join(problems)}."
            f" {INSTEAD}"
        )


def _leave_out_the_window(pipeline: Pipeline) -> None:
    """Takes the span of this run as it is, which is the window of one."""
    (window,) = (node for node in pipeline.components if node.id == "Window")
    for node in list(window.downstream_nodes):
        for key, channel in node.inputs.items():
            if any(channel is output for output in window.outputs.values()):
                node.inputs[key] = window.raw_inputs["current"]
        node.remove_upstream_node(window)
        node.add_upstream_nodes(window.upstream_nodes)
    pipeline.components.remove(window)


def _leave_out_the_report(pipeline: Pipeline) -> None:
    """Vertex has the lineage of such a run, and no metadata store that the report could ask."""
    (report,) = (node for node in pipeline.components if node.id == "Report")
    for node in report.upstream_nodes:
        node.downstream_nodes.remove(report)
    pipeline.components.remove(report)


def _bend(node: BaseComponent) -> None:
    """Has the node take what TFX's runner can express."""
    if isinstance(node, Resolver):
        node._strategy_class = LatestArtifactStrategy
        node._config = {}
        return
    for key, channel in node.inputs.items():
        if isinstance(channel, UnionChannel):
            (node.inputs[key],) = channel.channels


def _images(config: PipelineConfig, pipeline: Pipeline) -> dict[str, str]:
    """The image of each node."""
    if not (default := config.tasks.defaults.image):
        raise UserError("tasks.defaults.image is not set; name the project's image there.")
    named = {node.id: config.tasks.of(node.id).image or default for node in pipeline.components}
    return {DEFAULT_IMAGE_PATH_KEY: default, **named}


@contextmanager
def _importable_artifacts() -> Iterator[None]:
    """Names our artifact types by the path at which TFX's container imports their classes.

    Its schema of a type that is not TFX's has no properties; they are there again in the task.
    """
    kinds = [getattr(custom_components, name) for name in custom_components.ARTIFACTS]
    before = [(kind, kind.TYPE_NAME, kind.PROPERTIES) for kind in kinds]
    try:
        for kind in kinds:
            kind.TYPE_NAME = f"{custom_components.__name__}.{kind.__name__}"
            kind.PROPERTIES = {}
        yield
    finally:
        for kind, name, properties in before:
            kind.TYPE_NAME, kind.PROPERTIES = name, properties
