"""The local runner on a toy graph; the metadata store is asked what happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from tfx.orchestration import metadata

from pipeline import node
from pipeline.display import PlainDisplay
from pipeline.node import State
from pipeline.runners.local import LocalRunner
from tests.pipeline.toy import Join, compile_toy


@pytest.fixture
def connection(tmp_path: Path):
    config = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    with metadata.Metadata(config):
        pass
    return config


def run_toy(tmp_path: Path, connection, run_id: str, behaviour: str = "work", jobs: int = 2):
    with (tmp_path / "shown.txt").open("a") as shown:
        ir = node.bind(compile_toy(str(tmp_path), behaviour), run_id, {})
        with LocalRunner(store=connection.SerializeToString(), jobs=jobs) as runner:
            results = runner.run(
                ir,
                lambda node_id: tmp_path / f"{node_id}.log",
                display=PlainDisplay(Console(file=shown)),
            )
    return {result.node_id: result for result in results}


def test_every_node_runs_and_the_store_says_so(tmp_path: Path, connection) -> None:
    results = run_toy(tmp_path, connection, "one")
    assert {n: r.state for n, r in results.items()} == {
        "Source": State.COMPLETE,
        "Left": State.COMPLETE,
        "Right": State.COMPLETE,
        "Join": State.COMPLETE,
    }
    shown = (tmp_path / "shown.txt").read_text()
    assert shown.index("Right started") < shown.index("Left complete") < shown.index("Join started")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_executor_prepares_before_its_turn_where_there_is_a_core_for_it(
    tmp_path: Path, connection, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    def prepare() -> None:
        with (tmp_path / "prepared.txt").open("a") as file:
            file.write(f"{time.time()}\n")

    executor = Join.EXECUTOR_SPEC.executor_class
    monkeypatch.setattr(executor, "prepare", staticmethod(prepare), raising=False)
    results = run_toy(tmp_path, connection, "one", jobs=jobs)
    assert results["Join"].state is State.COMPLETE
    if jobs == 1:
        assert not (tmp_path / "prepared.txt").exists()
    else:
        (moment,) = (tmp_path / "prepared.txt").read_text().split()
        assert float(moment) < results["Right"].started + results["Right"].seconds
    # One that is cached does not miss what was prepared.
    assert run_toy(tmp_path, connection, "two", jobs=jobs)["Join"].state is State.CACHED


def test_a_result_says_when_the_node_ran_and_what_it_took(tmp_path: Path, connection) -> None:
    begin = time.time()
    results = run_toy(tmp_path, connection, "one")
    right = results["Right"]
    assert begin < right.started < right.started + right.seconds < time.time()
    assert 0 < right.cpu_seconds < right.seconds + 1
    assert 100 * 2**20 < right.peak_bytes < 4 * 2**30


def test_an_unchanged_second_run_is_cached(tmp_path: Path, connection) -> None:
    run_toy(tmp_path, connection, "one")
    results = run_toy(tmp_path, connection, "two")
    assert {r.state for r in results.values()} == {State.CACHED}


def test_the_same_run_again_is_resumed_where_it_failed(tmp_path: Path, connection) -> None:
    failed = run_toy(tmp_path, connection, "one", "killed")
    assert failed["Left"].state is State.FAILED
    assert "SIGKILL" in failed["Left"].error
    assert "Join" not in failed
    again = run_toy(tmp_path, connection, "one", "work")
    assert again["Source"].state is State.RESUMED
    assert again["Left"].state is State.COMPLETE
    assert again["Join"].state is State.COMPLETE


def test_a_users_mistake_is_told_in_its_own_words_without_a_traceback(
    tmp_path: Path, connection
) -> None:
    result = run_toy(tmp_path, connection, "one", "user error")["Left"]
    assert (result.error, result.defect) == ("row 3 is bad; mend it", False)
    assert result.refused
    assert "Traceback" not in (tmp_path / "Left.log").read_text().partition("row 3")[0]


def test_a_defect_leaves_its_traceback_in_the_log(tmp_path: Path, connection) -> None:
    result = run_toy(tmp_path, connection, "one", "defect")["Left"]
    assert (result.error, result.defect) == ("ZeroDivisionError: division by zero", True)
    assert not result.refused
    assert "Traceback" in (tmp_path / "Left.log").read_text()


def test_the_store_keeps_the_cause_of_a_failure(tmp_path: Path, connection) -> None:
    run_toy(tmp_path, connection, "one", "user error")
    import ml_metadata

    executions = ml_metadata.MetadataStore(connection).get_executions()
    causes = [e.custom_properties["__execution_result__"].string_value for e in executions]
    assert any("row 3 is bad; mend it" in cause for cause in causes)


def test_children_end_when_their_parent_is_killed(tmp_path: Path, connection) -> None:
    script = (
        "import sys; from pathlib import Path; from tfx.orchestration import metadata\n"
        "from tests.pipeline.test_local_runner import run_toy\n"
        "folder = Path(sys.argv[1])\n"
        "store = metadata.sqlite_metadata_connection_config(str(folder / 'metadata.sqlite'))\n"
        "run_toy(folder, store, 'one', 'sleep')\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 60
    while not (tmp_path / "Left.log").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    pids = [int(pid) for pid in children.read_text().split()]
    assert pids
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    resumed = run_toy(tmp_path, connection, "one", "work")
    assert resumed["Source"].state is State.RESUMED
    assert resumed["Left"].state is State.COMPLETE


def test_a_node_runs_in_a_process_of_its_own_by_the_command_line(
    tmp_path: Path, connection
) -> None:
    ir_file = tmp_path / "pipeline.pb"
    ir_file.write_bytes(compile_toy(str(tmp_path), "user error").SerializeToString())

    def run(node_id: str) -> subprocess.CompletedProcess[str]:
        store = tmp_path / "metadata.sqlite"
        command = [
            sys.executable,
            "-m",
            "pipeline.node",
            f"--ir={ir_file}",
            f"--store=sqlite://{store}",
        ]
        command += [f"--node-id={node_id}", "--run-id=one"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("Source")
    assert (done.returncode, done.stdout[:16]) == (0, "Source: complete"), done.stderr
    done = run("Left")
    assert done.returncode == 1
    assert "row 3 is bad; mend it" in done.stdout
    # Its input is not in the store, which TFX's launcher passes over in silence.
    done = run("Join")
    assert done.returncode == 1
    assert "its inputs (left, right) are not in the metadata store" in done.stdout
    done = run("Nowhere")
    assert done.returncode == 2
    assert "the nodes are: Source, Left, Right, Join" in done.stderr
