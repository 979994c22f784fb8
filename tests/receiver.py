"""A server that keeps what is posted to it, for tests of whoever posts."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Posted:
    """One request."""

    path: str
    headers: Message
    body: bytes


class Receiver:
    """Answers POST with the given codes, one after the other, and with 200 from then on."""

    def __init__(self, *codes: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.requests: list[Posted] = []
        left = list(codes)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(Posted(self.path, self.headers, body))
                self.send_response(left.pop(0) if left else 200)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"said by the receiver")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/evaluations"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
