"""Runs that decisions start on a server: begun once, found again, and told apart by their ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types

from pipeline.cluster.remote import Package
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.continuous.cluster_runs import PATIENCE_SECONDS, ClusterRuns
from pipeline.continuous.runs import AtWorkElsewhere, Done, RunFailed
from pipeline.runners.kfp_client import KubeflowServer
from pipeline.store import record
from tests.pipeline.kfp_server import KfpServer, kfp_server
from tests.pipeline.test_kfp_client import PACKAGE, api, configured  # noqa: F401  # api: a fixture
from tests.pipeline.test_vertex import Vertex
from tests.pipeline.test_vertex import api as vertex  # noqa: F401  # a fixture
from tests.pipeline.test_vertex import server as vertex_server
from tests.pipeline.written_store import Writer

TAKES_NOTES = Package(
    PACKAGE.text.replace("    parameters:", "    parameters:\n      note: {parameterType: STRING}")
)
TaskState = types.PipelineTaskDetail.State


class NotHere:
    """Where nothing is ingested."""

    def ingest(self, span: int) -> None:
        raise AssertionError(span)


class Killed(BaseException):
    """In place of kill -9."""


def settings(tmp_path: Path) -> list[str]:
    tmp_path.mkdir(exist_ok=True)
    return [f"store.url='sqlite:///{tmp_path}/metadata.sqlite'"]


def store_of(config: PipelineConfig) -> Writer:
    return Writer(config.store_url)


class Cluster:
    """Runs on a Kubeflow that does what a test says, each time that somebody waits for it."""

    def __init__(self, server: KfpServer, tmp_path: Path) -> None:
        self.api = server
        self.config = configured(server, *settings(tmp_path))
        self.store = store_of(self.config)
        self.begun: list[str] = []
        self.waited = 0.0
        self.does: Callable[[dict[str, Any]], None] = self.succeed

    @property
    def runs(self) -> list[dict[str, Any]]:
        return self.api.things["runs"]

    def succeed(self, run: dict[str, Any]) -> None:
        run["state"] = "SUCCEEDED"
        self.note(run, outcome=record.SUCCEEDED)
        model = self.store.artifact("PushedModel", pushed=1, pushed_version="7")
        self.store.execution("Pusher", [], [model], run=run["run_id"])

    def fail(self, run: dict[str, Any]) -> None:
        run["state"] = "FAILED"
        self.note(run, outcome=record.FAILED, reason="Trainer.keras: no memory")

    def note(self, run: dict[str, Any], **facts: str) -> None:
        """What the run's tasks leave in the store."""
        note = run["runtime_config"]["parameters"]["note"]
        self.store.facts(run["run_id"], pipeline="flights", note=note, **facts)

    def train(self, decision: int = 7) -> Done:
        return ClusterRuns(
            self.config,
            lambda: KubeflowServer(self.config),
            NotHere(),
            lambda _: TAKES_NOTES,
            clock=lambda: self.waited,
            sleep=self._sleep,
        ).train(decision, 4, "Span 4: retrain.", self.begun.append)

    def _sleep(self, seconds: float) -> None:
        self.waited += seconds
        self.does(self.runs[-1])


@pytest.fixture
def cluster(api: KfpServer, tmp_path: Path) -> Cluster:  # noqa: F811
    return Cluster(api, tmp_path)


def test_a_decision_starts_one_run_on_the_server_and_tells_its_id_at_once(
    cluster: Cluster,
) -> None:
    def sees_it(run: dict[str, Any]) -> None:
        assert cluster.begun == [run["run_id"]]
        cluster.succeed(run)

    cluster.does = sees_it
    done = cluster.train()
    (run,) = cluster.runs
    assert done == Done(run["run_id"], "7")
    assert run["runtime_config"]["parameters"] == {
        "span": "4",
        "note": "Decision 7: Span 4: retrain.",
    }


def test_what_has_ended_is_not_started_again(cluster: Cluster) -> None:
    assert cluster.train() == cluster.train()
    assert len(cluster.runs) == 1


def test_another_decision_and_another_store_have_runs_of_their_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.train(7)
    cluster.train(70)
    other = Cluster(cluster.api, tmp_path / "other")
    other.config = other.config.model_copy(update={"root": "/pipeline/other"})
    other.train(7)
    assert len({run["display_name"] for run in cluster.runs}) == 3


def test_who_was_killed_while_it_waited_goes_on_with_the_same_run(cluster: Cluster) -> None:
    def die(_: dict[str, Any]) -> None:
        raise Killed

    cluster.does = die
    with pytest.raises(Killed):
        cluster.train()
    assert cluster.runs[0]["state"] == "PENDING"  # Nobody ends it: it goes on meanwhile.
    cluster.does = cluster.succeed
    done = cluster.train()
    assert [run["run_id"] for run in cluster.runs] == [done.run_id]
    assert set(cluster.begun) == {done.run_id}


def test_a_run_whose_start_was_never_confirmed_is_found_by_its_name(cluster: Cluster) -> None:
    cluster.api.loses_answer = lambda method, path: (method, path) == ("POST", "/runs")
    with pytest.raises(RunFailed, match="the run did not begin"):
        cluster.train()
    cluster.api.loses_answer = lambda *_: False
    cluster.train()
    assert len(cluster.runs) == 1


