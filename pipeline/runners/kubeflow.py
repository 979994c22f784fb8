"""Compiles the pipeline to a KFP package: a container for each node, on Kubeflow or on Vertex."""

# Annotations are not postponed: kfp reads a component's as types.

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.compiler import Compiler
from tfx.proto.orchestration import pipeline_pb2

from pipeline.cluster import packed, task_ids
from pipeline.cluster.kfp_settings import Target, apply, command_of, image_of
from pipeline.cluster.task_ids import BACKFILL, FINISH, INIT
from pipeline.compiler import compile_pipeline
from pipeline.config import PipelineConfig


def compile_package(config: PipelineConfig, *, target: Target = "kfp") -> str:
    """The package of `config` as YAML; the same text for the same configuration and code.

    Raises:
      UserError: a task has no image, or a setting that `target` cannot give it.
    """
    ir = compile_pipeline(config)
    task_ids.check(config, ir)
    described = dsl.pipeline(name=config.name, description="From rows to a pushed model.")
    pipeline = described(_Package(config, ir, target).define)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "package.yaml"
        Compiler().compile(pipeline, str(file))
        return file.read_text(encoding="utf-8")


class _Package:
    """The pipeline's tasks, as kfp's compiler asks for them."""

    def __init__(self, config: PipelineConfig, ir: pipeline_pb2.Pipeline, target: Target) -> None:
        self._config = config
        self._target = target
        self._nodes = [entry.pipeline_node for entry in ir.nodes]
        self._pipeline: list[Any] = ["--ir-gzip", packed.pack(ir), "--store", config.store_url]

    def define(self, span: str = "", note: str = "", force: bool = False) -> None:
        """init, backfill and the nodes in the graph's order; finish, whatever came of them."""
        run: dict[str, Any] = {"run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER}
        finish = self._finish(run)
        run |= {"note": note, "force": force}
        with dsl.ExitHandler(finish, name="nodes"):
            first = init = self._init({**run, "span": span})
            if self._config.data.window != 1:
                first = self._backfill({**run, "spans": init.outputs["spans"]})
            run["span"] = init.outputs["chosen_span"]
            tasks: dict[str, dsl.PipelineTask] = {}
            for node in self._nodes:
                task = self._node(node.node_info.id, run)
                task.after(*[tasks[needed] for needed in node.upstream_nodes] or [first])
                tasks[node.node_info.id] = task

    def _init(self, inputs: dict[str, Any]) -> dsl.PipelineTask:
        config = packed.pack_text(self._config.model_dump_json().encode())
        image = image_of(self._config.tasks.of(INIT), INIT)
        runner = "vertex" if self._target == "vertex" else "kubeflow"

        def component(
            run_id: str,
            span: str,
            note: str,
            force: bool,
            chosen_span: dsl.OutputPath(str),  # type: ignore[valid-type]
            spans: dsl.OutputPath(str),  # type: ignore[valid-type]
        ) -> dsl.ContainerSpec:
            arguments = ["--config-gzip", config, *self._pipeline, "--run-id", run_id]
            arguments += ["--span", span, "--note", note, "--force", force]
            arguments += ["--image", image, "--runner", runner]
            arguments += ["--span-output", chosen_span, "--backfill-output", spans]
            return self._container(INIT, "pipeline.tasks.init", arguments)

        return self._task(INIT, component, inputs)

    def _backfill(self, inputs: dict[str, Any]) -> dsl.PipelineTask:
        def component(run_id: str, spans: str, note: str, force: bool) -> dsl.ContainerSpec:
            arguments = [*self._pipeline, "--run-id", run_id]
            arguments += ["--spans", spans, "--note", note, "--force", force]
            return self._container(BACKFILL, "pipeline.tasks.backfill", arguments)

        return self._task(BACKFILL, component, inputs)

    def _node(self, node_id: str, inputs: dict[str, Any]) -> dsl.PipelineTask:
        def component(run_id: str, span: str, note: str, force: bool) -> dsl.ContainerSpec:
            arguments = [*self._pipeline, "--node-id", node_id, "--run-id", run_id]
            arguments += ["--span", span, "--note", note, "--force", force]
            return self._container(node_id, "pipeline.node", arguments)

        return self._task(node_id, component, inputs)

    def _finish(self, inputs: dict[str, Any]) -> dsl.PipelineTask:
        webhook = self._config.kubeflow.webhook

        def component(run_id: str) -> dsl.ContainerSpec:
            arguments = [*self._pipeline, "--run-id", run_id]
            arguments += ["--webhook", webhook] if webhook else []
            return self._container(FINISH, "pipeline.tasks.finish", arguments)

        return self._task(FINISH, component, inputs)

    def _container(self, name: str, module: str, arguments: list[Any]) -> dsl.ContainerSpec:
        settings = self._config.tasks.of(name)
        command = command_of(settings, module, target=self._target)
        return dsl.ContainerSpec(image_of(settings, name), command, arguments)

    def _task(
        self, name: str, component: Callable[..., dsl.ContainerSpec], inputs: dict[str, Any]
    ) -> dsl.PipelineTask:
        component.__name__ = name
        task: dsl.PipelineTask = dsl.container_component(component)(**inputs)
        settings = self._config.tasks.of(name)
        apply(task, settings, name=name, config=self._config, target=self._target)
        return task
