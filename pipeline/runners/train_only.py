"""Compiles a KFP package without TFX: each framework trains in its own image, the best wins.

For those who have transformed examples and a transform graph already, such as a Transform's of an
earlier run. The models travel as KFP's own artifacts, in the object store of its server; nothing is
written to the metadata store of the pipeline, whose password no task gets.
"""

# Annotations are not postponed: kfp reads a component's as types.

import inspect
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.compiler import Compiler

from models.train import JUDGED_BY
from pipeline.cluster import packed
from pipeline.cluster.kfp_settings import Target, apply, command_of, image_of
from pipeline.cluster_config import TaskSettings
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.store.connect import PASSWORD_VARIABLE
from pipeline.train_config import Framework

COMPARE = "compare"
"""The task that compares the models; its settings are those of tasks.nodes.compare."""


def compile_package(config: PipelineConfig, *, target: Target = "kfp") -> str:
    """The package as YAML; the same text for the same configuration.

    Its parameters are `train_data` and `eval_data`, a pattern of files each, and `transform_graph`,
    a folder: on a volume that the tasks mount, or in a bucket.

    Raises:
      UserError: a task has no image, or a setting that `target` cannot give it, or select.metric is
        one that trainings do not measure.
    """
    known = JUDGED_BY[config.features.problem]
    if config.select.metric not in known:
        raise UserError(
            f"select.metric is {config.select.metric}, and trainings are compared by "
            f"{' or '.join(known)}: set select.metric to one of these"
        )
    described = dsl.pipeline(name=f"{config.name}-train-only", description="The best of a few.")
    pipeline = described(_Package(config, target).define)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "package.yaml"
        Compiler().compile(pipeline, str(file))
        return file.read_text(encoding="utf-8")


class _Package:
    """The tasks, as kfp's compiler asks for them."""

    def __init__(self, config: PipelineConfig, target: Target) -> None:
        self._config = config
        self._target = target

    def define(self, train_data: str, eval_data: str, transform_graph: str) -> None:
        """A training for each framework, side by side, and the comparison.

        Args:
            train_data: Pattern of the files of transformed examples to learn from.
            eval_data: Pattern of the files of transformed examples to judge the models by.
            transform_graph: Folder of the transform graph that made them.
        """
        data = {
            "train_data": train_data,
            "eval_data": eval_data,
            "transform_graph": transform_graph,
        }
        trained: dict[str, Any] = {}
        for framework in self._config.train.frameworks:
            task = self._train(framework, data)
            trained[framework] = task.outputs["model"]
            trained[f"{framework}_run"] = task.outputs["model_run"]
        self._compare(trained)

    def _train(self, framework: Framework, data: dict[str, Any]) -> dsl.PipelineTask:
        def component(
            train_data: str,
            eval_data: str,
            transform_graph: str,
            model: dsl.Output[dsl.Model],
            model_run: dsl.Output[dsl.Artifact],
        ) -> dsl.ContainerSpec:
            arguments = [framework.value, "--train-data", train_data, "--eval-data", eval_data]
            arguments += ["--transform-graph", transform_graph]
            arguments += ["--model-dir", model.path, "--model-run-dir", model_run.path]
            arguments += settings_of_training(self._config, framework)
            return self._container(name, settings, "models.train", arguments)

        name, settings = f"train-{framework}", self._config.tasks.of_trainer(framework)
        return self._task(name, settings, component, data)

    def _compare(self, trained: dict[str, Any]) -> dsl.PipelineTask:
        config = packed.pack_text(self._config.model_dump_json().encode())
        settings = self._config.tasks.of(COMPARE)

        def component(run_id: str, champion: Any, comparison: Any, *models: Any) -> Any:
            arguments = ["--config-gzip", config, "--run-id", run_id]
            arguments += ["--champion-dir", champion.path, "--comparison-dir", comparison.path]
            for model, run in zip(models[::2], models[1::2], strict=True):
                arguments += ["--candidate", model.path, run.path, model.uri]
            return self._container(COMPARE, settings, "pipeline.tasks.compare", arguments)

        # As many inputs as there are frameworks.
        kinds = {
            "run_id": str,
            "champion": dsl.Output[dsl.Model],
            "comparison": dsl.Output[dsl.Artifact],
            **{
                name: dsl.Input[dsl.Artifact if name.endswith("_run") else dsl.Model]
                for name in trained
            },
        }
        either = inspect.Parameter.POSITIONAL_OR_KEYWORD
        component.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, either, annotation=kind) for name, kind in kinds.items()],
            return_annotation=dsl.ContainerSpec,
        )
        inputs = {"run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER, **trained}
        return self._task(COMPARE, settings, component, inputs)

    def _container(
        self, name: str, settings: TaskSettings, module: str, arguments: list[Any]
    ) -> dsl.ContainerSpec:
        command = command_of(settings, module, target=self._target)
        return dsl.ContainerSpec(image_of(settings, name), command, arguments)

    def _task(
        self,
        name: str,
        settings: TaskSettings,
        component: Callable[..., dsl.ContainerSpec],
        inputs: dict[str, Any],
    ) -> dsl.PipelineTask:
        component.__name__ = name
        task: dsl.PipelineTask = dsl.container_component(component)(**inputs)
        needed = {v: key for v, key in settings.secrets.items() if v != PASSWORD_VARIABLE}
        settings = settings.model_copy(update={"secrets": needed})
        apply(task, settings, name=name, config=self._config, target=self._target)
        return task


def settings_of_training(config: PipelineConfig, framework: Framework) -> list[str]:
    """The arguments of `models.train` that say what the configuration does, and need no file."""
    train = config.train
    section = train.of(framework).model_dump(mode="json")
    parameters = [f"{name}={_written(v)}" for name, v in section.items() if v is not None]
    return [
        *("--features", config.features.model_dump_json()),
        *("--seed", str(train.seed), "--class-weight", train.class_weight),
        *("--validation-share", str(train.validation_share)),
        *(word for parameter in parameters for word in ("--param", parameter)),
    ]


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
