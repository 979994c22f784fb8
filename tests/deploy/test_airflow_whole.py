"""The pipeline run whole by Airflow: by the scheduler of 3 as the policy says, and by 2.11."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.store import decisions, record
from tests.deploy.airflows import ended, started
from tests.end_to_end.project import SmallProject

ONE = {"train__frameworks": '["sklearn"]'}
"""The settings of the pipeline that is run whole."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    return SmallProject.make(tmp_path_factory.mktemp("airflow"))


@pytest.fixture(scope="module")
def by_policy(project: SmallProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the plan by which Airflow 3 has run what the policy said of the first span."""
    third = started("3", tmp_path_factory.getbasetemp())
    words = ["--config", "configs/flights.toml", "--output", "plans/flights.airflow.json"]
    chosen = project.overrides(**ONE, continuous__rest_seconds="0")
    subprocess.run(
        [sys.executable, "-m", "pipeline.runners.airflow", *words, *chosen],
        cwd=project.folder,
        env=project.environment(),
        check=True,
    )
    plans = project.folder / "plans"
    settings = {"plans": str(plans), "project": str(project.folder), "python": sys.executable}
    with third.scheduled(**settings, policy=True, look_minutes=0.25) as database:
        runs = ended(database, "flights", seconds=540)
    assert len(runs) == 1 and runs[0][1] == "success", runs
    return plans


def _newest(project: SmallProject, plans: Path) -> tuple[str, set[str]]:
    """The run that has come last, and the nodes that it took from the cache."""
    tasks = json.loads((plans / "flights.airflow.json").read_text())["tasks"]
    nodes = {task["id"] for task in tasks} - {"init", "backfill", "finish"}
    runs = project.store().get_contexts_by_type(record.RUN)
    run_id = max((run for run in runs if "-look-" not in run.name), key=lambda run: run.id).name
    states = {name: e.state for name, e in project.executions(run_id).items()}
    assert set(states) == nodes and set(states.values()) <= {"CACHED", "COMPLETE"}
    return run_id, {name for name, state in states.items() if state == "CACHED"}


@pytest.mark.e2e
def test_airflow_runs_what_the_policy_says_and_shares_its_cache(
    project: SmallProject, by_policy: Path
) -> None:
    run_id, cached = _newest(project, by_policy)
    # What looked at the span before has left that much.
    assert cached == {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataGate"}
    facts = record.read(project.store(), run_id)
    assert (facts["runner"], facts["outcome"]) == ("airflow", record.SUCCEEDED)
    (decision,) = decisions.read(project.store())
    assert (decision.verdict, decision.state) == (decisions.RETRAIN, decisions.COMPLETE)
    assert (decision.span, decision.run_id, facts["span"]) == (1, run_id, "1")
    assert run_id.startswith(f"decision-{decision.id}-")
    assert facts["note"] == f"Decision {decision.id}: {decision.reason}"
    local = project.run("--span", "1", **ONE)
    assert local.returncode == 0, local.stdout + local.stderr
    _, again = _newest(project, by_policy)
    assert again >= cached | {"Transform", "Trainer.sklearn", "Evaluator", "Pusher"}


@pytest.mark.e2e
def test_the_older_airflow_takes_the_same_run_from_the_cache(
    project: SmallProject, by_policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    second = started("2", tmp_path_factory.getbasetemp())
    settings = {"plans": str(by_policy), "project": str(project.folder), "python": sys.executable}
    done = second.test("flights", "--conf", '{"span": "1"}', **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    run_id, cached = _newest(project, by_policy)
    assert {"Transform", "Trainer.sklearn", "Evaluator", "Pusher"} <= cached
    facts = record.read(project.store(), run_id)
    assert (facts["runner"], facts["outcome"]) == ("airflow", record.SUCCEEDED)
