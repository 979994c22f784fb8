"""Answers over HTTP with the newest model of the serving folder, whatever it is made with.

    GET  /                         a page to try one row
    GET  /healthz                  the process answers
    GET  /readyz                   a model is loaded; until then 503
    GET  /v1/models/NAME           its version, what it takes, and where it comes from
    POST /v1/models/NAME:predict   {"instances": [ROW, …]} gives {"predictions": [PREDICTION, …]}

The last two are TensorFlow Serving's, with a little more in the answers. A prediction is a number,
of two classes the probability of the second one; of several classes it is a list with the
probability of each, in the order of the answer's "classes".
"""

from __future__ import annotations

import json
import os
import signal
import threading
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.lazy import imports
from pipeline.quiet import errors_to
from pipeline.serve import page
from pipeline.serve.folder import Served, ServingFolder, say

LARGEST_REQUEST = 32 * 1024 * 1024
"""Bytes of a request's body that are read; a longer one is refused."""


class BadRequest(Exception):
    """What a client asked cannot be answered.

    Attributes:
      status: the status that says so.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """The HTTP server of one model; a thread for each connection."""

    daemon_threads = False  # Requests that are under way are answered before it ends.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], name: str, models: ServingFolder) -> None:
        self.name = name
        self.model_path = f"/v1/models/{name}"
        self.models = models
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 10  # A client that says nothing for so many seconds is hung up on.

    def do_GET(self) -> None:
        if self.path == "/":
            self._send_page()
            return
        paths = {
            "/healthz": lambda: {},
            "/readyz": self._ready,
            self.server.model_path: self._about,
        }
        self._answer(paths.get(self.path))

    def do_POST(self) -> None:
        asked = self.path == f"{self.server.model_path}:predict"
        self._answer(self._predict if asked else None)

    def _ready(self) -> dict[str, Any]:
        return {"version": self._served().version}

    def _about(self) -> dict[str, Any]:
        served = self._served()
        model = served.bundle.manifest.model_dump(mode="json", exclude={"files", "format"})
        status = {"error_code": "OK", "error_message": ""}
        version = {"version": served.version, "state": "AVAILABLE", "status": status}
        return {"model_version_status": [version], "model": model}

    def _predict(self) -> dict[str, Any]:
        served, rows = self._served(), _rows(self._body())
        try:
            predictions = served.bundle.predict(rows)
        except UserError as error:
            raise BadRequest(HTTPStatus.BAD_REQUEST, str(error)) from None
        answer = {"predictions": predictions.tolist(), "model_version": served.version}
        model = served.bundle.manifest
        if model.problem is Problem.MULTICLASS:
            answer["classes"] = model.classes
        return answer

    def _served(self) -> Served:
        if self.server.models.served is None:
            raise BadRequest(HTTPStatus.SERVICE_UNAVAILABLE, "no model has been pushed yet")
        return self.server.models.served

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise BadRequest(HTTPStatus.LENGTH_REQUIRED, "expected a body, and its Content-Length")
        if int(length) > LARGEST_REQUEST:
            raise BadRequest(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{length} bytes; expected at most {LARGEST_REQUEST}: send fewer rows at a time",
            )
        return self.rfile.read(int(length))

    def _answer(self, answer: Any) -> None:
        """Sends what `answer` gives, or what is wrong with the request."""
        status, content = HTTPStatus.OK, {}
        try:
            if answer is None:
                raise BadRequest(HTTPStatus.NOT_FOUND, f"there is no {self.path}")
            content = answer()
        except BadRequest as error:
            status, content = error.status, {"error": str(error)}
        except TimeoutError:
            status, content = HTTPStatus.REQUEST_TIMEOUT, {"error": "the body did not come"}
        except Exception:
            traceback.print_exc()
            status, content = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "see the server's log"}
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send_page(self) -> None:
        served = self.server.models.served
        status = HTTPStatus.OK if served else HTTPStatus.SERVICE_UNAVAILABLE
        self._send(status, page.render(self.server.name, served).encode(), page.HEADERS)

    def _send(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if status is not HTTPStatus.OK:  # The request's body may not have been read.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing of each request."""


def _rows(body: bytes) -> list[dict[str, Any]]:
    """The rows of a request to predict.

    Raises:
      BadRequest: it is not {"instances": [ROW, …]}, each row an object.
    """
    expected = 'expected {"instances": [ROW, …]}, each row an object of raw columns'
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"not valid JSON; {expected}") from None
    rows = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadRequest(HTTPStatus.BAD_REQUEST, expected)
    return rows


def serve(location: str, name: str, *, host: str, port: int, poll_seconds: float = 5) -> None:
    """Serves the models of a serving folder under `name` until the process is told to end.

    Args:
      location: the serving folder, here or on an object store.
      name: the model's name in the addresses.
      host: the address to listen at.
      port: the port to listen at.
      poll_seconds: how often it looks for a newer version.

    Raises:
      UserError: the address cannot be had.
    """
    models = ServingFolder(location)
    try:
        server = Server((host, port), name, models)
    except OSError as error:
        raise UserError(f"{host}:{port}: cannot listen there: {error.strerror}") from None
    ended = threading.Event()

    def watch() -> None:
        with imports(), errors_to(Path(os.devnull)):
            import tensorflow  # noqa: F401
        while True:
            models.refresh()
            if ended.wait(poll_seconds):
                return

    def end(*_: object) -> None:
        ended.set()
        threading.Thread(target=server.shutdown).start()  # It waits for the loop below.

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    address = f"http://{host}:{server.server_port}"
    say(f"{address}{server.model_path} answers from {location}; {address}/ is a page to try it")
    threading.Thread(target=watch, daemon=True).start()
    with server:
        server.serve_forever()
