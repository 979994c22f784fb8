"""Runs a container component: in a pod of its own, in a container engine, or as a process here.

In a cluster the pod has the image of the component, and what the node's own pod has of the cluster
(see `pods`). On a machine where Docker answers, the image runs there. Where there is neither, as on
most laptops, in CI and on Vertex, the command runs as a process, with this Python in place of the
image's: good enough for a program that needs Python alone, and the log says so.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from tfx.dsl.compiler.placeholder_utils import ResolutionContext, resolve_placeholder_expression
from tfx.orchestration.portable.base_executor_operator import BaseExecutorOperator
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.executable_spec_pb2 import ContainerExecutableSpec
from tfx.proto.orchestration.execution_result_pb2 import ExecutorOutput

from pipeline.cluster import pods
from pipeline.cluster.pods import Container, Say
from pipeline.errors import UserError

PASSED_ON = ("EXPORT_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""What a container gets of the node's environment; the store's password is not among it."""

_PYTHONS = ("python", "python3")
_logger = logging.getLogger(__name__)


class ContainerOperator(BaseExecutorOperator):
    """What TFX's launcher asks to run a container component."""

    SUPPORTED_EXECUTOR_SPEC_TYPE: ClassVar = [ContainerExecutableSpec]
    SUPPORTED_PLATFORM_CONFIG_TYPE: ClassVar[list[Any]] = []

    def run_executor(self, execution_info: ExecutionInfo) -> ExecutorOutput:
        """Runs the container to its end; what it prints goes into the log.

        Raises:
          UserError: it failed; the message ends with its last line.
        """
        container = resolved(self._executor_spec, execution_info)
        last = ["it said nothing"]

        def say(line: str) -> None:
            _logger.info("%s", line)
            if line.strip():
                last[0] = line

        code = run(container, say)
        if code != 0:
            raise UserError(
                f"the container of {container.image} ended with exit code {code}: {last[0]}"
            )
        return ExecutorOutput()


def resolved(spec: ContainerExecutableSpec, execution: ExecutionInfo) -> Container:
    """The container of an execution, with the values of its placeholders."""
    context = ResolutionContext(exec_info=execution, executor_spec=spec)
    words = [
        str(resolve_placeholder_expression(word, context)) for word in (*spec.commands, *spec.args)
    ]
    node, run_id = execution.pipeline_node.node_info.id, execution.pipeline_run_id
    identity = f"{execution.pipeline_info.id}/{run_id}/{node}/{execution.execution_id}"
    # The same for each try of one execution, and for no other.
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{execution.pipeline_info.id}-{node}".lower())
    return Container(f"{readable[:48].strip('-')}-{digest}", spec.image, tuple(words))


def run(container: Container, say: Say) -> int:
    """Runs a container where that is possible here; its exit code.

    Raises:
      UserError: it cannot be run.
    """
    cluster = pods.own_cluster()
    if cluster is not None:
        return pods.run(container, say, cluster=cluster, passed_on=PASSED_ON)
    if _has_docker():
        return _run_process(_docker_command(container), say)
    return _run_process(_command_without_image(container), say)


def _has_docker() -> bool:
    """Whether there is a Docker engine that answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def _docker_command(container: Container) -> list[str]:
    """The command line of Docker; its variables' values are taken from the environment."""
    passed_on = [word for name in PASSED_ON if name in os.environ for word in ("--env", name)]
    options = ["--rm", "--name", container.name, "--network", "host", *passed_on]
    program, *arguments = container.command
    return ["docker", "run", *options, "--entrypoint", program, container.image, *arguments]


def _command_without_image(container: Container) -> list[str]:
    program, *arguments = container.command
    found = sys.executable if program in _PYTHONS else shutil.which(program)
    if found is None:
        raise UserError(
            f"{container.image} cannot be run: there is no container engine here, nor a program "
            f"{program!r}; start Docker, or leave the node out"
        )
    _logger.warning("no container engine here: %s runs in place of %s", found, container.image)
    return [found, *arguments]


def _run_process(command: Sequence[str], say: Say) -> int:
    """Runs a program in the environment that a container would have; its exit code."""
    kept = {name: os.environ[name] for name in ("PATH", *PASSED_ON) if name in os.environ}
    kept |= {"HOME": os.environ.get("HOME", "/"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                say(line.rstrip())
            return process.wait()
        except BaseException:
            process.terminate()
            raise
