"""Runs a container in a pod of its own, from a pod of the same cluster.

The new pod gets what the settings of the node gave to the node's own pod: resources, volume claims,
node selector, tolerations and pull secrets, and some of its variables, a secret's by reference. It
gets no service account's token. It belongs to the node's pod, and goes with it; it is deleted when
the container has ended or the node is ended. A node that is tried again finds the pod of the try
before by its name, and waits for that one.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

SECONDS_BETWEEN_LOOKS = 2.0
MAX_SECONDS = 3600
"""After which Kubernetes ends the pod, should nobody else."""

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_MAIN = "main"
"""The container of the pod; Argo's name, and so that of the node's in its own pod."""
_USER = 10001
_HOPELESS = ("ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
_RIGHTS = "create, get and delete on pods, and get on pods/log"

Say = Callable[[str], None]
"""Takes a line that a container has printed."""


@dataclass(frozen=True)
class Container:
    """What is to run.

    Attributes:
      name: the same for each try of one execution, and for no other; fit for a pod's name.
      image: the image.
      command: the program and its arguments.
    """

    name: str
    image: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Cluster:
    """The cluster that this process runs in.

    Attributes:
      api: a `CoreV1Api` of Kubernetes' client.
      namespace: the namespace of this process's pod.
      pod: the name of this process's pod.
    """

    api: Any
    namespace: str
    pod: str


def own_cluster() -> Cluster | None:
    """The cluster that this process runs in, by its service account; None outside of one."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ or not (_ACCOUNT / "token").is_file():
        return None
    from kubernetes import client, config

    config.load_incluster_config()
    pod = os.environ.get("KFP_POD_NAME") or os.environ["HOSTNAME"]
    return Cluster(client.CoreV1Api(), (_ACCOUNT / "namespace").read_text().strip(), pod)


def run(container: Container, say: Say, *, cluster: Cluster, passed_on: Collection[str]) -> int:
    """Runs a container in its pod; its exit code.

    Args:
      container: what is to run.
      say: is given each line that it prints.
      cluster: where.
      passed_on: the variables that it gets of this process's pod.

    Raises:
      UserError: the pod cannot be made or cannot start.
    """
    with _rights(), _ended_by_signal():
        own = cluster.api.read_namespaced_pod(cluster.pod, cluster.namespace)
        try:
            if _find(cluster, container.name) is None:
                pod = cluster.api.api_client.sanitize_for_serialization(own)
                body = manifest(container, own=pod, passed_on=passed_on)
                cluster.api.create_namespaced_pod(cluster.namespace, body)
            pod = _wait(cluster, container.name, lambda pod: pod.status.phase != "Pending")
            _follow_log(cluster, container.name, say)
            pod = _wait(cluster, container.name, _is_over)
            return _exit_code(pod)
        finally:
            _delete(cluster, container.name)


def manifest(
    container: Container, *, own: dict[str, Any], passed_on: Collection[str]
) -> dict[str, Any]:
    """The pod of a container, beside the pod `own`; both as Kubernetes' API has them."""
    spec, metadata = own["spec"], own["metadata"]
    main = next((c for c in spec["containers"] if c["name"] == _MAIN), spec["containers"][0])
    volumes = [v for v in spec.get("volumes", []) if "persistentVolumeClaim" in v]
    names = {volume["name"] for volume in volumes}
    kept = ("nodeSelector", "tolerations", "imagePullSecrets")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": container.name,
            # A sidecar of Istio's would outlive the container, and the pod never end.
            "labels": {"sidecar.istio.io/inject": "false"},
            "annotations": {"sidecar.istio.io/inject": "false"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                }
            ],
        },
        "spec": {
            **{key: spec[key] for key in kept if spec.get(key)},
            "restartPolicy": "Never",
            "activeDeadlineSeconds": MAX_SECONDS,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": _MAIN,
                    "image": container.image,
                    "command": list(container.command),
                    "env": [e for e in main.get("env", []) if e["name"] in passed_on],
                    "resources": main.get("resources", {}),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [m for m in main.get("volumeMounts", []) if m["name"] in names],
                }
            ],
            "volumes": volumes,
        },
    }


def _find(cluster: Cluster, name: str) -> Any:
    """The pod of an earlier try that runs or has succeeded; one that failed is taken away first."""
    while (pod := _read(cluster, name)) is not None:
        if pod.metadata.deletion_timestamp is None:
            if pod.status.phase != "Failed":
                return pod
            _delete(cluster, name)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return None


def _read(cluster: Cluster, name: str) -> Any:
    from kubernetes.client import ApiException

    try:
        return cluster.api.read_namespaced_pod(name, cluster.namespace)
    except ApiException as error:
        if error.status == 404:
            return None
        raise


def _wait(cluster: Cluster, name: str, is_so: Callable[[Any], bool]) -> Any:
    while True:
        pod = _read(cluster, name)
        if pod is None:
            raise UserError(f"the pod {name} was deleted before its container had ended")
        if is_so(pod):
            return pod
        for state in pod.status.container_statuses or []:
            waiting = state.state.waiting
            if waiting is not None and waiting.reason in _HOPELESS:
                raise UserError(
                    f"the pod {name} cannot start: {waiting.reason}: {waiting.message or ''}"
                )
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _is_over(pod: Any) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def _follow_log(cluster: Cluster, name: str, say: Say) -> None:
    """Hands on the log as it grows; a log that breaks off, or is not there, ends nothing else."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        for line in cluster.api.read_namespaced_pod_log(
            name, cluster.namespace, container=_MAIN, follow=True, _preload_content=False
        ):
            say(line.decode(errors="replace").rstrip())
    except HTTPError as error:
        say(f"the log of {name} broke off: {error}")
    except ApiException as error:
        if error.status not in (400, 404):
            raise
        say(f"{name} has no log: its container did not start")


def _exit_code(pod: Any) -> int:
    """Of the container; 1 where the pod failed before it had one."""
    for state in pod.status.container_statuses or []:
        if state.name == _MAIN and state.state.terminated is not None:
            return int(state.state.terminated.exit_code)
    return 0 if pod.status.phase == "Succeeded" else 1


def _delete(cluster: Cluster, name: str) -> None:
    from kubernetes.client import ApiException

    try:
        cluster.api.delete_namespaced_pod(name, cluster.namespace, grace_period_seconds=5)
    except ApiException as error:
        if error.status != 404:
            raise


@contextmanager
def _rights() -> Iterator[None]:
    """Says what is missing where the cluster forbids something."""
    from kubernetes.client import ApiException

    try:
        yield
    except ApiException as error:
        if error.status in (401, 403):
            raise UserError(
                f"the service account of this pod may not run a pod: it needs {_RIGHTS}"
            ) from None
        raise UserError(f"Kubernetes refused: {error.status} {error.reason}") from error


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """SIGTERM, by which a cluster ends a pod, is an exception inside, so that all is tidied up."""

    def end(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
