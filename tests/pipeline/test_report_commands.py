"""`python -m pipeline report`: which pages it writes, and what it shows over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from pipeline import lineage
from pipeline.__main__ import main
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.report import commands, index, page, pages
from pipeline.report.server import Server
from tests.pipeline import reported_store
from tests.pipeline.reported_store import AT_WORK, NONE_BETTER, PUSHED, STOPPED, VALUES

RUNS = [AT_WORK, STOPPED, NONE_BETTER, PUSHED]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    reported_store.write(root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A root without pages."""
    shutil.copy(written / "metadata.sqlite", tmp_path)
    return tmp_path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose pages are made; they are made small."""
    made: list[str] = []

    def render(run: lineage.Run) -> str:
        made.append(run.id)
        return f"<!doctype html><title>{run.id}</title>{run.state}"

    monkeypatch.setattr(page, "render", render)
    return made


def settings(root: Path) -> list[str]:
    return ["--set", f"root={json.dumps(str(root))}"]


class Ask(Protocol):
    def __call__(self, *arguments: str, code: int = 0) -> str: ...


@pytest.fixture
def ask(root: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs the command; what it prints, or what it complains of."""

    def run(*arguments: str, code: int = 0) -> str:
        assert main(["report", *arguments, *settings(root)]) == code
        told = capsys.readouterr()
        return told.err if code else told.out

    return run


def config_of(root: Path) -> PipelineConfig:
    return load(overrides=[f"root={json.dumps(str(root))}"])


def test_the_newest_page_is_written_anew_and_others_where_they_are_missing(
    ask: Ask, root: Path, drawn: list[str]
) -> None:
    told = ask()
    assert told.splitlines() == [
        f"Report: {root}/runs/{AT_WORK}/report.html",
        f"All runs: {root}/runs/index.html",
    ]
    assert drawn == RUNS
    assert not [file for file in (root / "runs").rglob(".*") if file.is_file()]
    drawn.clear()
    ask()
    assert drawn == [AT_WORK]
    drawn.clear()
    assert f"runs/{PUSHED}/report.html" in ask(PUSHED)
    assert drawn == [PUSHED]


def test_a_page_from_before_the_end_of_its_run_is_written_anew(
    ask: Ask, root: Path, drawn: list[str]
) -> None:
    ask()
    old = root / "runs" / STOPPED / pages.PAGE_FILE
    os.utime(old, (1, 1))
    drawn.clear()
    ask()
    assert drawn == [AT_WORK, STOPPED]


def test_pages_of_old_runs_are_written_if_asked_for(
    ask: Ask, root: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "MOST", 2)
    ask()
    assert drawn == RUNS[:2]
    links = re.findall(r'href="([^"]+)/report.html"', (root / "runs/index.html").read_text())
    assert set(links) == set(RUNS[:2])
    drawn.clear()
    ask("--all")
    assert drawn == [AT_WORK, *RUNS[2:]]


def test_a_run_that_is_not_there_is_a_mistake_and_nothing_is_written(ask: Ask, root: Path) -> None:
    assert "run-9" in ask("run-9", code=2)
    assert not (root / "runs").exists()


def test_a_store_without_a_run_has_a_page_that_says_so(ask: Ask, root: Path) -> None:
    from tests.pipeline.written_store import Writer

    (root / "metadata.sqlite").unlink()
    Writer(root)
    assert ask().splitlines() == [f"All runs: {root}/runs/index.html"]
    assert "There is no run yet." in (root / "runs/index.html").read_text()


def test_the_page_of_all_runs_says_what_each_came_to(written: Path) -> None:
    store = lineage.open(config_of(written))
    lines = {run.id: index.line_of(run) for run in store.runs()}
    assert list(lines) == RUNS
    told = {run_id: line.decision.sentence for run_id, line in lines.items()}
    assert told[PUSHED].startswith("Pushed: keras")
    assert told[NONE_BETTER].startswith("Not pushed: the live keras stays")
    assert told[STOPPED].startswith("Stopped by the data gate: the data of span 3")
    assert (lines[PUSHED].champion, lines[NONE_BETTER].champion) == ("keras", None)
    for run_id, values in VALUES.items():
        assert (lines[run_id].value, lines[run_id].live_value) == values
    text = index.render(store, RUNS)
    for values in VALUES.values():
        for value in filter(None, values):
            assert f'<data value="{value!r}">{value:.4f}</data>' in text
    assert "&lt;script&gt;" in text
    assert "<script" not in text


