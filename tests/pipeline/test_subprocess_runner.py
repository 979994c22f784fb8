# Annotations are not postponed: kfp reads a component's as types.

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import dsl, kubernetes
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.cluster import packed
from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.runners.subprocesses import Outcome, State, TaskResult, run_package
from pipeline.store import connect
from tests.pipeline.packages import compiled, making, python, taking
from tests.pipeline.toy import compile_toy

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text({!r})"
PRINT = "import sys; print(sys.argv[1:])"
_WRITE_PID = (
    "open(sys.argv[1] + '.new', 'w').write(str({})); os.rename(sys.argv[1] + '.new', sys.argv[1])"
)
FAIL = "import sys; print('rows are bad'); sys.exit(3)"


def run(define: Callable[..., None], folder: Path, jobs: int = 4, **parameters: object) -> Outcome:
    return run_package(compiled(define, folder), parameters, folder=folder / "run", jobs=jobs)


def states(outcome: Outcome) -> dict[str, State]:
    return {result.task_id: result.state for result in outcome.results}


def printed(outcome: Outcome, task_id: str) -> str:
    (result,) = [result for result in outcome.results if result.task_id == task_id]
    assert result.log
    return result.log.read_text()


def test_what_a_task_makes_reaches_the_next_one_inside_its_text(tmp_path: Path) -> None:
    def define() -> None:
        made = making("source", WRITE.format("17"))()
        taking("sink", PRINT)(given=f"span-{made.output}")

    outcome = run(define, tmp_path)

    assert outcome.succeeded
    assert printed(outcome, "sink") == "['span-17']\n"


def test_values_keep_their_types_on_the_way(tmp_path: Path) -> None:
    @dsl.container_component
    def show(whole: int, share: float, yes: bool, names: list, table: dict) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            "python:3", ["python", "-c", PRINT], [whole, share, yes, names, table]
        )

    def define(yes: bool = False, share: float = 2) -> None:
        whole = making("whole", WRITE.format("12\n"), int)()
        names = making("names", WRITE.format('["a"]'), list)()
        show(whole=whole.output, share=share, yes=yes, names=names.output, table={"k": [1]})

    outcome = run(define, tmp_path, yes=True)

    assert printed(outcome, "show") == """['12', '2', 'true', '["a"]', '{"k": [1]}']\n"""


def test_an_artifact_is_a_folder_that_the_next_task_reads(tmp_path: Path) -> None:
    @dsl.container_component
    def train(model: dsl.Output[dsl.Model]) -> dsl.ContainerSpec:
        code = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'm').touch()"
        return dsl.ContainerSpec("python:3", ["python", "-c", code], [model.path])

    @dsl.container_component
    def look(model: dsl.Input[dsl.Model]) -> dsl.ContainerSpec:
        code = "import os, sys; print(os.listdir(sys.argv[1]))"
        return dsl.ContainerSpec("python:3", ["python", "-c", code], [model.uri])

    def define() -> None:
        look(model=train().outputs["model"])

    assert printed(run(define, tmp_path), "look") == "['m']\n"


def test_a_try_does_not_see_what_the_one_before_it_made(tmp_path: Path) -> None:
    @dsl.container_component
    def train(model: dsl.Output[dsl.Model], value: dsl.OutputPath(str)) -> dsl.ContainerSpec:  # type: ignore[valid-type]
        code = (
            "import pathlib, sys\n"
            "for file in map(pathlib.Path, sys.argv[1:]): file.open('x')\n"
            "second = pathlib.Path(sys.argv[1] + '.second')\n"
            "sys.exit(0 if second.exists() else second.touch() or 1)"
        )
        return dsl.ContainerSpec("python:3", ["python", "-c", code], [model.path, value])

    def define() -> None:
        train().set_retry(num_retries=1)

    (result,) = run(define, tmp_path).results
    assert (result.state, result.tries) == (State.SUCCEEDED, 2)


def test_tasks_run_at_once_up_to_jobs(tmp_path: Path) -> None:
    meet = (
        "import pathlib, sys, time\n"
        "folder, me = map(pathlib.Path, sys.argv[1:])\n"
        "(folder / me).touch()\n"
        "limit = time.monotonic() + 20\n"
        "while len(list(folder.iterdir())) < 3 and time.monotonic() < limit: time.sleep(0.01)\n"
        "sys.exit(len(list(folder.iterdir())) < 3)"
    )
    (tmp_path / "met").mkdir()

    def define() -> None:
        for name in ("a", "b", "c"):
            python(name, meet, str(tmp_path / "met"), name)()

    assert run(define, tmp_path, jobs=3).succeeded


