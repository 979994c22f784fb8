"""Gives a task of a KFP package what the configuration says it gets, on Kubernetes or on Vertex."""

from __future__ import annotations

import json
from typing import Literal

from kfp import kubernetes
from kfp.dsl import PipelineTask

from pipeline.cluster import secrets
from pipeline.cluster_config import TaskSettings
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.store.connect import PASSWORD_FILE_VARIABLE

Target = Literal["kfp", "vertex"]
"""Who runs a package: Kubeflow Pipelines or Vertex AI Pipelines."""
_NOT_ON_VERTEX = {
    "node_selector": "choose the machine by cpu_limit, memory_limit and accelerator",
    "tolerations": "choose the machine by cpu_limit, memory_limit and accelerator",
    "volumes": "put the root in a bucket, as in gs://BUCKET/flights",
}


def image_of(settings: TaskSettings, name: str) -> str:
    """The image of the task called `name`.

    Raises:
      UserError: none is configured.
    """
    if settings.image is None:
        raise UserError(
            f"{name} has no container image: set tasks.defaults.image to the one that holds the "
            "project, as in registry.example.com/flights@sha256:…"
        )
    return settings.image


def command_of(settings: TaskSettings, module: str, *, target: Target) -> list[str]:
    """Starts `module` in a task's container."""
    python = ["python", "-m", module]
    if target == "vertex" and settings.timeout_seconds:
        # Vertex has no time limit for one task.
        return ["timeout", "--kill-after=30", str(settings.timeout_seconds), *python]
    return python


def apply(
    task: PipelineTask, settings: TaskSettings, *, name: str, config: PipelineConfig, target: Target
) -> None:
    """Writes `settings` into `task`, which the user knows as `name`.

    Raises:
      UserError: a value is none for KFP, or the target has no such thing.
    """
    task.set_display_name(name)
    # ML Metadata is the cache; KFP would skip what it knows nothing of.
    task.set_caching_options(False)
    if config.store.password_file:
        task.set_env_variable(PASSWORD_FILE_VARIABLE, config.store.password_file)
    for variable, value in settings.environment.items():
        task.set_env_variable(variable, value)
    if settings.retries and settings.retries.count:
        task.set_retry(
            num_retries=settings.retries.count,
            backoff_duration=f"{settings.retries.backoff_seconds}s",
            backoff_factor=settings.retries.backoff_factor,
            backoff_max_duration=f"{settings.retries.backoff_max_seconds}s",
        )
    _apply_resources(task, settings, name)
    if target == "vertex":
        _apply_on_vertex(task, settings, name, config)
    else:
        _apply_on_kubernetes(task, settings, config)


def _apply_resources(task: PipelineTask, settings: TaskSettings, name: str) -> None:
    for key, give in {
        "cpu": task.set_cpu_request,
        "cpu_limit": task.set_cpu_limit,
        "memory": task.set_memory_request,
        "memory_limit": task.set_memory_limit,
    }.items():
        value = getattr(settings, key)
        if value is not None:
            try:
                give(value)
            except ValueError as error:
                raise UserError(f"tasks: {key} of {name} is {value!r}: {error}") from None
    if settings.accelerator:
        task.set_accelerator_type(settings.accelerator)
        task.set_accelerator_limit(settings.accelerator_count)


def _apply_on_kubernetes(
    task: PipelineTask, settings: TaskSettings, config: PipelineConfig
) -> None:
    for variable, secret in settings.secrets.items():
        secret_name, _, key = secret.partition("/")
        kubernetes.use_secret_as_env(task, secret_name, {key: variable})
    for claim, path in settings.volumes.items():
        kubernetes.mount_pvc(task, claim, path)
    for label, value in settings.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for taint in settings.tolerations:
        kubernetes.add_toleration(
            task, taint.key, taint.operator, taint.value or None, taint.effect
        )
    if settings.timeout_seconds:
        kubernetes.set_timeout(task, settings.timeout_seconds)
    if config.tasks.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(config.tasks.image_pull_secrets))


def _apply_on_vertex(
    task: PipelineTask, settings: TaskSettings, name: str, config: PipelineConfig
) -> None:
    for key, instead in _NOT_ON_VERTEX.items():
        if getattr(settings, key):
            raise UserError(f"tasks: {key} of {name}: Vertex has no such thing; {instead}")
    if config.tasks.image_pull_secrets:
        raise UserError(
            "tasks.image_pull_secrets: Vertex has no such thing; give its service account the "
            "right to read the images' repository"
        )
    if settings.secrets:
        if config.vertex.project is None:
            raise UserError("vertex.project is not set, and the secrets lie in a project")
        project = f"projects/{config.vertex.project}"
        names = {
            variable: f"{project}/secrets/{secret.replace('/', '/versions/')}"
            for variable, secret in settings.secrets.items()
        }
        task.set_env_variable(secrets.VARIABLE, json.dumps(names, sort_keys=True))