def test_a_run_that_another_runner_is_at_is_not_submitted_beside_it(cluster: Cluster) -> None:
    facts = {"pipeline": "flights", "note": "Decision 7: Span 4: retrain.", "runner": "airflow"}
    cluster.store.facts("scheduled-1", **facts)
    with pytest.raises(AtWorkElsewhere, match="run scheduled-1 of it is carried out by airflow"):
        cluster.train()
    assert cluster.runs == []
    cluster.store.facts("scheduled-1", **record.ended(record.FAILED, reason="no memory"))
    assert cluster.train().pushed == "7"


def test_a_run_that_failed_says_at_which_node_and_the_next_try_is_a_new_one(
    cluster: Cluster,
) -> None:
    cluster.does = cluster.fail
    with pytest.raises(RunFailed, match=r"run runs-\d+: Trainer.keras: no memory \(http"):
        cluster.train()
    cluster.does = cluster.succeed
    done = cluster.train()
    assert [run["run_id"] for run in cluster.runs][1:] == [done.run_id]


def test_a_run_that_left_nothing_in_the_store_fails_with_its_servers_words(
    cluster: Cluster,
) -> None:
    cluster.does = cluster.fail
    with pytest.raises(RunFailed, match="no memory"):
        cluster.train()

    def no_image(run: dict[str, Any]) -> None:
        task = {"display_name": "init", "state": "FAILED", "error": {"message": "no such image"}}
        run |= {"state": "FAILED", "run_details": {"task_details": [task]}}

    cluster.does = no_image
    with pytest.raises(RunFailed, match="init failed: no such image"):
        cluster.train()


def test_a_server_that_is_away_for_a_while_is_waited_for_and_one_that_stays_away_is_not(
    cluster: Cluster,
) -> None:
    def away(run: dict[str, Any]) -> None:
        cluster.api.on_request = lambda *_: (503, b"{}")
        if cluster.waited > PATIENCE_SECONDS / 2:
            cluster.api.on_request = lambda *_: None
            cluster.succeed(run)

    cluster.does = away
    assert cluster.train().pushed == "7"
    cluster.waited = 0.0
    cluster.does = lambda _: setattr(cluster.api, "on_request", lambda *_: (503, b"{}"))
    with pytest.raises(RunFailed, match="nobody knows how run runs-"):
        cluster.train(8)


def test_on_vertex_a_run_is_found_again_by_its_label_and_keeps_the_id_of_the_store(
    vertex: Vertex,  # noqa: F811
    tmp_path: Path,
) -> None:
    given = settings(tmp_path)
    server = vertex_server(*given)
    here = ["root='gs://bucket/flights'", *given]
    config = load(PROJECT / "configs/flights-kubeflow.toml", here)
    store, begun = store_of(config), list[str]()

    def train(does: Callable[[], None]) -> Done:
        runs = ClusterRuns(
            config, lambda: server, NotHere(), lambda _: TAKES_NOTES, sleep=lambda _: does()
        )
        return runs.train(7, 4, "Span 4: retrain.", begun.append)

    def die() -> None:
        raise Killed

    def succeed() -> None:
        facts = {"pipeline": "flights", "note": "Decision 7: …", "outcome": record.SUCCEEDED}
        store.facts("4711", **facts)
        vertex.jobs[0].state = types.PipelineState.PIPELINE_STATE_SUCCEEDED

    with pytest.raises(Killed):
        train(die)
    assert train(succeed) == Done("4711", "")
    (job,) = vertex.jobs
    assert job.labels["started_by"].startswith("decision-7-")
    assert begun[0] == job.name.rpartition("/")[2]
    assert begun[-1] == "4711"


SCRIPT = """
    import sys, time
    from pathlib import Path
    from pipeline.cluster.remote import Package
    from pipeline.config_file import load
    from pipeline.continuous.cluster_runs import ClusterRuns
    from pipeline.runners.kfp_client import KubeflowServer

    config = load(Path("configs/flights-kubeflow.toml"), sys.argv[2:])
    package = Package(sys.argv[1])
    runs = ClusterRuns(
        config, lambda: KubeflowServer(config), None, lambda _: package,
        sleep=lambda _: time.sleep(0.05),
    )
    print(runs.train(7, 4, "retrain", lambda run_id: print(run_id, flush=True)))
"""


def test_kill_9_of_who_waits_neither_ends_a_run_nor_starts_another(tmp_path: Path) -> None:
    with kfp_server() as server:
        words = [f"kubeflow.host={json.dumps(server.url)}", *settings(tmp_path)]
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), TAKES_NOTES.text, *words]
        for _ in range(2):
            with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as first:
                assert first.stdout
                assert first.stdout.readline().strip() == "runs-4"
                first.send_signal(signal.SIGKILL)
        server.things["runs"][0]["state"] = "SUCCEEDED"
        last = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        assert "run_id='runs-4'" in last.stdout
        assert len(server.things["runs"]) == 1
        assert "POST" not in [m for m, path in server.requests if path.endswith(":terminate")]