def test_no_more_than_jobs_run_at_once(tmp_path: Path) -> None:
    running: list[int] = []
    at_work: set[str] = set()

    def note(result: TaskResult) -> None:
        (at_work.add if result.state is State.RUNNING else at_work.discard)(result.task_id)
        running.append(len(at_work))

    def define() -> None:
        for name in ("a", "b", "c"):
            python(name, "")()

    file = compiled(define, tmp_path)
    outcome = run_package(file, {}, folder=tmp_path / "run", jobs=1, report=note)

    assert outcome.succeeded
    assert max(running) == 1


def test_a_task_that_fails_is_tried_again_with_a_log_for_each_try(tmp_path: Path) -> None:
    code = "import os, sys; n = len(os.listdir(sys.argv[1])); print('try', n); sys.exit(n < 3)"

    def define() -> None:
        flaky = python("flaky", code, str(tmp_path / "run/logs"))()
        flaky.set_retry(num_retries=3, backoff_duration="0s")

    outcome = run(define, tmp_path)

    (result,) = outcome.results
    assert (result.state, result.tries) == (State.SUCCEEDED, 3)
    logs = sorted((tmp_path / "run/logs").iterdir())
    assert [log.read_text() for log in logs] == ["try 1\n", "try 2\n", "try 3\n"]


def test_waits_between_tries_grow_up_to_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.monotonic()
    now, starts = begun, list[float]()

    def sleep(seconds: float) -> None:
        nonlocal now
        real_sleep(0.001)
        now += 0.25

    def note(result: TaskResult) -> None:
        if result.state is State.WAITING:
            starts.append(now)

    real_sleep = time.sleep
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def define() -> None:
        python("bad", FAIL)().set_retry(3, "100s", 3.0, "200s")

    file = compiled(define, tmp_path)
    run_package(file, {}, folder=tmp_path / "run", jobs=1, report=note)

    assert len(starts) == 3
    assert starts[1] - starts[0] >= 100
    assert 200 <= starts[2] - starts[1] < 300


def test_after_a_failure_its_dependants_are_skipped_others_and_the_exit_task_run(
    tmp_path: Path,
) -> None:
    def define() -> None:
        with dsl.ExitHandler(python("finish", "print('told')")(), name="all"):
            bad = python("bad", FAIL)()
            after = python("after", "")().after(bad)
            python("later", "")().after(after)
            python("other", "")()

    outcome = run(define, tmp_path)

    assert states(outcome) == {
        "bad": State.FAILED,
        "after": State.SKIPPED,
        "later": State.SKIPPED,
        "other": State.SUCCEEDED,
        "finish": State.SUCCEEDED,
    }
    (bad,) = [result for result in outcome.results if result.state is State.FAILED]
    assert bad.error == "ended by exit code 3: rows are bad"
    assert printed(outcome, "finish") == "told\n"
    assert not outcome.succeeded


def test_a_killed_task_is_told_by_its_signal(tmp_path: Path) -> None:
    def define() -> None:
        python("killed", "import os; os.kill(os.getpid(), 9)")()

    (result,) = run(define, tmp_path).results
    assert (result.state, result.error) == (State.FAILED, "ended by signal SIGKILL")


def test_a_task_that_takes_too_long_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, real = tmp_path / "child", time.monotonic
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"{_WRITE_PID.format('child.pid')}; time.sleep(600)"
    )
    monkeypatch.setattr(time, "monotonic", lambda: real() + (3600 if file.exists() else 0))

    def define() -> None:
        kubernetes.set_timeout(python("slow", code, str(file))(), 1800)

    (result,) = run(define, tmp_path).results

    assert (result.state, result.error) == (State.FAILED, "took longer than 1800 s and was ended")
    _wait_for(lambda: _gone(int(file.read_text())))


def test_a_task_that_does_not_make_what_it_promised_has_failed(tmp_path: Path) -> None:
    def define() -> None:
        making("forgetful", "")()
        making("wrong", WRITE.format("many"), int)()

    errors = {result.task_id: result.error for result in run(define, tmp_path).results}
    assert errors["forgetful"] == "ended well, but has not made made"
    assert errors["wrong"].startswith("has made made, which is wrong")


