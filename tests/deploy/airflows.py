"""An Airflow of the tests, and programs that its Python runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools import airflow

DAG_FILE = airflow.FOLDER / "dags" / "pipeline_dag.py"
CLUSTER = {
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "nobody", "user": {}}],
    "contexts": [{"name": "here", "context": {"cluster": "none", "user": "nobody"}}],
    "current-context": "here",
}
TOY = """
import json, os, subprocess, sys, time
words, here = sys.argv[1:], os.path.dirname(os.path.abspath(__file__))
task = words[0]
with open(os.path.join(here, task + ".json"), "w") as file:
    json.dump({"words": words, "environment": dict(os.environ)}, file)
if task == "init":
    for name, text in (("span", "4"), ("earlier", "[2, 3]")):
        with open(os.path.join(words[1], name), "w") as file:
            file.write(text)
if task == "new_span":  # The first look fails, at the second nothing is new.
    looks = len([name for name in os.listdir(here) if name.startswith("look-")])
    open(os.path.join(here, "look-" + str(looks)), "w").close()
    if not looks:
        sys.exit("the store is away")
    said = dict(retrain=words[2] == "yes", span=4, note="a 'note'", reason="so it is")
    said["run_id"] = "decision-9-" + words[3]
    with open(os.path.join(words[1], "decision"), "w") as file:
        json.dump(said if looks > 1 else None, file)
if task == "slow":
    child = subprocess.Popen(["sleep", "300"])
    with open(os.path.join(here, "child"), "w") as file:
        file.write(str(child.pid))
    time.sleep(300)
print(task, "was here")
sys.exit(3 if task == "bad" else 0)
"""
TOLD = """
import json, runpy, sys
dags = runpy.run_path(sys.argv[1])
dag = dags["flights"]
trainer = dag.get_task("Trainer.keras")
pod = None
if hasattr(trainer, "build_pod_request_obj"):
    from kubernetes.client import ApiClient
    pod = ApiClient().sanitize_for_serialization(trainer.build_pod_request_obj())
def of_look(look):
    reads = ["mode", "poke_interval", "cmds", "deferrable"]
    return look.task_type, [getattr(look, name, None) for name in reads]
def of_all(dag):
    limit = dag.dagrun_timeout
    return {
        "tags": sorted(dag.tags),
        "documented": bool(dag.doc_md) and all(task.doc_md for task in dag.tasks),
        "owners": sorted({task.owner for task in dag.tasks}),
        "pools": sorted({task.pool for task in dag.tasks}),
        "deadline": limit and limit.total_seconds(),
        "runs": dag.max_active_runs,
        "at_once": dag.max_active_tasks,
        "timetable": type(dag.timetable).__name__,
        "catchup": dag.catchup,
        "paused": dag.is_paused_upon_creation,
    }
print(json.dumps({
    "dags": {name: of_all(dags[name]) for name in ("flights", "flights-policy") if name in dags},
    "look": "flights-policy" in dags and of_look(dags["flights-policy"].get_task("new_span")),
    "needs": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks},
    "teardown": [task.task_id for task in dag.tasks if task.is_teardown],
    "params": dag.params.dump(),
    "type": trainer.task_type,
    "retries": [trainer.retries, trainer.retry_delay.total_seconds()],
    "timeout": trainer.execution_timeout.total_seconds(),
    "pod": pod,
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""
BEGUN = """
import json, runpy, sys
class Ti:
    task_id = "Trainer.keras"
    def __init__(self, plan):
        self.plan = plan
    def xcom_pull(self, task_ids):
        return {"plan": self.plan, "span": 3, "earlier": []}
def of(plan):
    trainer = runpy.run_path(sys.argv[1])["flights"].get_task(Ti.task_id)
    context = {"run_id": "r", "params": {"span": "", "note": "", "force": False}}
    try:
        trainer.render_template_fields(context | {"ti": Ti(plan)})
    except Exception as error:
        return str(error)
    pod = getattr(trainer, "pod_template_dict", None)
    return trainer.arguments + ([pod["spec"]["containers"][0]["image"]] if pod else [])
print(json.dumps([of(plan) for plan in sys.argv[2:]]))
"""
"""What a task has whose run began with the plan of each digest; in a pod its image behind it."""
RUNS = """
import json, sys
from airflow.models import DagRun
print(json.dumps([[run.run_id, run.conf, run.state] for run in DagRun.find(dag_id=sys.argv[1])]))
"""
WAITS = """
import json, runpy, sys
class Ti:
    def get_dr_count(self, dag_id, states):
        return int((dag_id, states) == ("started", ["queued", "running"]))
dag = runpy.run_path(sys.argv[1])["started-policy"]
tis = [Ti(), *([object()] if sys.argv[2] == "2" else [])]
looks = [bool(dag.get_task("new_span").poke({"ti": ti})) for ti in tis]
print(json.dumps([any(looks), dag.get_task("start").skip_when_already_exists]))
"""
"""Whether it looks while a run is at work, as Airflow 3 tells, and as the older one's tables do."""


@dataclass(frozen=True)
class Airflow:
    """One Airflow, with a home of its own."""

    version: str
    home: Path

    def python(self, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Its Python."""
        return self.run(airflow.program(self.version).parent / "python", *words, **settings)

    def test(self, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """`airflow dags test`: one whole run."""
        return self.run(airflow.program(self.version), "dags", "test", *words, **settings)

    def told(self, **settings: object) -> dict[str, Any]:
        """What it has made of the plan of the flights."""
        done = self.python("-c", TOLD, str(DAG_FILE), **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def runs(self, dag_id: str) -> list[list[Any]]:
        """The runs of a DAG: of each its id, what it was given, and its state."""
        found: list[list[Any]] = json.loads(self.python("-c", RUNS, dag_id).stdout.splitlines()[-1])
        return found

    @contextmanager
    def scheduled(self, **settings: object) -> Iterator[Path]:
        """It is at work, with a home of its own, on what is in `plans`; gives its database."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        home = self.home.with_name(f"{self.home.name}-scheduled")
        home.mkdir()
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(airflow.program(self.version)), "standalone"],
                env=airflow.standalone(self.version, home, port, settings),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield home / "airflow.db"
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def run(
        self, program: Path, *words: str, **settings: object
    ) -> subprocess.CompletedProcess[str]:
        """One of its programs, to its end."""
        return subprocess.run(
            [str(program), *words],
            env=airflow.environment(self.home, settings),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


def started(version: str, folder: Path) -> Airflow:
    """The Airflow of that version, its home in `folder`; the test is skipped without it."""
    if not airflow.is_ready(version):
        pytest.skip(f"Airflow {version} is not here: `make airflow ARGS=--setup` installs it")
    one = Airflow(version, folder / f"airflow-{version}")
    if one.home.exists():
        return one
    done = one.run(airflow.program(version), "db", "migrate")
    assert done.returncode == 0, done.stdout + done.stderr
    return one


def ended(database: Path, dag_id: str, *, seconds: float) -> list[tuple[str, str]]:
    """The runs of a DAG with their states, once there are some and none is at work."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database)) as store:
            found = store.execute(
                "SELECT run_id, state FROM dag_run WHERE dag_id = ? ORDER BY id", [dag_id]
            ).fetchall()
            if found and all(state in ("success", "failed") for _, state in found):
                return found
    raise TimeoutError(f"{dag_id} has not ended in {seconds:g} s: see {database.with_name('log')}")
