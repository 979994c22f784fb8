"""Compiles the policy to a package of one task, which retrains what there is reason to retrain."""

# Annotations are not postponed: kfp reads a component's as types.

import tempfile
from collections.abc import Sequence
from pathlib import Path

from kfp import dsl
from kfp.compiler import Compiler

from pipeline.cluster.kfp_connection import IN_CLUSTER_HOST
from pipeline.cluster.kfp_settings import Target, apply, command_of, image_of
from pipeline.config import PROJECT, PipelineConfig
from pipeline.errors import UserError

CONTINUOUS = "continuous"
"""The task; its settings are those of tasks.nodes.continuous."""
_FROM_OUTSIDE = ("kubeflow.host=", "kubeflow.ui_host=", "kubeflow.auth=")
"""Settings of how somebody outside the cluster reaches its server."""
_INSIDE = (f'kubeflow.host="{IN_CLUSTER_HOST}"', 'kubeflow.auth="none"')
"""How the task does, whatever the file says."""


def name_of(config: PipelineConfig) -> str:
    """The package's name, and that of its schedule."""
    return f"{config.name}-{CONTINUOUS}"


def compile_package(
    config: PipelineConfig, file: Path, overrides: Sequence[str], *, target: Target = "kfp"
) -> str:
    """The package as YAML; the same text for the same configuration.

    Args:
      config: the pipeline's.
      file: the one that it was loaded from, which the image holds as well.
      overrides: the KEY=VALUE that it was loaded with.
      target: who runs it, and what it starts.

    Raises:
      UserError: the task has no image, a setting that `target` cannot give it, `file` is none of
        the project's, or the server asks for a token that a task does not get.
    """
    if target == "kfp" and config.kubeflow.auth == "in-cluster":
        raise UserError(
            "kubeflow.auth is in-cluster, but a task of a package is not given the token that this "
            "takes; have the CronJob of deploy/kubernetes/continuous call the policy"
        )
    settings = config.tasks.of(CONTINUOUS)
    arguments = [CONTINUOUS, "--once", "--config", _in_image(file)]
    own = [text for text in overrides if not text.startswith(_FROM_OUTSIDE)]
    runner = "vertex" if target == "vertex" else "kubeflow"
    inside = _INSIDE if target == "kfp" else ()
    for text in [*own, f'continuous.runner="{runner}"', *inside]:
        arguments += ["--set", text]

    def continuous() -> dsl.ContainerSpec:
        command = command_of(settings, "pipeline", target=target)
        return dsl.ContainerSpec(image_of(settings, CONTINUOUS), command, arguments)

    def define() -> None:
        task = dsl.container_component(continuous)()
        apply(task, settings, name=CONTINUOUS, config=config, target=target)

    described = dsl.pipeline(name=name_of(config), description="Retrains where that helps.")
    pipeline = described(define)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "package.yaml"
        Compiler().compile(pipeline, str(written))
        return written.read_text(encoding="utf-8")


def _in_image(file: Path) -> str:
    """`file` as the image has it, which begins in the project's folder."""
    try:
        return file.resolve().relative_to(PROJECT).as_posix()
    except ValueError:
        raise UserError(
            f"{file} lies outside the project, so the image does not hold it: put it into configs/ "
            "and build the image anew"
        ) from None
