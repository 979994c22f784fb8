"""The executor of builds: order, limits, secrets, and what becomes of the rest when one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipeline.cloudbuild import builders, executor, file
from pipeline.cloudbuild.executor import Outcome, State
from pipeline.config import PROJECT
from pipeline.errors import UserError


class Place:
    """A workspace, and a folder for what a run leaves behind."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.folder = folder / "run"
        self.said: list[str] = []

    def run(
        self,
        *steps: dict[str, Any],
        maps: tuple[str, ...] = (),
        skip: tuple[str, ...] = (),
        **more: Any,
    ) -> Outcome:
        path = self.workspace.parent / "build.yaml"
        path.write_text(yaml.safe_dump({"steps": list(steps), **more}))
        return executor.run(
            file.read(path),
            builders.parse(maps),
            workspace=self.workspace,
            folder=self.folder,
            skip=skip,
            say=self.said.append,
        )

    def lines(self, name: str) -> list[str]:
        text = (self.workspace / name).read_text()
        return text.splitlines()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def step(script: str, **more: Any) -> dict[str, Any]:
    return {"name": "python:3.12", "script": script, **more}


def states(outcome: Outcome) -> list[State]:
    return [result.state for result in outcome.results]


def test_steps_run_one_after_the_other_in_the_workspace(place: Place) -> None:
    outcome = place.run(step("echo a >> out; pwd >> out"), step("echo b >> out"))
    assert states(outcome) == [State.SUCCEEDED, State.SUCCEEDED]
    assert not outcome.error
    assert place.lines("out") == ["a", str(place.workspace), "b"]


def test_steps_that_do_not_wait_for_one_another_run_at_once(place: Place) -> None:
    meet = "touch {0}; while [ ! -e {1} ]; do sleep 0.01; done"
    outcome = place.run(
        step(meet.format("a", "b"), id="a", timeout="60s"),
        step(meet.format("b", "a"), waitFor=["-"], timeout="60s"),
        step("echo both > out"),
    )
    assert not outcome.error
    assert place.lines("out") == ["both"]


def test_a_failing_step_ends_those_at_work_and_starts_no_other(place: Place) -> None:
    outcome = place.run(
        step("sleep 300", id="long"),
        step("exit 7", id="bad", waitFor=["-"]),
        step("touch never", waitFor=["bad"]),
        step("touch never", waitFor=["long"]),
    )
    assert states(outcome) == [
        State.CANCELLED,
        State.FAILED,
        State.NOT_STARTED,
        State.NOT_STARTED,
    ]
    assert outcome.error == 'Step #1 - "bad" ended with exit code 7'
    assert not (place.workspace / "never").exists()


def test_the_first_of_several_failures_is_told(place: Place) -> None:
    go = "while [ ! -e go ]; do sleep 0.01; done; exit "
    steps = [step(f"touch {n}; {go} {n}", id=f"s{n}", waitFor=["-"]) for n in range(1, 5)]
    free = step("while [ $(ls | wc -l) -lt 4 ]; do sleep 0.01; done; touch go", waitFor=["-"])
    outcome = place.run(*steps, free)
    told = {State.FAILED, State.CANCELLED, State.SUCCEEDED}
    assert set(states(outcome)) <= told
    assert states(outcome).count(State.FAILED) == 1
    assert "ended with exit code" in outcome.error


def test_a_step_that_cannot_be_started_keeps_others_from_being_started(place: Place) -> None:
    bad = {"name": "python", "args": ["no-such-program"]}
    outcome = place.run(bad, step("touch ran; sleep 300", waitFor=["-"]))
    assert states(outcome) == [State.FAILED, State.NOT_STARTED]
    assert not (place.workspace / "ran").exists()


@pytest.mark.parametrize(
    ("more", "code", "goes_on"),
    [
        ({"allowFailure": True}, 7, True),
        ({"allowExitCodes": [7, 8]}, 8, True),
        ({"allowExitCodes": [7]}, 8, False),
        ({"allowExitCodes": [7], "allowFailure": True}, 8, False),
    ],
)
def test_a_failure_that_is_allowed_does_not_stop_the_build(
    place: Place, more: dict[str, Any], code: int, goes_on: bool
) -> None:
    outcome = place.run(step(f"exit {code}", **more), step("touch after"))
    assert (place.workspace / "after").exists() is goes_on
    assert bool(outcome.error) is not goes_on
    assert outcome.results[0].state == (State.ALLOWED if goes_on else State.FAILED)
    assert outcome.results[0].note == f"ended with exit code {code}"


