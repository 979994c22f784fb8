"""A container in a pod of its own: what the pod is like, and how it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import kubernetes_validate
import pytest
from kubernetes import client

from pipeline.cluster import pods
from pipeline.cluster.pods import Cluster, Container
from pipeline.errors import UserError
from tests.pipeline.kubernetes_server import NAMESPACE, NODE_POD, KubernetesServer, node_pod

CONTAINER = Container("flights-export-1a2b", "python:3.12-slim", ("python", "-c", "print(1)"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    monkeypatch.setattr(pods, "SECONDS_BETWEEN_LOOKS", 0.01)
    with KubernetesServer() as started:
        yield started


def run(server: KubernetesServer) -> tuple[int, list[str]]:
    lines: list[str] = []
    api = client.CoreV1Api(client.ApiClient(client.Configuration(host=server.url)))
    cluster = Cluster(api, NAMESPACE, NODE_POD)
    code = pods.run(CONTAINER, lines.append, cluster=cluster, passed_on=("EXPORT_TOKEN",))
    return code, lines


def test_the_pod_is_valid_and_has_what_the_node_has_but_its_rights_and_its_password() -> None:
    pod = pods.manifest(CONTAINER, own=node_pod(), passed_on=("EXPORT_TOKEN",))
    kubernetes_validate.validate(pod, "1.30", strict=True)
    (main,) = pod["spec"]["containers"]
    assert (main["image"], main["command"]) == ("python:3.12-slim", ["python", "-c", "print(1)"])
    secret = {"secretKeyRef": {"name": "warehouse", "key": "token"}}
    assert main["env"] == [{"name": "EXPORT_TOKEN", "valueFrom": secret}]
    assert main["resources"] == node_pod()["spec"]["containers"][1]["resources"]
    assert main["volumeMounts"] == [{"name": "root", "mountPath": "/pipeline"}]
    assert [v["name"] for v in pod["spec"]["volumes"]] == ["root"]
    for key in ("nodeSelector", "tolerations", "imagePullSecrets"):
        assert pod["spec"][key] == node_pod()["spec"][key]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod["spec"]
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["name"], owner["uid"]) == (NODE_POD, "2f0c")


def test_the_output_is_handed_on_and_the_pod_is_gone_afterwards(server: KubernetesServer) -> None:
    server.log = [b"one\n", b"two \xff\n"]
    assert run(server) == (0, ["one", "two �"])
    assert len(server.created) == 1
    assert set(server.pods) == {NODE_POD}


def test_the_exit_code_is_the_containers_and_the_pod_is_gone(server: KubernetesServer) -> None:
    server.exit_code = 3
    assert run(server)[0] == 3
    assert set(server.pods) == {NODE_POD}


@pytest.mark.parametrize("phase", ["Pending", "Running", "Succeeded"])
def test_a_node_that_is_tried_again_waits_for_the_pod_of_the_try_before(
    server: KubernetesServer, phase: str
) -> None:
    server.put(CONTAINER.name, phase)
    assert run(server)[0] == 0
    assert not server.created


def test_a_pod_that_failed_in_the_try_before_is_made_anew(server: KubernetesServer) -> None:
    server.put(CONTAINER.name, "Failed")
    assert run(server)[0] == 0
    assert len(server.created) == 1


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_had_is_said_at_once(server: KubernetesServer, reason: str) -> None:
    server.waiting = reason
    with pytest.raises(UserError, match=f"cannot start: {reason}: no such image"):
        run(server)
    assert server.deleted == [CONTAINER.name]


def test_a_pod_that_fails_before_its_container_starts_is_a_failure(
    server: KubernetesServer,
) -> None:
    server.evicted = True
    code, (line,) = run(server)
    assert (code, line) == (1, f"{CONTAINER.name} has no log: its container did not start")


def test_missing_rights_are_named(server: KubernetesServer) -> None:
    server.forbidden = True
    with pytest.raises(UserError, match=r"needs create, get and delete on pods, and get on pods/l"):
        run(server)


def test_a_node_that_is_ended_takes_its_pod_along(server: KubernetesServer) -> None:
    def lines() -> Iterator[bytes]:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(0.2)
        yield b"too late\n"

    server.log = lines()
    with pytest.raises(SystemExit) as ended:
        run(server)
    assert ended.value.code == 128 + signal.SIGTERM
    assert set(server.pods) == {NODE_POD}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_outside_of_a_cluster_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert pods.own_cluster() is None
