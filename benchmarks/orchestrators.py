"""Seconds that a node costs beside its work: by the local runner, as containers, by Airflow.

python -m benchmarks.orchestrators [--rounds 3]

Everything is in the cache and one task runs at a time: what is left is the orchestrator's own, and
the start of the processes. Airflow is measured if `make airflow ARGS=--setup` was here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import project
from benchmarks.measure import measure
from benchmarks.report_orchestrators import orchestrators
from pipeline.config import PROJECT
from pipeline.runners import subprocesses
from tools import airflow

FOLDER = project.OUTPUT / "orchestrators"
CONFIG = "configs/flights.toml"
SETTINGS = {
    "root": str(FOLDER / "root"),
    "data.span": "1",
    "data.window": "1",
    "train.frameworks": '["sklearn"]',
    "evaluate.guards": "[]",
    "evaluate.thresholds.auc.min": "0.5",
}
WORDS = [word for item in SETTINGS.items() for word in ("--set", "=".join(item))]
PORT = 8471
PATIENCE = 900.0
"""Seconds for Airflow to start, and for a run of it."""

Figures = dict[str, Any]


def spread(begun: float, first: float, last: float, tasks: int) -> Figures:
    """What a run cost, from the times of its command, of its first task's start and last one's end.

    All are in seconds, of one clock: the epoch's, or the command's own.
    """
    return {
        "tasks": tasks,
        "task": round((last - first) / tasks, 2),
        "before": round(first - begun, 2),
        "run": round(last - begun, 1),
    }


def local() -> Figures:
    """A run of the local runner, which is not to see that the one before did the same."""
    shutil.rmtree(FOLDER / "root" / "runs", ignore_errors=True)
    project.run(PROJECT, CONFIG, *WORDS, "--jobs", "1", log=FOLDER / "local.log")
    ran = project.nodes(FOLDER / "root")
    return spread(0.0, min(n["start"] for n in ran), max(n["end"] for n in ran), len(ran))


def containers() -> Figures:
    """A run of the Kubeflow package, each container's command as a process."""
    package = FOLDER / "flights.yaml"
    if not package.exists():
        words = ["--config", CONFIG, *WORDS, "--set", "tasks.defaults.image=unused"]
        command = [
            sys.executable,
            "kubeflow_runner.py",
            "compile",
            *words,
            "--output",
            str(package),
        ]
        measure(command, cwd=PROJECT, log=FOLDER / "compile.log")
    begun, times = time.time(), []
    outcome = subprocesses.run_package(
        package, {}, folder=FOLDER / "kfp", jobs=1, report=lambda _: times.append(time.time())
    )
    if not outcome.succeeded:
        raise RuntimeError(f"the package failed: see {FOLDER / 'kfp' / 'logs'}")
    return spread(begun, times[0], times[-1], len(outcome.results))


@contextmanager
def _standalone(version: str) -> Any:
    """Airflow at work on the plan, in a home of its own; gives how its programs are called."""
    home = FOLDER / f"airflow-{version}"
    shutil.rmtree(home, ignore_errors=True)
    (home / "plans").mkdir(parents=True)
    words = ["--config", CONFIG, *WORDS, "--output", str(home / "plans/flights.airflow.json")]
    compiler = [sys.executable, "-m", "pipeline.runners.airflow", *words]
    measure(compiler, cwd=PROJECT, log=FOLDER / "compile.log")
    settings = {"plans": str(home / "plans"), "tasks_at_once": 1}
    variables = airflow.standalone(version, home, PORT, settings)
    program = str(airflow.program(version))

    def call(*words: str) -> int:
        with (home / "calls.log").open("ab") as log:
            return subprocess.run(
                [program, *words], env=variables, stdout=log, stderr=log
            ).returncode

    call("db", "migrate")
    with (home / "standalone.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "standalone"], env=variables, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield call
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Database:
    """What Airflow has written down of its runs."""

    def __init__(self, version: str) -> None:
        """Of the Airflow of that version; it need not be there yet."""
        self._file = FOLDER / f"airflow-{version}" / "airflow.db"

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of an answer; none while it makes its tables."""
        with closing(sqlite3.connect(self._file, timeout=60)) as store:
            try:
                return store.execute(question, values).fetchall()
            except sqlite3.OperationalError:
                return []

    def is_read(self) -> bool:
        """Whether it knows the DAG."""
        return bool(self.ask("SELECT 1 FROM serialized_dag WHERE dag_id = 'flights'"))

    def state(self, run: str) -> str:
        """How a run is doing."""
        return str(self.ask("SELECT state FROM dag_run WHERE run_id = ?", run)[0][0])

    def has_ended(self, run: str) -> bool:
        """Whether a run came to its end."""
        return self.state(run) in ("success", "failed")

    def tasks(self, run: str) -> list[tuple[float, float]]:
        """When each task of a run began and ended, in seconds since the epoch."""
        times = self.ask("SELECT start_date, end_date FROM task_instance WHERE run_id = ?", run)
        return [(_seconds(begun), _seconds(ended)) for begun, ended in times]


def by_airflow(version: str, rounds: int) -> list[Figures]:
    """Runs by that Airflow's scheduler."""
    database, found = Database(version), []
    with _standalone(version) as call:
        _until(database.is_read)
        for number in range(rounds):
            name, begun = f"round-{number}", time.time()
            if call("dags", "trigger", "flights", "--run-id", name):
                raise RuntimeError(f"no run was started: see {FOLDER}/airflow-{version}/calls.log")
            _until(partial(database.has_ended, name))
            if database.state(name) == "failed":
                raise RuntimeError(f"the run failed: see {FOLDER}/airflow-{version}/logs")
            ran = database.tasks(name)
            first, last = min(begun for begun, _ in ran), max(ended for _, ended in ran)
            found.append(spread(begun, first, last, len(ran)))
    return found


def _seconds(text: str) -> float:
    """A time as Airflow keeps it, in UTC."""
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Airflow did not get there in {PATIENCE:g} s: see {FOLDER}")
        time.sleep(0.2)


def least(runs: list[Figures]) -> Figures:
    """The run whose tasks took the least: what disturbs a measurement only ever adds to it."""
    return min(runs, key=lambda run: float(run["task"]))


def main() -> int:
    """Times them and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    local()  # which fills the cache
    rounds = range(arguments.rounds)
    found = {
        "local": least([local() for _ in rounds]),
        "containers": least([containers() for _ in rounds]),
    }
    for version in airflow.LOCKS:
        if airflow.is_ready(version):
            found[f"airflow-{version}"] = least(by_airflow(version, arguments.rounds))
    figures = {"rounds": arguments.rounds, "orchestrators": found}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(orchestrators(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
