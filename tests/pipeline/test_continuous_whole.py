"""The command as a person calls it, with the local runner, on a small slice of the flights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.lineage.store import Store
from pipeline.store.decisions import COMPLETE, REFUSED, RETRAIN
from tests.end_to_end.project import SmallProject
from tests.receiver import Receiver
from tools import notebooks

pytestmark = pytest.mark.e2e


def deliver(project: SmallProject, span: int, *, corrupt: bool = False) -> None:
    project.write_span(span, project.flights(span))
    file = project.folder / f"data/small/span-{span:02}/rows.parquet"
    if corrupt:
        file.write_bytes(file.read_bytes()[:-100])
    (file.parent / "_SUCCESS").touch()


def command(project: SmallProject, *options: str) -> list[str]:
    settings = project.overrides(
        continuous__marker="_SUCCESS", continuous__max_age_spans="1", select__margin="-0.2"
    )
    return [sys.executable, "-m", "pipeline", "continuous", *options, *settings]


def once(project: SmallProject, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(project, "--once"),
        cwd=project.folder,
        env=project.environment() | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def store_of(project: SmallProject) -> Store:
    return lineage.open(Path(project.root / "metadata.sqlite"))


def small_project(folder: Path) -> SmallProject:
    made = SmallProject.make(folder)
    small = SmallProject(made.folder, frameworks=("sklearn", "xgboost"))
    for span in (1, 2):
        (small.folder / f"data/small/span-{span:02}/_SUCCESS").touch()
    return small


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    return small_project(tmp_path)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallProject, int]:
    """A project that has decided about three spans; how often its webhook was told."""
    project = small_project(tmp_path_factory.mktemp("learned"))
    deliver(project, 3, corrupt=True)
    with Receiver() as receiver:
        done = once(project, PIPELINE_WEBHOOK=receiver.url)
    assert done.returncode == 0, done.stdout + done.stderr
    return project, len(receiver.requests)


def test_what_the_loop_has_decided_is_monitored(learned: tuple[SmallProject, int]) -> None:
    project, _ = learned
    (second,) = (one for one in store_of(project).decisions() if one.span == 2)
    assert second.observation is not None
    assert second.observation.scores is not None
    score = second.observation.scores["auc"]
    assert score.low < score.value < score.high
    metrics = (project.root / "monitoring/metrics.prom").read_text()
    assert f'pipeline_live_score{{pipeline="flights",metric="auc"}} {score.value!r}\n' in metrics
    assert second.run is not None
    (report,) = second.run.outputs("Report")
    assert f"The policy asked for it, in decision {second.id}." in report.page()


def test_the_notebook_shows_why_it_was_retrained(learned: tuple[SmallProject, int]) -> None:
    project, _ = learned
    file = notebooks.NOTEBOOKS / "04_continuous_training.ipynb"
    done = notebooks.execute(file, "configs/flights.toml", [f"root={project.root}"])
    outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
    shown = "".join(o.get("text") or o.data.get("text/plain", "") for o in outputs)
    assert "Span 1: retrain, because no model is live yet." in shown
    assert repr(next(one for one in store_of(project).decisions() if one.span == 2)) in shown


def test_spans_are_learned_from_a_corrupt_one_is_refused_and_lineage_says_why(
    learned: tuple[SmallProject, int],
) -> None:
    project, told = learned
    store = store_of(project)
    third, second, first = store.decisions()
    assert (first.span, first.verdict, first.state) == (1, RETRAIN, COMPLETE)
    assert first.reason == "Span 1: retrain, because no model is live yet."
    assert (second.span, second.verdict, second.state) == (2, RETRAIN, COMPLETE)
    assert second.reason.startswith("Span 2: retrain, because ")
    performance = [f for f in second.findings if f["rule"] == "performance"]
    assert all(finding["value"] for finding in performance)
    assert set(second.inputs) == {"examples", "statistics", "live_model"}
    assert (third.span, third.verdict) == (3, REFUSED)
    assert "rows.parquet" in third.reason
    assert first.run is not None
    assert first.run.retrain_decision is first
    assert second.run is not None
    assert second.run.note == f"Decision {second.id}: {second.reason}"
    assert told == 3
    again = once(project)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(store_of(project).decisions()) == 3


def test_kill_9_in_the_midst_of_a_run_starts_no_second_one(project: SmallProject) -> None:
    process = subprocess.Popen(
        command(project, "--once"), cwd=project.folder, env=project.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    trainer = "runs/*/logs/Trainer.sklearn.log"
    while not list(project.root.glob(trainer)) and process.poll() is None:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    refused = once(project)
    assert refused.returncode == 1
    assert "is retrained by another process" in refused.stderr
    time.sleep(91)
    done = once(project)
    assert done.returncode == 0, done.stdout + done.stderr
    store = store_of(project)
    assert [one.span for one in store.decisions()] == [2, 1]
    assert {one.state for one in store.decisions()} == {COMPLETE}
    notes = [run.note for run in store.runs() if run.note.startswith("Decision")]
    assert len(notes) == len(set(notes)) == 2
