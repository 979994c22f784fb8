"""Each command of the documentation: those in `sh` blocks are run, the others are read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import kubeflow_runner
import local_runner
from models import train
from pipeline import __main__ as pipeline_cli
from pipeline.config import PROJECT
from tests.docs.pages import RUN, Block, blocks, pages
from tests.pipeline.init import tables
from tools.cicd.remote import environment, lend_environment
from tools.environment import STAMP

TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", (PROJECT / "Makefile").read_text(), re.M))
PARSERS: dict[tuple[str, ...], Callable[[Sequence[str]], object]] = {
    ("local_runner.py",): local_runner.parse,
    ("kubeflow_runner.py",): kubeflow_runner.parse,
    ("-m", "pipeline"): lambda words: pipeline_cli.parser().parse_args(words),
    ("-m", "models.train"): lambda words: train.parser().parse_args(words),
}
QUESTIONS = {
    *("runs", "show", "diff", "live", "lineage", "recall"),
    *("registry", "report", "monitor", "gc", "pin", "backup"),
}
"""What can be asked of any pipeline on this machine."""
CHANGES = {"approve", "rollback"}
"""They need a model that waits, or one before it."""
SERVER = re.compile("-m pipeline serve")
RUNNABLE = [page for page in pages() if any(b.language == RUN for b in blocks(page))]


@pytest.mark.parametrize("page", pages())
def test_a_command_of_a_page_is_one_that_exists(page: str) -> None:
    for block in blocks(page):
        for words in block.commands():
            where = f"{page}, the block of line {block.line}: {' '.join(words)}"
            if words[0] == "make":
                named = [word for word in words[1:] if "=" not in word and word != "-j"]
                assert set(named) <= TARGETS, where
                continue
            for program, parse in PARSERS.items():
                if tuple(words[1 : 1 + len(program)]) == program:
                    said = io.StringIO()
                    try:
                        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                            parse(_filled(words[1 + len(program) :]))
                    except SystemExit as end:
                        assert end.code == 0, f"{where}\n{said.getvalue()}"


def _filled(words: Sequence[str]) -> list[str]:
    """The words up to where the shell takes over, without what stands for "and so on"."""
    end = next((i for i, word in enumerate(words) if word in ("|", ">", "&&")), len(words))
    return [word for word in words[:end] if word != "…"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a newcomer has it, with the environment in place."""
    if not STAMP.is_file():
        pytest.skip("`make setup` has made no environment here to lend.")
    folder = tmp_path_factory.mktemp("newcomer") / "project"
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    lend_environment(folder)
    return folder


@pytest.mark.e2e
@pytest.mark.parametrize("page", RUNNABLE)
def test_the_commands_of_a_page_do_what_it_says(page: str, checkout: Path) -> None:
    for block in blocks(page):
        if block.language == "diff":
            _apply(block, checkout)
        elif block.title:
            (checkout / block.title).write_text(block.text)
        elif block.language == RUN:
            _run(block, checkout)


def test_the_flags_of_init_are_those_that_a_page_shows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = 300
    table = {
        "grade": random.integers(1, 7, rows),
        "score": random.normal(size=rows).round(2),
        "zip": random.integers(10, 20, rows),
        "shop": random.choice(["north", "south"], rows),
        "day": [f"{row % 28 + 1}/{row % 12 + 1}/2026" for row in range(rows)],
        "remark": ["came late and left soon", "all was well"] * (rows // 2),
        "phone": random.integers(10**6, 10**7, rows),
        "customer": [f"c{row % 60}" for row in range(rows)],
    }
    tables.write(tmp_path, table, "my.csv")
    page = "docs/how-to/own-data.md"
    found = [w for block in blocks(page) for w in block.commands() if "--problem" in w]
    for number, words in enumerate(found):
        words[words.index("my.csv")] = str(tmp_path / "my.csv")
        place = ["--directory", str(tmp_path / str(number)), "--yes"]
        assert pipeline_cli.main([*words[3:], *place]) == 0, f"{page}: {words}"
    assert found


@pytest.mark.e2e
@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/lineage.md", "docs/how-to/predict.md", "docs/continuous.md"],
)
def test_a_question_of_a_page_has_an_answer_in_the_pipeline_of_the_tutorial(
    page: str, checkout: Path
) -> None:
    def asked(*words: str) -> str:
        command = [".venv/bin/python", "-m", "pipeline", *words, "--config", "configs/trips.toml"]
        done = subprocess.run(
            command, cwd=checkout, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{page}: {words}\n{done.stdout[-2000:]}{done.stderr}"
        return done.stdout

    run, live = json.loads(asked("runs", "--json"))[-1], json.loads(asked("live", "--json"))
    meant = dict.fromkeys(("RUN", "20261125-090000"), run["run"])
    meant |= dict.fromkeys(("ARTIFACT_ID", "23"), str(live["id"]))
    meant |= {"2": "1", "3": "1"}
    meant |= {"/var/lib/node_exporter/textfile/flights.prom": str(checkout / "trips.prom")}
    for words in (words[3:] for block in blocks(page) for words in block.commands()):
        if words and words[0] in QUESTIONS and not {"--open", "…", *CHANGES} & set(words):
            asked(*(meant.get(word, word) for word in _filled(words)))


def _run(block: Block, checkout: Path) -> None:
    where = f"{block.page}, the block of line {block.line}"
    if SERVER.search(block.text):
        _serve(block, checkout, where)
        return
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=checkout,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{where}:\n{block.text}\n{done.stdout[-3000:]}{done.stderr}"


def _serve(block: Block, checkout: Path, where: str) -> None:
    """Starts a server, of which the block holds nothing else, asks it, and ends it."""
    (words,) = block.commands()
    port = int(words[words.index("--port") + 1]) if "--port" in words else 8080
    server = subprocess.Popen(
        words,
        cwd=checkout,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while (
            _status(f"http://127.0.0.1:{port}/{'ping' if 'mlflow' in words else 'readyz'}") != 200
        ):
            assert server.poll() is None, f"{where}: it ended with {server.returncode}"
            assert time.monotonic() < deadline, f"{where}: it does not answer"
            time.sleep(0.2)
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(30)


def _status(url: str) -> int:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return int(answer.status)
    return 0


def _apply(block: Block, checkout: Path) -> None:
    """Puts the lines with a + behind the line that the @@ before them names."""
    file = checkout / block.title
    lines = file.read_text().splitlines()
    for part in block.text.split("@@ ")[1:]:
        after, *added = part.splitlines()
        (place,) = (i for i, line in enumerate(lines) if line.strip() == after.strip())
        lines[place + 1 : place + 1] = [line.removeprefix("+") for line in added]
    file.write_text("\n".join(lines) + "\n")
