"""Shows the pages of runs over HTTP, to this machine alone; each is made when it is asked for.

GET /                      all runs
GET /RUN/report.html       a run
GET /monitoring/index.html retraining
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.monitoring import history
from pipeline.monitoring import pages as monitoring
from pipeline.report import index, pages

HOST = "127.0.0.1"
_OWN_NAMES = (HOST, "localhost")


class Server(ThreadingHTTPServer):
    """The HTTP server of a pipeline's pages."""

    def __init__(self, port: int, config: PipelineConfig) -> None:
        self.config = config
        self.drawing = threading.Lock()  # Matplotlib's settings are the process's.
        super().__init__((HOST, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 10  # A client that says nothing for so many seconds is hung up on.

    def do_GET(self) -> None:
        status, page = HTTPStatus.OK, ""
        try:
            # Another site's name that leads here may be a trick to read the pages from a browser.
            if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in _OWN_NAMES:
                raise UserError(f"ask for http://{HOST}:{self.server.server_port}/")
            with self.server.drawing:
                page = _page(self.server.config, urlsplit(self.path).path)
        except (UserError, ValueError) as error:
            status, page = HTTPStatus.NOT_FOUND, str(error)
        except Exception:
            traceback.print_exc()
            status, page = HTTPStatus.INTERNAL_SERVER_ERROR, "see the server's log"
        body = page.encode()
        kind = "text/html" if status is HTTPStatus.OK else "text/plain"
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing of each request."""


def _page(config: PipelineConfig, path: str) -> str:
    """The page at a path, from the store as it is now; no file's name is made of the path.

    Raises:
      UserError: there is none.
    """
    store = lineage.open(config)
    # A link between the pages is right here and in the root's folder.
    path = f"/{path.removeprefix('/runs/').removeprefix('/')}"
    if path in ("/", f"/{pages.INDEX_FILE}"):
        return index.render(store, [run.id for run in store.runs()])
    if path == f"/monitoring/{monitoring.PAGE_FILE}":
        return monitoring.rendered(history.read(config), [run.id for run in store.runs()])
    run_id, _, file = path.removeprefix("/").rpartition("/")
    if file != pages.PAGE_FILE:
        raise UserError(f"there is no {path}")
    return pages.rendered(store.run(unquote(run_id)))[0]


def serve(config: PipelineConfig, *, port: int, shown: Iterable[str] = ()) -> None:
    """Shows the pages of a pipeline's runs until the process is told to end.

    Args:
      config: of the pipeline.
      port: of 127.0.0.1; 0 for any that is free.
      shown: the ids of runs the addresses of whose pages are printed.

    Raises:
      UserError: the port cannot be had.
    """
    try:
        server = Server(port, config)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{HOST}:{port}: cannot listen there: {why}; choose a --port") from None

    def end(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()  # It waits for the loop below.

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    address = f"http://{HOST}:{server.server_port}/"
    for run_id in shown:
        print(f"Report: {address}{quote(run_id, safe='')}/{pages.PAGE_FILE}")
    print(f"Reports: {address} (Ctrl-C ends it)", flush=True)
    with server:
        server.serve_forever()