def test_values_whose_file_is_gone_are_left_out(written: Path) -> None:
    selections = lineage.open(config_of(written)).find("ModelSelection")
    folders = [Path(selection.uri) for selection in selections]
    for folder in folders:
        folder.rename(folder.with_suffix(".gone"))
    try:
        text = index.render(lineage.open(config_of(written)), [])
    finally:
        for folder in folders:
            folder.with_suffix(".gone").rename(folder)
    assert "Pushed: keras" in text
    assert "report.html" not in text
    assert "<svg" not in text


def test_the_browser_is_opened_or_said_to_be_missing(
    ask: Ask, root: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import webbrowser

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: opened.append(uri) or True)
    ask("--open")
    ask(PUSHED, "--open")
    assert opened == [
        f"file://{root}/runs/index.html",
        f"file://{root}/runs/{PUSHED}/report.html",
    ]


def test_without_a_browser_it_says_what_else_there_is(
    root: Path,
    drawn: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import webbrowser

    monkeypatch.setattr(webbrowser, "open", lambda uri: False)
    assert main(["report", "--open", *settings(root)]) == 0
    assert "There is no browser here" in capsys.readouterr().err


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    with Server(0, config_of(root)) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def get(server: Server, path: str, host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest("GET", path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_pages_are_served_as_the_store_is_now(server: Server, root: Path, drawn: list[str]) -> None:
    from tests.pipeline.written_store import Writer

    status, text = get(server, "/")
    assert (status, text.count("/report.html")) == (200, len(RUNS) + 1)  # The live model's as well.
    assert get(server, f"/{AT_WORK}/report.html")[1].endswith("running")
    Writer(root).facts(AT_WORK, outcome="failed", failed_node="Transform", reason="no memory")
    assert get(server, f"/{AT_WORK}/report.html")[1].endswith("failed")
    assert get(server, "/index.html")[0] == 200
    assert not (root / "runs").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/run-9/report.html",
        "/runs/run-1",
        "/../metadata.sqlite",
        "/%2e%2e/metadata.sqlite",
        "/%2e%2e%2fmetadata.sqlite/report.html",
        "//etc/passwd",
        "/run-1/../../metadata.sqlite",
        "/run-1/",
        "/%00/report.html",
        "/%ff/report.html",
    ],
)
def test_nothing_but_pages_is_served(server: Server, path: str) -> None:
    status, text = get(server, path)
    assert status == 404
    assert "<" not in text


def test_another_name_that_leads_here_is_not_answered(server: Server) -> None:
    port = server.server_port
    assert get(server, "/", host=f"localhost:{port}")[0] == 200
    for host in (f"pages.example.com:{port}", "", f"127.0.0.1.example.com:{port}"):
        status, text = get(server, "/", host=host)
        assert (status, text) == (404, f"ask for http://127.0.0.1:{port}/")


def test_a_port_that_is_taken_is_a_mistake(server: Server, ask: Ask) -> None:
    told = ask("--serve", "--port", str(server.server_port), code=2)
    assert "cannot listen there" in told
    assert "--port" in told
    assert "cannot listen there" in ask("--serve", "--port", "70000", code=2)


def test_a_run_that_is_to_be_served_must_be_there(ask: Ask) -> None:
    assert "run-9" in ask("run-9", "--serve", "--port", "0", code=2)


@pytest.mark.parametrize(("named", "run"), [(PUSHED, PUSHED), ("newest", AT_WORK), (None, None)])
def test_ctrl_c_ends_the_server_quietly(root: Path, named: str | None, run: str | None) -> None:
    words = ["report", *filter(None, [named]), "--serve", "--port", "0"]
    command = [sys.executable, "-m", "pipeline", *words]
    with subprocess.Popen(
        [*command, *settings(root)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        if run:
            line = process.stdout.readline()
            assert re.fullmatch(rf"Report: http://127\.0\.0\.1:\d+/{run}/report\.html\n", line)
        line = process.stdout.readline()
        assert re.fullmatch(r"Reports: http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)\n", line)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "", "")


def test_pages_are_written_without_tensorflow(root: Path) -> None:
    script = (
        "import sys; from pipeline.__main__ import main; code = main(sys.argv[1:]); "
        "heavy = {'tensorflow', 'tfx', 'apache_beam', 'mlflow'} & set(sys.modules); "
        "print(code, sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "report", *settings(root)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"
