"""The whole pipeline as a Kubeflow package, its containers' commands run here as processes.

The store is a server's, as on a cluster; each step asks it what happened.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.example.example_pb2 import Example

from tests import services
from tests.end_to_end.project import FRAMEWORKS, Execution, SmallProject
from tests.receiver import Receiver

pytestmark = pytest.mark.e2e

RESOLVERS = {"PreviousStatistics", "Window", "AnalyzerCache", "LiveModel"}
NEVER_CACHED = {*RESOLVERS, "Report"}
OF_A_RUN = {
    *("history.json", "history.svg", "canary.json", "selection.json"),  # how long it took
    *(
        "bundle.json",
        "eval_config.json",
        "outcome.json",
        "registration.json",
        "index.html",
    ),  # run, paths
    *("saved_model.pb", "fingerprint.pb", "model.skops"),  # names in the graph, times in an archive
}
"""Files that hold something of the run in which they were made."""
AT_ONCE = {
    "tasks.defaults.image": "unused",
    "tasks.defaults.retries": "{ count = 2, backoff_seconds = 0 }",
}


@dataclasses.dataclass(frozen=True)
class Packaged:
    """A project's pipeline as a package, and one run of it."""

    project: SmallProject
    file: Path

    @classmethod
    def compiled(cls, project: SmallProject, name: str, **settings: str) -> Packaged:
        """Compiles the pipeline of `project` under `name`."""
        file = project.folder / f"build/{name}.yaml"
        config = ["--config", "configs/flights.toml", "--output", str(file)]
        words = [w for item in AT_ONCE.items() for w in ("--set", "=".join(item))]
        done = _finished(
            project, "compile", *config, *words, *project.overrides(name=name, **settings)
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return cls(project, file)

    def start(self, run_id: str, *words: str) -> subprocess.Popen[str]:
        """Runs the package, two tasks at once."""
        command = ["run-local", str(self.file), "--run-id", run_id, "--jobs", "2", *words]
        return _started(self.project, *command)

    def run(self, run_id: str, *words: str) -> str:
        """Runs it to a good end; what was printed."""
        process = self.start(run_id, *words)
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed
        return printed

    def log(self, run_id: str, task: str, attempt: int = 1) -> Path:
        """What a task printed."""
        return self.project.folder / f"build/runs/{run_id}/logs/{task}.{attempt}.log"


def _started(project: SmallProject, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "kubeflow_runner.py", *words],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finished(project: SmallProject, *words: str) -> subprocess.CompletedProcess[str]:
    process = _started(project, *words)
    printed, _ = process.communicate(timeout=600)
    return subprocess.CompletedProcess(words, process.returncode, printed, "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project; the stores' password is in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_STORE_PASSWORD", services.PASSWORD)
        yield SmallProject.make(tmp_path_factory.mktemp("cluster")).folder


@pytest.fixture(scope="module")
def on_postgresql(folder: Path, postgresql_server: services.Server) -> Packaged:
    """The pipeline with all frameworks, run once as a package on PostgreSQL."""
    project = SmallProject(folder, "output/cluster", postgresql_server.database())
    packaged = Packaged.compiled(project, "flights")
    packaged.run("first", "--param", "note=by package")
    return packaged


def states(project: SmallProject, run_id: str) -> dict[str, str]:
    return {node_id: e.state for node_id, e in project.executions(run_id).items()}


def test_every_node_completes_and_the_store_says_how_the_run_began_and_ended(
    on_postgresql: Packaged,
) -> None:
    project = on_postgresql.project
    found = states(project, "first")
    assert set(found.values()) == {"COMPLETE", "CACHED"}
    assert {n for n, state in found.items() if state == "CACHED"} == {"SchemaGen"}  # the backfill's
    assert {f"Trainer.{framework}" for framework in FRAMEWORKS} < set(found)
    assert set(states(project, "first-span-1").values()) == {"COMPLETE"}
    facts = run_facts(project, "first")
    assert (facts["outcome"], facts["span"], facts["note"]) == ("succeeded", "2", "by package")
    assert json.loads(facts["config"])["name"] == "flights"
    assert len(project.serving) == 1


def test_the_artifacts_are_those_of_the_local_runner(on_postgresql: Packaged) -> None:
    by_package = on_postgresql.project
    local = dataclasses.replace(by_package, local_root="output/local", store_url="")
    done = local.run("--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    (run_id,) = [r for r in local.run_ids() if "-span-" not in r]
    here, there = contents(local, run_id), contents(by_package, "first")
    assert here.keys() == there.keys()
    # Which of two that are as good is the cheaper one is measured anew in each run.
    for node_id in here.keys() - {"ModelSelector", "Pusher"}:
        assert here[node_id] == there[node_id], node_id
    models = [name for node in here.values() for name in node if name.endswith("/model.ubj")]
    assert models


def test_a_second_run_is_taken_from_the_cache(on_postgresql: Packaged) -> None:
    on_postgresql.run("second")
    found = states(on_postgresql.project, "second")
    assert found == {n: "COMPLETE" if n in NEVER_CACHED else "CACHED" for n in found}
    assert len(on_postgresql.project.serving) == 1


def test_the_local_runner_finds_in_the_same_store_what_the_package_made(
    on_postgresql: Packaged,
) -> None:
    project = on_postgresql.project
    done = project.run("--plain", "--config", "configs/flights.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    newest = max(project.run_ids(), key=lambda r: context_id(project, r))
    found = states(project, newest)
    assert found == {n: "COMPLETE" if n in NEVER_CACHED else "CACHED" for n in found}


def test_two_pipelines_share_a_store_and_a_task_that_is_killed_is_tried_again(
    folder: Path, mariadb_server: services.Server
) -> None:
    url = mariadb_server.database()
    one, other = (
        SmallProject(folder, f"output/{name}", url, (framework,))
        for name, framework in (("one", "sklearn"), ("other", "xgboost"))
    )
    packages = [Packaged.compiled(one, "one"), Packaged.compiled(other, "other")]
    runs = [package.start(f"run-of-{package.file.stem}") for package in packages]
    kill_once_it_works(packages[0], "run-of-one", "Trainer.sklearn")
    for run in runs:
        printed, _ = run.communicate(timeout=600)
        assert run.returncode == 0, printed
    assert packages[0].log("run-of-one", "trainer-sklearn", 2).exists()
    for project, run_id, trainer in (
        (one, "run-of-one", "Trainer.sklearn"),
        (other, "run-of-other", "Trainer.xgboost"),
    ):
        found = project.executions(run_id)
        assert {e.state for e in found.values()} <= {"COMPLETE", "CACHED"}
        assert [n for n in found if n.startswith("Trainer.")] == [trainer]
        assert run_facts(project, run_id)["outcome"] == "succeeded"
        assert len(project.serving) == 1
    # The store holds the killed try and its retry as one execution.
    assert len([e for e in trainings(one) if e.state == "COMPLETE"]) == 1


def test_a_failing_node_is_tried_again_and_the_exit_task_says_so(
    folder: Path, mariadb_server: services.Server
) -> None:
    project = SmallProject(folder, "output/failing", mariadb_server.database(), ("sklearn",))
    with Receiver() as receiver:
        failing = Packaged.compiled(
            project, "failing", gate__min_rows="1000000", kubeflow__webhook=receiver.url
        )
        run = failing.start("failing-run")
        printed, _ = run.communicate(timeout=600)
        assert run.returncode == 1, printed
        (told,) = [json.loads(posted.body) for posted in receiver.requests]
    assert (told["outcome"], told["run_id"]) == ("failed", "failing-run")
    assert told["failed_node"].startswith("DataGate")
    assert "1,000,000" in told["reason"] or "1000000" in told["reason"]
    facts = run_facts(project, "failing-run")
    assert (facts["outcome"], facts["failed_node"]) == ("failed", told["failed_node"])
    assert "Trainer.sklearn" not in states(project, "failing-run")
    page = project.root / "runs/failing-run/report.html"
    assert f"Report: {page}" in failing.log("failing-run", "finish").read_text()
    assert "fewer than 1000000" in page.read_text()


def kill_once_it_works(package: Packaged, run_id: str, node_id: str) -> None:
    """Ends the task of `node_id` as the kernel does when memory is short."""
    task = node_id.lower().replace(".", "-")
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if package.log(run_id, task).exists() and is_running(package.project, run_id, node_id):
            pattern = f"pipeline.node.*--node-id {node_id} --run-id {run_id}"
            found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True)
            for pid in found.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            assert found.stdout
            return
        time.sleep(0.1)
    raise TimeoutError(f"{node_id} did not begin")


def is_running(project: SmallProject, run_id: str, node_id: str) -> bool:
    execution = project.executions(run_id).get(node_id)
    return execution is not None and execution.state == "RUNNING"


def trainings(project: SmallProject) -> list[Execution]:
    return [e for n, e in project.executions("run-of-one").items() if n == "Trainer.sklearn"]


def context_id(project: SmallProject, run_id: str) -> int:
    found = project.store().get_context_by_type_and_name("pipeline_run", run_id)
    return int(found.id)


def run_facts(project: SmallProject, run_id: str) -> dict[str, str]:
    """What the store holds of the run itself."""
    context = project.store().get_context_by_type_and_name("pipeline_run", run_id)
    return {key: value.string_value for key, value in context.custom_properties.items()}


def contents(project: SmallProject, run_id: str) -> dict[str, dict[str, str]]:
    """The files that each node of a run made, by name, with what is the same in every run of it."""
    store = project.store()
    found: dict[str, dict[str, str]] = {}
    for node_id, execution in project.executions(run_id).items():
        if node_id in RESOLVERS:
            continue
        files = found.setdefault(node_id, {})
        for key, ids in execution.outputs.items():
            for number, artifact in enumerate(store.get_artifacts_by_id(ids)):
                folder = Path(artifact.uri)
                for file in sorted(f for f in folder.rglob("*") if f.is_file()):
                    files[f"{key}/{number}/{file.relative_to(folder)}"] = lasting(file)
    return found


def lasting(file: Path) -> str:
    """A digest of what a file holds, without times, places and the order of a map."""
    content = b""
    if file.name == "verdict.json":
        verdict = json.loads(file.read_bytes())
        kept = {key: verdict[key] for key in ("candidates", "blessed", "members", "models")}
        content = json.dumps(kept).encode()
    elif file.name.endswith(".json.gz"):
        content = gzip.decompress(file.read_bytes())
    elif file.suffix == ".gz":
        rows = tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
        content = b"".join(
            Example.FromString(r).SerializeToString(deterministic=True) for r in rows
        )
    elif file.name not in OF_A_RUN:
        content = file.read_bytes()
    return hashlib.sha256(content).hexdigest()
