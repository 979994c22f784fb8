"""A strict stand-in for a Kubeflow Pipelines server: API v2beta1, as far as it is called here.

What it does not know, be it a path, a parameter of the query or a field of the body, it refuses
with 400 and notes in `refused`.
"""

from __future__ import annotations

import itertools
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

ROOT = "/apis/v2beta1"

# The fields of a body: a set of names, a table of such, or what tests a value.
Shape = dict[str, Any] | Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _time(value: Any) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", value))


def _cron(value: str) -> bool:
    # robfig/cron 1.2: seconds first, no time zone.
    return len(value.split()) == 6 and "TZ=" not in value


SPAN = {"start_time": _time, "end_time": _time}
REFERENCE = {"pipeline_id": _text, "pipeline_version_id": _text}
RUN: Shape = {
    "display_name": _text,
    "experiment_id": _text,
    "pipeline_version_reference": REFERENCE,
    "runtime_config": {"parameters": lambda value: isinstance(value, dict)},
    "service_account": _text,
}
SHAPES: dict[str, Shape] = {
    "experiments": {"display_name": _text, "namespace": _text},
    "pipelines": {"display_name": _text, "namespace": _text},
    "runs": RUN,
    "recurringruns": {
        **RUN,
        "max_concurrency": lambda value: 1 <= int(value) <= 10,
        "no_catchup": _truth,
        "mode": lambda value: value in ("ENABLE", "DISABLE"),
        "trigger": {
            "cron_schedule": {"cron": _cron, **SPAN},
            "periodic_schedule": {"interval_second": lambda v: int(v) > 0, **SPAN},
        },
    },
}
KEYS = {
    "experiments": ("experiments", "experiment_id"),
    "pipelines": ("pipelines", "pipeline_id"),
    "versions": ("pipeline_versions", "pipeline_version_id"),
    "runs": ("runs", "run_id"),
    "recurringruns": ("recurringRuns", "recurring_run_id"),
}
QUERY = {"namespace", "page_size", "filter", "sort_by", "experiment_id"}


class RefusedError(Exception):
    """A request that the real server would refuse."""

    def __init__(self, status: int, message: str) -> None:
        """Takes the status of the answer and what is wrong."""
        super().__init__(message)
        self.status = status


