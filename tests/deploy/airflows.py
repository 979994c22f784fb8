"""An Airflow of the tests, and programs that its Python runs."""

from __future__ import annotations

import json
import subprocess
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
if task == "new_span":  # Nothing is new at the first look.
    looks = len([name for name in os.listdir(here) if name.startswith("look-")])
    open(os.path.join(here, "look-" + str(looks)), "w").close()
    said = dict(retrain=words[2] == "yes", span=4, note="a 'note'", reason="so it is")
    with open(os.path.join(words[1], "decision"), "w") as file:
        json.dump(said if looks else None, file)
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
dag = runpy.run_path(sys.argv[1])["flights"]
trainer = dag.get_task("Trainer.keras")
pod = None
if hasattr(trainer, "build_pod_request_obj"):
    from kubernetes.client import ApiClient
    pod = ApiClient().sanitize_for_serialization(trainer.build_pod_request_obj())
class Begun:
    def xcom_pull(self, task_ids):
        return {"plan": "another"}
try:
    replaced = str(dag.user_defined_macros["begun"](Begun()))
except Exception as error:
    replaced = str(error)
print(json.dumps({
    "needs": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks},
    "teardown": [task.task_id for task in dag.tasks if task.is_teardown],
    "params": dag.params.dump(),
    "type": trainer.task_type,
    "retries": [trainer.retries, trainer.retry_delay.total_seconds()],
    "timeout": trainer.execution_timeout.total_seconds(),
    "places": [trainer.pool, trainer.owner, dag.max_active_runs],
    "deadline": dag.dagrun_timeout.total_seconds(),
    "replaced": replaced,
    "timetable": type(dag.timetable).__name__,
    "pod": pod,
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""


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
