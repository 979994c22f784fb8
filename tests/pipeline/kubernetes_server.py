"""The part of Kubernetes' API that running a pod takes, as an HTTP server of the test's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

NAMESPACE = "flights"
NODE_POD = "run-1-export"
"""The pod that the node runs in."""

_Pod = dict[str, Any]


class KubernetesServer:
    """Pods that are Pending when first looked at, then Running, then over.

    Attributes:
      pods: those that are there, by name.
      created: the manifests that were posted.
      log: what the container prints.
      exit_code: how it ends.
      waiting: why a new pod does not start, if it does not.
      evicted: whether new pods fail before their container starts.
      forbidden: whether every request is refused.
    """

    def __init__(self) -> None:
        self.pods: dict[str, _Pod] = {NODE_POD: node_pod()}
        self.created: list[_Pod] = []
        self.deleted: list[str] = []
        self.log: Iterable[bytes] = [b"hello\n"]
        self.exit_code = 0
        self.waiting: str | None = None
        self.evicted = False
        self.forbidden = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._get(self)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer._create(self, body)

            def do_DELETE(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                outer._delete(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, name: str, phase: str) -> None:
        """A pod of an earlier try."""
        self.pods[name] = {
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "main", "image": "python:3.12-slim"}]},
            "status": {"phase": phase},
        }

    def _get(self, request: Any) -> None:
        *_, name = (parts := urlsplit(request.path).path.split("/"))
        if self.forbidden:
            _answer(request, 403, {"reason": "Forbidden"})
        elif name == "log" and self.evicted:
            _answer(request, 400, {"reason": "BadRequest"})
        elif name == "log":
            lines = b"".join(self.log)
            self._end(parts[-2])
            _send(request, 200, lines)
        elif name not in self.pods:
            _answer(request, 404, {"reason": "NotFound"})
        else:
            _answer(request, 200, self.pods[name])
            self._advance(name)

    def _advance(self, name: str) -> None:
        """What has happened until somebody looks again."""
        status = self.pods[name]["status"]
        if self.waiting and name != NODE_POD:
            state = {"waiting": {"reason": self.waiting, "message": "no such image"}}
            status["containerStatuses"] = [_container_status(state)]
        elif status["phase"] == "Pending":
            status["phase"] = "Failed" if self.evicted else "Running"

    def _end(self, name: str) -> None:
        phase = "Succeeded" if self.exit_code == 0 else "Failed"
        state = {"terminated": {"exitCode": self.exit_code}}
        status = {"phase": phase, "containerStatuses": [_container_status(state)]}
        if name in self.pods:
            self.pods[name]["status"] = status

    def _create(self, request: Any, body: _Pod) -> None:
        self.created.append(body)
        pod = {**body, "status": {"phase": "Pending"}}
        self.pods[body["metadata"]["name"]] = pod
        _answer(request, 201, pod)

    def _delete(self, request: Any) -> None:
        name = urlsplit(request.path).path.split("/")[-1]
        self.deleted.append(name)
        found = self.pods.pop(name, None)
        _answer(request, 200 if found else 404, found or {"reason": "NotFound"})


def node_pod() -> _Pod:
    """The pod of a node, as Kubeflow makes it of the settings."""
    secret = {"secretKeyRef": {"name": "warehouse", "key": "token"}}
    password = {"secretKeyRef": {"name": "metadata-store", "key": "password"}}
    main = {
        "name": "main",
        "image": "registry.example.com/flights:1",
        "env": [
            {"name": "EXPORT_TOKEN", "valueFrom": secret},
            {"name": "PIPELINE_STORE_PASSWORD", "valueFrom": password},
        ],
        "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "root", "mountPath": "/pipeline"},
            {"name": "kfp-launcher", "mountPath": "/kfp-launcher"},
        ],
    }
    return {
        "metadata": {"name": NODE_POD, "uid": "2f0c", "namespace": NAMESPACE},
        "spec": {
            "containers": [{"name": "wait", "image": "argoexec"}, main],
            "nodeSelector": {"pool": "small"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "imagePullSecrets": [{"name": "registry"}],
            "serviceAccountName": "pipeline-runner",
            "volumes": [
                {"name": "root", "persistentVolumeClaim": {"claimName": "pipeline-root"}},
                {"name": "kfp-launcher", "emptyDir": {}},
            ],
        },
        "status": {"phase": "Running"},
    }


def _container_status(state: dict[str, Any]) -> dict[str, Any]:
    rest = {"name": "main", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    return {**rest, "state": state}


def _answer(request: Any, code: int, content: Any) -> None:
    _send(request, code, json.dumps(content).encode())


def _send(request: Any, code: int, body: bytes) -> None:
    request.send_response(code)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    with suppress(BrokenPipeError):  # the node was ended meanwhile
        request.wfile.write(body)