def test_a_missing_secret_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def define() -> None:
        task = python("a", "import os; print(os.environ['TOKEN'], os.environ['COLOUR'])")()
        task.set_env_variable("COLOUR", "blue")
        kubernetes.use_secret_as_env(task, "secret", {"key": "TOKEN"})

    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(UserError, match="set the environment variables TOKEN"):
        run(define, tmp_path)
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("TOKEN", "17")
    assert printed(run(define, tmp_path), "a") == "17 blue\n"


def test_the_run_id_reaches_tasks_as_an_input(tmp_path: Path) -> None:
    def define() -> None:
        taking("show", PRINT)(given=dsl.PIPELINE_JOB_ID_PLACEHOLDER)

    file = compiled(define, tmp_path)
    outcome = run_package(file, {}, folder=tmp_path / "run", jobs=1, run_id="run-7")

    assert outcome.run_id == "run-7"
    assert printed(outcome, "show") == "['run-7']\n"


def test_text_that_a_person_gives_is_passed_on_as_it_is(tmp_path: Path) -> None:
    def define(note: str) -> None:
        taking("show", PRINT)(given=note)

    note = "{{$.pipeline_job_uuid}} 'and' \"more\""
    outcome = run(define, tmp_path, note=note)
    assert printed(outcome, "show") == f"{[note]!r}\n"


def test_an_unknown_placeholder_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    def define() -> None:
        python("first", "")()
        python("second", PRINT, "{{$.pipeline_moon}}")()

    with pytest.raises(UserError, match=r"\{\{\$.pipeline_moon\}\} has no value"):
        run(define, tmp_path)
    assert not list((tmp_path / "run/logs").iterdir())


def test_nodes_of_a_tfx_pipeline_run_as_containers(tmp_path: Path) -> None:
    ir = packed.pack(compile_toy(str(tmp_path / "root")))
    store = f"sqlite:///{tmp_path}/metadata.sqlite"

    def node(name: str) -> dsl.PipelineTask:
        def component(run_id: str) -> dsl.ContainerSpec:
            arguments = ["--ir-gzip", ir, "--store", store, "--node-id", name, "--run-id", run_id]
            return dsl.ContainerSpec("python:3", ["python", "-m", "pipeline.node"], arguments)

        component.__name__ = name
        return dsl.container_component(component)(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)

    def define() -> None:
        source = node("Source")
        node("Join").after(node("Left").after(source), node("Right").after(source))

    outcome = run(define, tmp_path, jobs=2)

    assert states(outcome) == dict.fromkeys(["source", "left", "right", "join"], State.SUCCEEDED)
    metadata_store = MetadataStore(connect.connection_to(store))
    assert [c.name for c in metadata_store.get_contexts_by_type("pipeline_run")] == [outcome.run_id]
    executions = metadata_store.get_executions()
    assert [e.last_known_state for e in executions] == [metadata_store_pb2.Execution.COMPLETE] * 4


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_no_child_outlives_the_runner(tmp_path: Path, sign: signal.Signals) -> None:
    code = f"import os, sys, time; {_WRITE_PID.format('os.getpid()')}; time.sleep(600)"

    def define() -> None:
        with dsl.ExitHandler(python("finish", "print('told')")(), name="all"):
            slow = python("slow", code, str(tmp_path / "child"))()
            python("after", "")().after(slow)

    script = (
        "import pathlib, sys\n"
        "from pipeline.runners.subprocesses import run_package\n"
        "file, folder = map(pathlib.Path, sys.argv[1:])\n"
        "outcome = run_package(file, {}, folder=folder, jobs=2)\n"
        "print(outcome.interrupted, *[f'{r.task_id} {r.state}' for r in outcome.results])"
    )
    arguments = [str(compiled(define, tmp_path)), str(tmp_path / "run")]
    runner = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
        # It is ignored where the tests themselves run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _wait_for((tmp_path / "child").exists)
    runner.send_signal(sign)
    out, _ = runner.communicate(timeout=60)

    child = int((tmp_path / "child").read_text())
    _wait_for(lambda: _gone(child))
    if sign is signal.SIGINT:
        assert out == "True slow failed after skipped finish succeeded\n"


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.02)


def _gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has taken leave of has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"
