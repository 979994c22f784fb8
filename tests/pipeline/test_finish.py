"""The task that ends a run on a cluster: what it finds, keeps and tells."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline import metadata, node
from pipeline.cluster import packed
from pipeline.store import connect, record
from pipeline.tasks import finish
from tests import services
from tests.pipeline.toy import compile_toy

RUN = "run-1"


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/metadata.sqlite"


class Webhook(HTTPServer):
    """Keeps what is posted; answers with the statuses in `answers`, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.messages: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/a-secret?token=another"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Webhook)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append(json.loads(body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(finish, "_WAIT_SECONDS", 0.0)
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv(finish.WEBHOOK_VARIABLE, server.url)
        yield server
        server.shutdown()
        thread.join()


class ToyRun:
    """A run of the toy graph; its nodes are run one by one."""

    def __init__(self, folder: Path, url: str, behaviour: str = "work") -> None:
        self.url = url
        self.ir = compile_toy(str(folder), behaviour)
        self.connection = connect.connection_to(url)

    def begin(self, **facts: str) -> None:
        metadata.create_tables(self.connection)
        begun = {"span": "4", "backfill": "[]", "failed_node": "", "reason": ""}
        record.write(connect.opened(self.connection), RUN, begun | facts)

    def run(self, *node_ids: str) -> None:
        bound = node.bind(self.ir, RUN, {})
        for node_id in node_ids:
            node.run_node(bound, node_id, connection=self.connection)

    def finish(self, *more: str) -> int:
        ir = packed.pack(self.ir)
        arguments = ["--ir-gzip", ir, "--run-id", RUN, "--store", self.url, *more]
        return finish.main(arguments)

    def facts(self) -> dict[str, str]:
        return record.read(connect.opened(self.connection), RUN)


def test_finish_tells_a_run_that_succeeded(
    server: services.Server, tmp_path: Path, webhook: Webhook
) -> None:
    toy = ToyRun(tmp_path, server.database())
    toy.begin(note="kept")
    toy.run("Source", "Left", "Right", "Join")
    assert toy.finish("--link", "https://kubeflow.example.com/run-1") == 0
    assert webhook.messages == [
        {
            "pipeline": "toy",
            "run_id": RUN,
            "outcome": "succeeded",
            "failed_node": "",
            "reason": "",
            "span": "4",
            "link": "https://kubeflow.example.com/run-1",
        }
    ]
    facts = toy.facts()
    assert (facts["outcome"], facts["note"], facts["span"]) == ("succeeded", "kept", "4")
    assert facts["finished"]


