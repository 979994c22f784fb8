"""Answers over HTTP with the newest model of the serving folder, whatever it is made with.

    GET  /healthz                  the process answers
    GET  /readyz                   a model is loaded; until then 503
    GET  /v1/models/NAME           its version, what it takes, and where it comes from
    POST /v1/models/NAME:predict   {"instances": [ROW, …]} gives {"predictions": [PROBABILITY, …]}

The last two are TensorFlow Serving's, with a little more in the answers.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import manifest
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.lazy import imports
from pipeline.quiet import errors_to

if TYPE_CHECKING:
    from models.bundle import Bundle

LARGEST_REQUEST = 32 * 1024 * 1024
"""Bytes of a request's body that are read; a longer one is refused."""


@dataclass(frozen=True)
class Served:
    """A version of the model, loaded.

    Attributes:
      version: the name of its folder.
      bundle: what is asked.
    """

    version: str
    bundle: Bundle


class ServingFolder:
    """The newest whole version in a serving folder; when a newer one is there, that takes over.

    The folder may lie on an object store: then a version is copied to this machine and loaded.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self.served: Served | None = None
        self._said: set[str] = set()

    def refresh(self) -> None:
        """Loads a newer version if there is one; what is served stays until that can answer."""
        for version in self._versions():
            if self.served is not None and self.served.version == version:
                return
            if self._load(version):
                return

    def _versions(self) -> list[str]:
        """The numbered folders, the newest first."""
        try:
            if storage.is_remote(self.location):
                files = [entry.name.split("/") for entry in storage.entries(self.location)]
                names = {file[0] for file in files if file[1:] == [manifest.FILE]}  # The last one.
            else:
                names = {folder.name for folder in Path(self.location).iterdir()}
        except FileNotFoundError:  # Nothing has been pushed yet.
            return []
        except (OSError, UserError) as error:
            self._say_once(f"{self.location} cannot be read: {error}")
            return []
        return sorted(filter(str.isdecimal, names), key=int, reverse=True)

    def _load(self, version: str) -> bool:
        from models.bundle import Bundle

        try:
            with tempfile.TemporaryDirectory() as copy:
                folder = Path(self.location, version)
                if storage.is_remote(self.location):
                    folder = Path(copy, version)
                    storage.download(f"{self.location}/{version}", folder)
                bundle = Bundle.load(folder)
                bundle.predict([bundle.manifest.example])  # The first answer is the slow one.
        except Exception as error:  # It is tried again: perhaps its files are still being copied.
            reason = str(error) if isinstance(error, UserError) else repr(error)
            self._say_once(f"version {version} is not served: {reason}")
            return False
        self.served = Served(version, bundle)
        say(f"version {version} is served ({bundle.manifest.framework})")
        return True

    def _say_once(self, words: str) -> None:
        if words not in self._said:
            self._said.add(words)
            say(words)


def say(words: str) -> None:
    """Tells whoever reads the server's log."""
    print(words, file=sys.stderr, flush=True)


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
        self.model_path = f"/v1/models/{name}"
        self.models = models
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 10  # A client that says nothing for so many seconds is hung up on.

    def do_GET(self) -> None:
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
        return {"predictions": predictions.tolist(), "model_version": served.version}

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
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status is not HTTPStatus.OK:  # Its body may not have been read.
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
    say(f"http://{host}:{server.server_port}{server.model_path} answers from {location}")
    threading.Thread(target=watch, daemon=True).start()
    with server:
        server.serve_forever()
