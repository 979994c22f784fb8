"""The policy with Kubeflow as its runner: a stand-in, which runs the containers as processes.

The loop ingests, decides, compiles and sends; the package's tasks do the run on the same store.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.store.decisions import COMPLETE, RETRAIN
from tests.end_to_end.project import SmallProject
from tests.pipeline.kfp_server import KfpServer, kfp_server
from tests.receiver import Receiver

pytestmark = pytest.mark.e2e


def carry_out(project: SmallProject, api: KfpServer, ended: threading.Event) -> None:
    """Runs the package of the first run that the server is asked for, and tells how it ended."""
    while not api.things["runs"] and not ended.wait(0.2):
        pass
    if ended.is_set():
        return
    (run,), (version,) = api.things["runs"], api.things["versions"]
    package = project.folder / "sent.yaml"
    package.write_text(version["package"])
    given = run["runtime_config"]["parameters"].items()
    words = [word for name, value in given for word in ("--param", f"{name}={value}")]
    command = [sys.executable, "kubeflow_runner.py", "run-local", str(package), "--jobs", "2"]
    done = subprocess.run(
        [*command, "--run-id", run["run_id"], *words],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
    )
    run["state"] = "FAILED" if done.returncode else "SUCCEEDED"
    run["run_details"] = {"task_details": []}


def test_a_span_is_looked_at_here_and_learned_from_on_the_server(tmp_path: Path) -> None:
    made = SmallProject.make(tmp_path)
    project = SmallProject(made.folder, frameworks=("sklearn",))
    (project.folder / "data/small/span-01/_SUCCESS").touch()
    shutil.rmtree(project.folder / "data/small/span-02")
    volumes = json.dumps(str(project.folder))
    with kfp_server() as api, Receiver() as receiver:
        settings = project.overrides(
            root=json.dumps(str(project.root)),
            continuous__marker="_SUCCESS",
            continuous__runner="kubeflow",
            kubeflow__host=json.dumps(api.url),
            register__enabled="false",
            tasks__one_machine="true",
            tasks__defaults__image="unused",
            tasks__defaults__volumes=f"{{ here = {volumes} }}",
        )
        ended = threading.Event()
        cluster = threading.Thread(target=carry_out, args=(project, api, ended))
        cluster.start()
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "continuous", "--once", *settings],
            cwd=project.folder,
            env=project.environment() | {"PIPELINE_WEBHOOK": receiver.url},
            capture_output=True,
            text=True,
            timeout=900,
        )
        ended.set()
        cluster.join()
        assert done.returncode == 0, done.stdout + done.stderr
        assert api.refused == []
    (run,) = api.things["runs"]
    store = lineage.open(Path(project.root / "metadata.sqlite"))
    (decision,) = store.decisions()
    assert (decision.span, decision.verdict, decision.state) == (1, RETRAIN, COMPLETE)
    assert decision.run is not None and decision.run.id == run["run_id"]
    assert decision.run.note == f"Decision {decision.id}: {decision.reason}"
    # What was made of the span to decide about it is in the cache of the server's run.
    nodes = {node.name: node for node in decision.run}
    assert all(nodes[name].cached for name in ("ExampleGen", "StatisticsGen", "ExampleValidator"))
    assert store.live_model().producer is not None
    (told,) = (json.loads(request.body) for request in receiver.requests)
    assert (told["event"], told["run_id"]) == ("retrained", run["run_id"])
    assert f"version {project.serving[0]} is live" in done.stdout