def test_a_step_that_takes_too_long_is_ended_with_what_it_started(place: Place) -> None:
    outcome = place.run(step("sleep 300 & echo $! > pid; wait", timeout="1s"), step("true"))
    assert states(outcome) == [State.TIMED_OUT, State.NOT_STARTED]
    assert "took longer than 1 s" in outcome.error
    wait_until(lambda: is_gone(int(place.lines("pid")[0])))


def test_a_build_that_takes_too_long_is_ended(place: Place) -> None:
    outcome = place.run(step("sleep 300"), step("true"), timeout="1s")
    assert states(outcome) == [State.TIMED_OUT, State.NOT_STARTED]
    assert outcome.error == "took longer than 1 s"


def test_what_a_step_leaves_running_is_ended_with_it(place: Place) -> None:
    outcome = place.run(step("sleep 300 & echo $! > pid"))
    assert not outcome.error
    wait_until(lambda: is_gone(int(place.lines("pid")[0])))


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_secrets_reach_only_who_asks_and_are_shown_nowhere(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret\nsecond line")
    outcome = place.run(
        step('echo "<$TOKEN>"; echo x"$TOKEN"y >&2', secretEnv=["TOKEN"]),
        step('echo "has ${TOKEN:-none}"'),
        availableSecrets={
            "secretManager": [{"versionName": "projects/p/secrets/t/versions/1", "env": "TOKEN"}]
        },
    )
    assert not outcome.error
    first, second = (result.log for result in outcome.results)
    assert first and second
    assert first.read_text().splitlines() == ["<***", "***>", "x***", "***y"]
    assert second.read_text() == "has none\n"
    assert not [line for line in place.said if "s3cret" in line or "second" in line]


def test_a_secret_that_is_not_there_is_told_before_anything_runs(place: Place) -> None:
    with pytest.raises(UserError, match="set the environment variables NO_SUCH_TOKEN"):
        place.run(
            step("touch ran"),
            step("true", secretEnv=["NO_SUCH_TOKEN"]),
            availableSecrets={
                "secretManager": [
                    {"versionName": "projects/p/secrets/t/versions/1", "env": "NO_SUCH_TOKEN"}
                ]
            },
        )
    assert not (place.workspace / "ran").exists()


def test_a_step_has_the_environment_of_the_build_and_its_own(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("MAKEFLAGS", "-j3")
    outcome = place.run(
        step("echo $A $B ${GIT_DIR-no} ${MAKEFLAGS-no} > out", env=["B=2", "A=1"]),
        step("command -v sh >> out", env=["PATH=/workspace/bin"]),
        options={"env": ["A=0", "B=0"]},
    )
    assert not outcome.error
    assert place.lines("out")[0] == "1 2 no no"


def test_the_workspaces_path_is_this_machines_wherever_it_is_named(place: Place) -> None:
    outcome = place.run(
        {
            "name": "python:3.12",
            "entrypoint": "sh",
            "dir": "/workspace/sub",
            "args": ["-c", "echo $$P $(pwd) /workspaces ./workspace > /workspace/out"],
            "env": ["P=x:/workspace/a:/workspace"],
        }
    )
    assert not outcome.error
    here = str(place.workspace)
    assert place.lines("out") == [f"x:{here}/a:{here} {here}/sub /workspaces ./workspace"]


def test_a_volume_lasts_from_step_to_step(place: Place) -> None:
    volumes = [{"name": "vol", "path": "/cache/x"}]
    outcome = place.run(
        step("echo kept > /cache/x/file", volumes=volumes),
        step("cat file > /workspace/out", dir="/cache/x", volumes=volumes),
    )
    assert not outcome.error
    assert place.lines("out") == ["kept"]


@pytest.mark.parametrize("folder", ["/etc", "../..", "/cache"])
def test_a_folder_outside_the_workspace_is_refused(place: Place, folder: str) -> None:
    with pytest.raises(UserError, match=f"dir {folder} lies outside /workspace"):
        place.run(step("touch x", dir=folder))


def test_a_script_says_which_program_reads_it(place: Place) -> None:
    outcome = place.run(step(f"#!{sys.executable}\nprint('from python')\n"))
    assert place.said == ["Step #0: from python"]
    assert not outcome.error


def test_an_image_that_nothing_stands_for_is_refused_by_name(place: Place) -> None:
    with pytest.raises(UserError, match=r"the image example\.com/golang:1\.2.*--map"):
        place.run(step("touch ran"), {"name": "example.com/golang:1.2", "args": ["build"]})
    assert not (place.workspace / "ran").exists()


@pytest.mark.parametrize(
    "image",
    ["python", "python:3.12", "docker.io/library/python:3.12@sha256:0a1b", "python@sha256:0"],
)
def test_an_image_is_known_whatever_its_tag(place: Place, image: str) -> None:
    assert not place.run({"name": image, "args": ["true"]}).error


def test_a_mapped_image_has_an_entrypoint_that_a_step_may_replace(place: Place) -> None:
    image = {"name": "example.com/tool:1"}
    outcome = place.run(
        image | {"args": ["one"]},
        image | {"entrypoint": "echo", "args": ["two"]},
        maps=("example.com/tool=echo said",),
    )
    assert not outcome.error
    assert place.said == ["Step #0: said one", "Step #1: two"]


def test_a_skipped_image_is_told_and_what_waits_for_it_runs(place: Place) -> None:
    outcome = place.run(
        {"name": "example.com/tool:1", "args": ["one"], "secretEnv": ["UNKNOWN"]},
        step("true"),
        maps=("example.com/tool=skip",),
        availableSecrets={
            "secretManager": [{"versionName": "projects/p/secrets/t/versions/1", "env": "UNKNOWN"}]
        },
    )
    assert states(outcome) == [State.SKIPPED, State.SUCCEEDED]
    assert "--map example.com/tool=skip" in outcome.results[0].note


def test_a_step_is_skipped_where_that_is_asked_for(place: Place) -> None:
    outcome = place.run(step("touch ran", id="a"), step("touch after"), skip=("a",))
    assert states(outcome) == [State.SKIPPED, State.SUCCEEDED]
    assert [file.name for file in place.workspace.iterdir()] == ["after"]
    with pytest.raises(UserError, match="there is no step b to skip"):
        place.run(step("true", id="a"), skip=("b",))


def test_a_program_that_is_not_there_fails_its_step(place: Place) -> None:
    outcome = place.run({"name": "python", "args": ["no-such-program"]}, step("true"))
    assert states(outcome) == [State.FAILED, State.NOT_STARTED]
    assert "cannot be started" in outcome.error
    assert "no-such-program" in outcome.error


def test_what_only_cloud_build_can_do_is_refused_by_name(place: Place) -> None:
    with pytest.raises(UserError, match="images: nothing stands here for that"):
        place.run(step("touch ran"), images=["a/b:1"])
    assert not (place.workspace / "ran").exists()


def test_artifacts_are_kept_and_a_missing_one_fails_the_build(place: Place) -> None:
    def objects(*paths: str) -> dict[str, Any]:
        return {"objects": {"location": "gs://b/x/", "paths": list(paths)}}

    made = step("mkdir -p d; echo 1 > d/a.json; echo 2 > b.txt")
    outcome = place.run(made, artifacts=objects("d/*.json", "/workspace/b.txt"))
    assert not outcome.error
    kept = {file.name: file.read_text() for file in (place.folder / "artifacts").iterdir()}
    assert kept == {"a.json": "1\n", "b.txt": "2\n"}
    assert place.run(made, artifacts=objects("none*")).error == "artifacts: no file is none*"


def test_what_is_printed_is_in_the_log_and_told_with_the_steps_name(place: Place) -> None:
    outcome = place.run(step("printf 'a\\nb'; printf '\\377' >&2", id="say it"))
    log = outcome.results[0].log
    assert log and log.name == "00-say-it.log"
    assert log.read_text() == "a\nb\ufffd\n"
    assert place.said == ['Step #0 - "say it": a', 'Step #0 - "say it": b\ufffd']


def test_an_interruption_ends_all_and_is_told(place: Place) -> None:
    def interrupt() -> None:
        pid = place.workspace / "pid"
        wait_until(lambda: pid.exists() and pid.read_text() != "")
        os.kill(os.getpid(), signal.SIGINT)

    # Of a program that was started in the background, the signal is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        outcome = place.run(step("sleep 0.5; echo $$ > pid; sleep 300"), step("true"))
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert outcome.interrupted
    assert states(outcome) == [State.CANCELLED, State.NOT_STARTED]
    wait_until(lambda: is_gone(int(place.lines("pid")[0])))


def test_steps_end_when_the_executor_is_killed(place: Place) -> None:
    path = place.workspace.parent / "build.yaml"
    path.write_text(yaml.safe_dump({"steps": [step("echo $$ > pid; sleep 300")]}))
    program = (
        "from pathlib import Path; from pipeline.cloudbuild import builders, executor, file; "
        f"executor.run(file.read(Path({str(path)!r})), builders.DEFAULT, "
        f"workspace=Path({str(place.workspace)!r}), folder=Path({str(place.folder)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT)
    pid = place.workspace / "pid"
    wait_until(lambda: pid.exists() and pid.read_text().strip() != "")
    child.kill()
    child.wait()
    wait_until(lambda: is_gone(int(pid.read_text())))