class KfpServer:
    """What the server holds, and what it was asked."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self.things: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KEYS}
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        self.refused: list[str] = []
        self.on_request: Callable[[str, str], tuple[int, bytes] | None] = lambda *_: None
        """Says how a request (its method and path) is answered instead: status 0 hangs up."""
        self.loses_answer: Callable[[str, str], bool] = lambda *_: False
        """Says whether it hangs up once it has done what a request asks for."""
        self.url = ""
        self._ids = itertools.count(1)

    def called(self, *methods: str) -> list[str]:
        """The paths that were asked for by these methods, below the API's root."""
        return [path for method, path in self.requests if method in methods]

    def answer(self, method: str, url: str, body: bytes, content_type: str) -> dict[str, Any]:
        """The answer to a request."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        path = parts.path.removeprefix(ROOT)
        steps = path.strip("/").split("/")
        match method, steps:
            case "POST", ["pipelines", "upload_version"]:
                return self._upload(query, body, content_type)
            case "GET", ["pipelines", pipeline_id, "versions"]:
                return self._list("versions", query, pipeline_id=pipeline_id)
            case "GET", ["pipelines", pipeline_id, "versions", version_id]:
                _allow(query, set())
                return self._version(pipeline_id, version_id)
            case "GET", [kind] if kind in KEYS:
                return self._list(kind, query)
            case "POST", [kind] if kind in SHAPES:
                _allow(query, set())
                return self._create(kind, _json(body, SHAPES[kind]))
            case "GET", [kind, thing_id] if kind in KEYS:
                _allow(query, set())
                return self._get(kind, thing_id)
            case "DELETE", ["recurringruns", thing_id]:
                _allow(query, set())
                self.things["recurringruns"].remove(self._get("recurringruns", thing_id))
                return {}
            case "POST", ["recurringruns" | "runs" as kind, action]:
                _allow(query, set())
                return self._act(kind, *action.split(":"))
        raise RefusedError(400, f"no such path: {method} {path}")

    def _get(self, kind: str, thing_id: str) -> dict[str, Any]:
        for thing in self.things[kind]:
            if thing[KEYS[kind][1]] == thing_id:
                return thing
        raise RefusedError(404, f"{kind} {thing_id} not found")

    def _version(self, pipeline_id: str, version_id: str) -> dict[str, Any]:
        """A version with its specification, as a table; lists leave that out here."""
        version = self._get("versions", version_id)
        if version["pipeline_id"] != pipeline_id:
            raise RefusedError(404, f"pipeline {pipeline_id} has no version {version_id}")
        spec, *platform = yaml.safe_load_all(version["package"])
        if any("kubernetes" in document["platforms"] for document in platform):
            spec = {"pipeline_spec": spec, "platform_spec": platform[0]}
        return _without_package(version) | {"pipeline_spec": spec}

    def _list(self, kind: str, query: dict[str, str], **wanted: str) -> dict[str, Any]:
        _allow(query, QUERY)
        found = [
            thing
            for thing in self.things[kind]
            if all(thing.get(key) == value for key, value in wanted.items())
            and thing.get("experiment_id") == query.get("experiment_id", thing.get("experiment_id"))
            and all(thing[key] == value for key, value in _predicates(query.get("filter")))
        ]
        if query.get("sort_by") == "created_at desc":
            found.reverse()
        # Lists leave out what is empty, as the real server's JSON does.
        page = [_without_package(one) for one in found[: int(query.get("page_size", 10))]]
        return {KEYS[kind][0]: page, "total_size": len(found)} if page else {}

    def _create(self, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
        # Pipelines and experiments have names of their own; versions, within their pipeline.
        unique = ("display_name", *(["pipeline_id"] if kind == "versions" else []))
        same = [
            other for other in self.things[kind] if all(other[key] == thing[key] for key in unique)
        ]
        if same and kind in ("experiments", "pipelines", "versions"):
            raise RefusedError(409, f"{kind} {thing['display_name']} already exists")
        if "pipeline_version_reference" in thing:
            self._get("versions", thing["pipeline_version_reference"]["pipeline_version_id"])
            self._get("experiments", thing["experiment_id"])
        number = next(self._ids)
        made = thing | {
            KEYS[kind][1]: f"{kind}-{number}",
            "created_at": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z",
        }
        if kind == "runs":
            made["state"] = "PENDING"
        if not made.get("runtime_config", {}).get("parameters", True):
            del made["runtime_config"]
        self.things[kind].append(made)
        return made

    def _upload(self, query: dict[str, str], body: bytes, content_type: str) -> dict[str, Any]:
        _allow(query, {"name", "pipelineid"})
        self._get("pipelines", query["pipelineid"])
        form = BytesParser().parsebytes(f"Content-Type: {content_type}\n\n".encode() + body)
        (part,) = form.get_payload()
        if part.get_param("name", header="content-disposition") != "uploadfile":
            raise RefusedError(400, "no uploadfile")
        if not str(part.get_filename()).endswith(".yaml"):
            raise RefusedError(400, "not a YAML file")
        version = {"pipeline_id": query["pipelineid"], "display_name": query["name"]}
        made = self._create("versions", version)
        made["package"] = part.get_payload(decode=True).decode()
        return _without_package(made)

    def _act(self, kind: str, thing_id: str, action: str = "") -> dict[str, Any]:
        thing = self._get(kind, thing_id)
        match kind, action:
            case "recurringruns", "enable" | "disable":
                thing["mode"] = action.upper()
            case "runs", "terminate":
                thing["state"] = "CANCELING"
            case _:
                raise RefusedError(400, f"no such action: {action}")
        return {}


@contextmanager
def kfp_server(certificate: Path | None = None) -> Iterator[KfpServer]:
    """A server at work on a port of this machine, by TLS if it has a certificate."""
    state = KfpServer()

    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.removeprefix(ROOT)
            state.requests.append((self.command, path))
            state.tokens.append(self.headers.get("Authorization"))
            if (instead := state.on_request(self.command, path)) is not None:
                if not instead[0]:
                    self.close_connection = True
                    return
                self._send(*instead)
                return
            try:
                kind = self.headers.get("Content-Type", "")
                answer = state.answer(self.command, self.path, body, kind)
            except RefusedError as error:
                if error.status == 400:
                    state.refused.append(str(error))
                self._send(error.status, json.dumps({"message": str(error)}).encode())
            else:
                if state.loses_answer(self.command, path):
                    self.close_connection = True
                    return
                self._send(200, json.dumps(answer).encode())

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_any

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if 300 <= status < 400:
                self.send_header("Location", "/login")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _without_package(thing: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in thing.items() if key != "package"}


def _allow(query: dict[str, str], known: set[str]) -> None:
    if unknown := set(query) - known:
        raise RefusedError(400, f"unknown parameters of the query: {sorted(unknown)}")


def _predicates(text: str | None) -> list[tuple[str, str]]:
    if text is None:
        return []
    content = json.loads(text)
    predicates = content.pop("predicates")
    if content or any(
        set(predicate) != {"operation", "key", "string_value"}
        or predicate["operation"] != "EQUALS"
        or predicate["key"] != "display_name"
        for predicate in predicates
    ):
        raise RefusedError(400, f"not a filter: {text}")
    return [(predicate["key"], predicate["string_value"]) for predicate in predicates]


def _json(body: bytes, shape: Shape) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(body)
    _check(content, shape, "the body")
    return content


def _check(value: Any, shape: Shape, where: str) -> None:
    if callable(shape):
        if not shape(value):
            raise RefusedError(400, f"{where}: not {value!r}")
        return
    if not isinstance(value, dict) or (unknown := set(value) - set(shape)):
        raise RefusedError(400, f"{where}: unknown fields {sorted(unknown)}")
    for key, inner in value.items():
        _check(inner, shape[key], key)
