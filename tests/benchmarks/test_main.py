import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as program
from benchmarks import results
from tests.benchmarks import figures


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The benchmarks that were started; each gives its figures, but growth fails."""
    started: list[str] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        name = command[command.index("-m") + 1].removeprefix("benchmarks.")
        started.append(name)
        if name == "growth":
            return SimpleNamespace(returncode=1)
        Path(command[-1]).write_text(json.dumps(getattr(figures, name)()))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(program, "FOLDER", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    return started


def start(monkeypatch: pytest.MonkeyPatch, *names: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *names])
    return program.main()


def test_all_run_in_order_and_one_that_fails_keeps_its_section(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = results.section(figures.growth()) | {"date": "2001-02-03"}
    results.save({"growth": before}, tmp_path)
    assert start(monkeypatch) == 1
    assert ran == list(results.SECTIONS)
    assert results.load(tmp_path / "results.json")["growth"] == before
    assert "Measured on 2001-02-03" in (tmp_path / "RESULTS.md").read_text()


def test_only_those_named_run(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert start(monkeypatch, "startup", "ingest") == 0
    assert ran == ["ingest", "startup"]
    assert list(results.load(tmp_path / "results.json")) == ["ingest", "startup"]


def test_an_unknown_name_is_refused(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        start(monkeypatch, "nonsense")
    assert ran == []
