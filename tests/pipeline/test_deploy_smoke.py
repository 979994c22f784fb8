"""What `deploy smoke --rollback` does where a server cannot be asked, and to a first release."""

from __future__ import annotations

import pytest
import urllib3

from pipeline.deploy import smoke
from tests.pipeline import deploying
from tests.pipeline.deploying import Project, at_work, status
from tests.pipeline.kfp_server import KfpServer

api, project = deploying.api, deploying.project
FAILURES = [(500, b"{}"), (503, b"<html>"), (401, b"{}"), (403, b"{}"), (200, b"<html>"), (0, b"")]


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(urllib3.Retry, "sleep", lambda *_: None)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_server_that_fails_once_is_asked_again(
    project: Project, api: KfpServer, failure: tuple[int, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    _, package = (project.release(project.commit()) for _ in range(2))
    first = len(api.requests) + 1
    api.on_request = lambda *_: failure if first <= len(api.requests) <= first + 3 else None
    assert project.deploy("smoke", "--rollback") == 0
    assert "FAILED" not in capsys.readouterr().out
    assert at_work(api) == [package.version]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_server_that_keeps_failing_is_no_reason_to_roll_back(
    project: Project,
    api: KfpServer,
    failure: tuple[int, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(smoke, "_PATIENCE_SECONDS", 0.0)
    _, package = (project.release(project.commit()) for _ in range(2))
    api.on_request = lambda *_: failure
    assert project.deploy("smoke", "--rollback") == 2
    assert "nothing was rolled back" in capsys.readouterr().err
    api.on_request = lambda *_: None
    assert at_work(api) == [package.version]
    assert len(status(project, capsys)["deployments"]) == 2


def spoil(api: KfpServer) -> None:
    """Somebody has the schedule start something else, too."""
    (run,) = api.things["recurringruns"]
    api.things["recurringruns"].append(run | {"recurring_run_id": "copy"})


def test_a_first_release_that_fails_is_paused_and_released_again_only_if_forced(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = project.commit()
    package = project.release(commit)
    spoil(api)
    assert project.deploy("smoke", "--rollback") == 1
    said = capsys.readouterr().out
    assert "There is nothing to roll back to" in said
    assert "Paused the schedule flights" in said
    assert at_work(api) == []
    found = status(project, capsys)
    assert [one["action"] for one in found["deployments"]] == ["pause", "release"]
    assert (found["deployed"]["action"], found["deployed"]["commit"]) == ("pause", commit)

    assert project.deploy("release") == 2
    assert f"{commit[:9]} was paused (Ada Lovelace); push a commit" in capsys.readouterr().err
    assert at_work(api) == []
    assert project.deploy("release", "--force") == 0
    assert at_work(api) == [package.version]
    assert project.deploy("smoke") == 0


def test_a_first_release_whose_schedule_was_deleted_needs_no_pause(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    package = project.release(project.commit())
    api.things["recurringruns"].clear()
    assert project.deploy("smoke", "--rollback") == 1
    assert "No schedule starts it." in capsys.readouterr().out
    assert project.deploy("release") == 0
    assert at_work(api) == [package.version]


def test_a_pause_that_fails_is_told_and_not_recorded(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    project.release(project.commit())
    spoil(api)
    api.on_request = lambda method, _: (500, b"{}") if method == "POST" else None
    assert project.deploy("smoke", "--rollback") == 2
    assert "Its schedule could not be paused." in capsys.readouterr().err
    api.on_request = lambda *_: None
    assert status(project, capsys)["deployed"]["action"] == "release"


def test_a_release_that_fails_after_a_pause_tells_that_nothing_is_at_work(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    project.release(project.commit())
    spoil(api)
    assert project.deploy("smoke", "--rollback") == 1
    project.build(project.commit())
    api.on_request = lambda method, _: (500, b"{}") if method == "POST" else None
    assert project.deploy("release") == 2
    assert "is not deployed. Nothing was at work before." in capsys.readouterr().err


def test_what_was_paused_is_not_rolled_back_to(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    older, bad, mended = (project.commit() for _ in range(3))
    project.release(bad)
    spoil(api)
    assert project.deploy("smoke", "--rollback") == 1
    project.release(older)
    assert f"{bad[:9]} (Ada Lovelace), and paused" in capsys.readouterr().out
    package = project.release(mended)
    assert at_work(api) == [package.version]
    spoil(api)
    assert project.deploy("smoke", "--rollback") == 1
    assert f"{mended[:9]} (version {package.version}) is the first" in capsys.readouterr().out
    assert at_work(api) == []
    back = project.deploy("rollback", bad)
    assert (back, len(at_work(api))) == (0, 1)


def test_without_a_schedule_a_first_release_that_fails_starts_nothing(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    project.options += ["--set", "schedule={}"]
    project.release(project.commit())
    api.things["versions"].clear()
    assert project.deploy("smoke", "--rollback") == 1
    assert "No schedule starts it." in capsys.readouterr().out
    assert len(status(project, capsys)["deployments"]) == 1
