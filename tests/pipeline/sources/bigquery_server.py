"""A server that stands in for BigQuery: it answers each query with the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Schema = list[dict[str, str]]


class BigQuery(ThreadingHTTPServer):
    """What it was asked, and what it answers."""

    def __init__(self, schema: Schema, rows: list[list[Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schema, self.rows = schema, rows
        self.queries: list[str] = []
        self.refusal: str | None = None

    def job(self, project: str, job: str) -> dict[str, Any]:
        table = {"projectId": project, "datasetId": "answers", "tableId": "one"}
        return {
            "jobReference": {"projectId": project, "jobId": job, "location": "EU"},
            "configuration": {"query": {"query": self.queries[-1], "destinationTable": table}},
            "status": {"state": "DONE"},
            "statistics": {"query": {"statementType": "SELECT"}},
        }


class _Handler(BaseHTTPRequestHandler):
    server: BigQuery

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.queries.append(asked["configuration"]["query"]["query"])
        if self.server.refusal:
            error = {"code": 400, "message": self.server.refusal, "errors": []}
            self._answer({"error": error}, 400)
            return
        reference = asked["jobReference"]
        self._answer(self.server.job(reference["projectId"], reference["jobId"]))

    def do_GET(self) -> None:
        path, _, asked = self.path.partition("?")
        parts = path.split("/")
        project = parts[parts.index("projects") + 1]
        if "queries" in parts:
            reference = self.server.job(project, parts[-1])["jobReference"]
            rows = [{"f": [{"v": value} for value in row]} for row in self.server.rows]
            answer = {
                "jobComplete": True,
                "totalRows": str(len(rows)),
                "jobReference": reference,
                "schema": {"fields": self.server.schema},
            }
            self._answer(answer if "maxResults=0" in asked else {**answer, "rows": rows})
        elif "jobs" in parts:
            self._answer(self.server.job(project, parts[-1]))
        else:
            self._answer({"schema": {"fields": self.server.schema}})

    def _answer(self, body: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Says nothing."""


@contextmanager
def bigquery(schema: Schema, rows: list[list[Any]]) -> Iterator[BigQuery]:
    """The server at work."""
    with BigQuery(schema, rows) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
