"""Releases on Vertex, which has no versions: its schedule holds the pipeline itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from pipeline.deploy import smoke
from tests.pipeline import test_vertex
from tests.pipeline.deploying import Project
from tests.pipeline.test_vertex import Vertex

api = test_vertex.api


@pytest.fixture
def project(api: Vertex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path / "project", monkeypatch)
    settings = ["root='gs://bucket/flights'", "vertex.project='my-project'"]
    made.options += [word for setting in settings for word in ("--set", setting)]
    made.options += ["--target", "vertex"]
    return made


def at_work(api: Vertex) -> list[Any]:
    """The pipelines of which schedules start runs."""
    requests = [s.create_pipeline_job_request for s in api.schedules if s.state == 1]
    jobs = [types.PipelineJob.pb(request.pipeline_job) for request in requests]
    return [json_format.MessageToDict(job.pipeline_spec) for job in jobs]


def test_a_release_changes_the_schedule_in_place_and_a_rollback_changes_it_back(
    project: Project, api: Vertex, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = project.commit(), project.commit()
    before = project.build(old, target="vertex")
    assert project.deploy("release") == 0
    (made,) = api.schedules
    after = project.build(new, target="vertex")
    assert project.deploy("release", "--run") == 0
    assert at_work(api) == [after.spec]
    assert len(api.jobs) == 1
    assert project.deploy("smoke") == 0
    assert project.deploy("rollback") == 0
    assert at_work(api) == [before.spec]
    assert [schedule.name for schedule in api.schedules] == [made.name]
    assert project.deploy("rollback") == 2
    project.build(old, target="vertex")
    assert project.deploy("release") == 0
    assert "Nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("call", ["list_schedules", "update_schedule"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "Vertex forbids it (403"),
        (grpc.StatusCode.UNAVAILABLE, "Vertex cannot be reached, or failed (503"),
    ],
)
def test_a_refusal_leaves_the_old_pipeline_at_work_and_a_second_try_completes_it(
    project: Project,
    api: Vertex,
    call: str,
    code: grpc.StatusCode,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = project.build(project.commit(), target="vertex")
    assert project.deploy("release") == 0
    after = project.build(project.commit(), target="vertex")
    api.fails[call] = code
    assert project.deploy("release") == 2
    error = capsys.readouterr().err
    assert said in error
    assert "is not deployed" in error
    assert ("is still at work" in error) == (call == "update_schedule")
    assert at_work(api) == [before.spec]
    api.fails.clear()
    assert project.deploy("release") == 0
    assert at_work(api) == [after.spec]


def test_smoke_tells_that_the_schedule_starts_something_else(
    project: Project, api: Vertex, capsys: pytest.CaptureFixture[str]
) -> None:
    project.build(project.commit(), target="vertex")
    assert project.deploy("release") == 0
    (schedule,) = api.schedules
    schedule.state = types.Schedule.State.PAUSED
    assert project.deploy("smoke") == 1
    assert "The schedule flights is paused" in capsys.readouterr().out
    schedule.state = types.Schedule.State.ACTIVE
    schedule.create_pipeline_job_request.pipeline_job.pipeline_spec["root"] = {}
    assert project.deploy("smoke") == 1
    assert "starts runs of another package" in capsys.readouterr().out


def test_a_schedule_that_the_configuration_no_longer_has_is_told_and_deleted(
    project: Project, api: Vertex, capsys: pytest.CaptureFixture[str]
) -> None:
    project.build(project.commit(), target="vertex")
    assert project.deploy("release") == 0
    project.options += ["--set", "schedule={}"]
    assert project.deploy("smoke") == 1
    assert "FAILED  no schedule starts anything" in capsys.readouterr().out
    (schedule,) = api.schedules
    schedule.state = types.Schedule.State.PAUSED
    assert project.deploy("smoke") == 0
    assert project.deploy("release") == 0
    assert "Deleted the schedule flights" in capsys.readouterr().out
    assert api.schedules == []


def test_smoke_takes_back_what_is_wrong_and_not_what_could_not_be_asked(
    project: Project,
    api: Vertex,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(smoke, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(smoke, "_PAUSE_SECONDS", 0.0)
    project.build(project.commit(), target="vertex")
    assert project.deploy("release") == 0
    (schedule,) = api.schedules
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED):
        api.fails["list_schedules"] = code
        assert project.deploy("smoke", "--rollback") == 2
        assert "nothing was rolled back" in capsys.readouterr().err
    api.fails.clear()
    schedule.create_pipeline_job_request.pipeline_job.pipeline_spec["root"] = {}
    for _ in range(2):
        assert project.deploy("smoke", "--rollback") == 1
        assert "Paused the schedule flights" in capsys.readouterr().out
        assert schedule.state == types.Schedule.State.PAUSED
    pauses = [one for one in api.requests if isinstance(one, types.PauseScheduleRequest)]
    assert len(pauses) == 1


def test_a_package_for_another_target_is_refused(
    project: Project, api: Vertex, capsys: pytest.CaptureFixture[str]
) -> None:
    project.build(project.commit(), target="kfp")
    assert project.deploy("release") == 2
    assert "was compiled for kfp, not for vertex" in capsys.readouterr().err
    assert api.requests == []