def test_finish_tells_which_node_failed_and_why(
    tmp_path: Path, sqlite: str, webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = ToyRun(tmp_path, sqlite, "user error")
    toy.begin()
    toy.run("Source", "Left")
    assert toy.finish() == 0
    (message,) = webhook.messages
    assert (message["outcome"], message["failed_node"]) == ("failed", "Left")
    assert message["reason"] == "row 3 is bad; mend it"
    assert f"Run {RUN} failed at Left. row 3 is bad; mend it" in capsys.readouterr().out
    assert toy.facts().items() >= {"outcome": "failed", "failed_node": "Left"}.items()


def test_finish_leaves_a_page_of_a_run_that_failed(
    tmp_path: Path, sqlite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = ToyRun(tmp_path, sqlite, "user error")
    toy.begin()
    toy.run("Source", "Left")
    page = tmp_path / "runs" / RUN / "report.html"
    (tmp_path / "runs").write_text("in the way")
    assert toy.finish() == 0
    assert "There is no report: " in capsys.readouterr().out
    (tmp_path / "runs").unlink()
    assert toy.finish() == 0
    assert f"Report: {page}" in capsys.readouterr().out
    assert "row 3 is bad; mend it" in page.read_text()


def test_finish_leaves_no_page_of_a_run_that_has_its_report(tmp_path: Path, sqlite: str) -> None:
    toy = ToyRun(tmp_path, sqlite)
    toy.begin()
    toy.run("Source", "Left", "Right", "Join")
    toy.finish()
    assert not (tmp_path / "runs").exists()


def test_finish_tells_a_node_that_was_killed_and_one_that_never_began(
    tmp_path: Path, sqlite: str, webhook: Webhook
) -> None:
    toy = ToyRun(tmp_path, sqlite)
    toy.begin()
    toy.run("Source")
    toy.finish()
    store = connect.opened(toy.connection)
    (execution,) = store.get_executions()
    execution.last_known_state = execution.RUNNING
    store.put_executions([execution])
    toy.finish()
    assert [message["failed_node"] for message in webhook.messages] == ["Left", "Source"]
    assert "never began" in webhook.messages[0]["reason"]
    assert "did not come to its end" in webhook.messages[1]["reason"]


def test_finish_tells_a_backfill_that_failed(tmp_path: Path, sqlite: str, webhook: Webhook) -> None:
    toy = ToyRun(tmp_path, sqlite, "user error")
    toy.begin(backfill="[2, 3]")
    bound = node.bind(toy.ir, f"{RUN}-span-3", {})
    for node_id in ("Source", "Left"):
        node.run_node(bound, node_id, connection=toy.connection)
    toy.finish()
    assert webhook.messages[0]["failed_node"] == "Left of span 3 (backfill)"


def test_a_backfill_that_was_refused_is_no_failure_of_a_run_that_went_on_without_it(
    tmp_path: Path, sqlite: str, webhook: Webhook
) -> None:
    refused = ToyRun(tmp_path, sqlite, "user error")
    refused.begin(backfill="[3]")
    bound = node.bind(refused.ir, f"{RUN}-span-3", {})
    for node_id in ("Source", "Left"):
        node.run_node(bound, node_id, connection=refused.connection)
    toy = ToyRun(tmp_path, sqlite)
    toy.run("Source", "Left", "Right", "Join")
    toy.finish()
    assert webhook.messages[0]["outcome"] == "succeeded"


def test_finish_tells_an_init_that_failed(
    server: services.Server, tmp_path: Path, webhook: Webhook
) -> None:
    toy = ToyRun(tmp_path, server.database())
    assert toy.finish() == 0  # no tables
    metadata.create_tables(toy.connection)
    assert toy.finish() == 0  # no run
    toy.begin(span="", failed_node="init", reason="the root is away")
    assert toy.finish() == 0
    assert {(m["outcome"], m["failed_node"]) for m in webhook.messages} == {("failed", "init")}
    assert webhook.messages[2]["reason"] == "the root is away"


def test_finish_tells_that_the_store_is_away(
    tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "PAUSES", ())
    url = f"postgresql://me@127.0.0.1:{services.free_port()}/store"
    assert ToyRun(tmp_path, url).finish() == 2
    assert webhook.messages[0]["outcome"] == "failed"
    assert "the metadata store cannot be asked" in webhook.messages[0]["reason"]


def test_a_webhook_is_tried_again_and_what_its_url_hides_is_never_printed(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = [500, 500]
    finish.tell(webhook.url, {"outcome": "failed"})
    assert len(webhook.messages) == 3
    assert capsys.readouterr().out == ""
    webhook.answers = [500] * 3
    finish.tell(webhook.url, {})
    finish.tell(webhook.url.replace(str(webhook.server_port), str(services.free_port())), {})
    for url in ("https:///a-secret", "a-secret", "http://127.0.0.1/a secret", "http://[a-secret"):
        finish.tell(url, {})
    printed = capsys.readouterr().out
    assert printed.count("warning: the webhook") == 6
    assert "HTTP status 500" in printed and "Connection refused" in printed
    assert "secret" not in printed and "token" not in printed


def test_finish_starts_without_tensorflow() -> None:
    script = "import sys; from pipeline.tasks import finish, init; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pipeline.tasks.finish" in done.stdout.split()
    assert not {"tensorflow", "tfx.orchestration.metadata"} & set(done.stdout.split())
