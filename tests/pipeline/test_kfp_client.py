"""Runs on a Kubeflow Pipelines server: what is sent to it, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.cluster.remote import Package
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.runners.kfp_client import KubeflowServer
from tests.pipeline.kfp_server import KfpServer, kfp_server

PACKAGE = Package(
    """
pipelineInfo: {name: flights}
root:
  inputDefinitions:
    parameters:
      span: {parameterType: STRING, isOptional: true}
      force: {parameterType: BOOLEAN, isOptional: true}
  dag:
    tasks:
      init: {}
---
platforms: {}
"""
)
OTHER = Package(PACKAGE.text + "# another\n")


@pytest.fixture
def api() -> Iterator[KfpServer]:
    with kfp_server() as server:
        yield server
        assert server.refused == []


def configured(api: KfpServer, *overrides: str) -> PipelineConfig:
    here = [f'kubeflow.host="{api.url}/"', "kubeflow.service_account='runner'"]
    here += ["schedule.cron='0 6 2 * *'"]
    return load(PROJECT / "configs/flights-kubeflow.toml", [*here, *overrides])


def server(api: KfpServer, *overrides: str) -> KubeflowServer:
    return KubeflowServer(configured(api, *overrides))


def test_a_run_is_started_of_an_uploaded_version_in_an_experiment(api: KfpServer) -> None:
    run = server(api).submit(PACKAGE, {"span": "3", "force": True})
    (sent,), (version,) = api.things["runs"], api.things["versions"]
    assert version["package"] == PACKAGE.text
    assert version["display_name"] == PACKAGE.version
    assert (
        sent["pipeline_version_reference"]["pipeline_version_id"]
        == (version["pipeline_version_id"])
    )
    assert sent["runtime_config"]["parameters"] == {"span": "3", "force": True}
    assert sent["service_account"] == "runner"
    assert sent["experiment_id"] == api.things["experiments"][0]["experiment_id"]
    assert api.things["experiments"][0]["display_name"] == "flights"
    assert (run.id, run.state) == (sent["run_id"], "PENDING")
    assert run.link == f"{api.url}/#/runs/details/{run.id}"


def test_an_unchanged_package_is_not_uploaded_again_and_a_changed_one_is(api: KfpServer) -> None:
    for package in (PACKAGE, PACKAGE, OTHER):
        server(api).submit(package, {})
    names = [version["display_name"] for version in api.things["versions"]]
    assert names == [PACKAGE.version, OTHER.version]
    assert [len(api.things[kind]) for kind in ("pipelines", "experiments", "runs")] == [1, 1, 3]


def test_what_someone_else_makes_at_the_same_time_is_used(api: KfpServer) -> None:
    def make_it_first(method: str, path: str) -> tuple[int, bytes] | None:
        if (method, path) == ("POST", "/experiments"):
            api.on_request = lambda *_: None
            made = {"display_name": "flights", "experiment_id": "theirs"}
            api.things["experiments"].append(made)
            return 409, b'{"message": "already exists"}'
        return None

    api.on_request = make_it_first
    server(api).submit(PACKAGE, {})
    assert api.things["runs"][0]["experiment_id"] == "theirs"


def test_planning_contacts_nothing(api: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEFLOW_TOKEN", raising=False)
    planned = server(api, 'kubeflow.auth="token"').schedule_plan(PACKAGE, {"span": "3"})
    assert planned["cron"] == "0 0 6 2 * *"
    assert planned["parameters"] == {"span": "3"}
    assert api.requests == []


@pytest.mark.parametrize(
    ("overrides", "trigger"),
    [
        ([], {"cron_schedule": {"cron": "0 0 6 2 * *"}}),
        (['schedule.cron="30 0 6 * * 1"'], {"cron_schedule": {"cron": "30 0 6 * * 1"}}),
        (
            [
                "schedule={interval_seconds = 3600, start = '2026-12-01T00:00:00Z',"
                " end = '2027-01-01T12:00', timezone = 'Europe/Berlin'}"
            ],
            {
                "periodic_schedule": {
                    "interval_second": "3600",
                    "start_time": "2026-12-01T00:00:00+00:00",
                    "end_time": "2027-01-01T12:00:00+01:00",
                }
            },
        ),
    ],
)
def test_the_schedule_starts_runs_when_the_configuration_says(
    api: KfpServer, overrides: list[str], trigger: dict[str, Any]
) -> None:
    server(api, *overrides).schedule(PACKAGE, {})
    (made,) = api.things["recurringruns"]
    assert made["trigger"] == trigger
    assert (made["mode"], made["no_catchup"], made["max_concurrency"]) == ("ENABLE", True, "1")


def test_scheduling_once_more_changes_nothing(api: KfpServer) -> None:
    times = "schedule.start='2026-12-01T00:00:00Z'"
    assert server(api, times).schedule(PACKAGE, {"force": True}).startswith("Created")
    before = len(api.called("POST", "DELETE"))
    assert "Nothing to do" in server(api, times).schedule(PACKAGE, {"force": True})
    assert len(api.called("POST", "DELETE")) == before


@pytest.mark.parametrize(
    "change",
    [
        "schedule.cron='0 7 * * *'",
        "schedule.concurrency=2",
        "schedule.catch_up=true",
        "schedule.end='2027-01-01T00:00:00Z'",
        "kubeflow.service_account='other'",
        "kubeflow.experiment='other'",
        None,
    ],
)
def test_a_changed_schedule_replaces_the_old_one_and_two_are_never_at_work(
    api: KfpServer, change: str | None
) -> None:
    server(api).schedule(PACKAGE, {})
    (old,) = api.things["recurringruns"]
    at_work: list[int] = []

    def watch(*_: str) -> None:
        at_work.append(sum(r["mode"] == "ENABLE" for r in api.things["recurringruns"]))

    api.on_request = watch
    said = server(api, *([change] if change else [])).schedule(PACKAGE if change else OTHER, {})
    assert said.startswith("Replaced")
    assert max(at_work) == 1
    (left,) = api.things["recurringruns"]
    assert left["mode"] == "ENABLE"
    assert left["recurring_run_id"] != old["recurring_run_id"]


@pytest.mark.parametrize("failing", ["POST /recurringruns", ":disable", ":enable"])
def test_a_failure_while_a_schedule_is_replaced_leaves_the_old_one_at_work(
    api: KfpServer, failing: str
) -> None:
    server(api).schedule(PACKAGE, {})
    (old,) = api.things["recurringruns"]
    failed: list[str] = []

    def fail_once(method: str, path: str) -> tuple[int, bytes] | None:
        if f"{method} {path}".endswith(failing) and not failed:
            failed.append(path)
            return 500, b'{"message": "database is gone"}'
        return None

    api.on_request = fail_once
    with pytest.raises(UserError, match="500: database is gone"):
        server(api, "schedule.cron='0 7 * * *'").schedule(PACKAGE, {})
    assert failed
    assert [(r["recurring_run_id"], r["mode"]) for r in api.things["recurringruns"]] == [
        (old["recurring_run_id"], "ENABLE")
    ]


def test_duplicates_of_the_name_are_removed(api: KfpServer) -> None:
    server(api).schedule(PACKAGE, {})
    (first,) = api.things["recurringruns"]
    api.things["recurringruns"].append(first | {"recurring_run_id": "copy"})
    foreign = first | {"recurring_run_id": "foreign", "display_name": "other"}
    api.things["recurringruns"].append(foreign)
    assert server(api).schedule(PACKAGE, {}).startswith("Tidied up")
    assert [r["display_name"] for r in api.things["recurringruns"]] == ["flights", "other"]


def test_a_schedule_is_paused_resumed_and_deleted(api: KfpServer) -> None:
    server(api).schedule(PACKAGE, {})
    (made,) = api.things["recurringruns"]
    server(api).pause()
    assert made["mode"] == "DISABLE"
    server(api).resume()
    assert made["mode"] == "ENABLE"
    assert server(api, "schedule.paused=true").schedule(PACKAGE, {}).startswith("Paused")
    assert made["mode"] == "DISABLE"
    server(api).unschedule()
    assert api.things["recurringruns"] == []
    with pytest.raises(UserError, match="There is no schedule flights"):
        server(api).pause()


def test_resuming_leaves_one_of_two_schedules_at_work(api: KfpServer) -> None:
    server(api).schedule(PACKAGE, {})
    (first,) = api.things["recurringruns"]
    newer = first | {"recurring_run_id": "newer", "created_at": "2027-01-01T00:00:00Z"}
    api.things["recurringruns"].insert(0, newer)
    server(api).resume()
    assert (first["mode"], newer["mode"]) == ("DISABLE", "ENABLE")


def test_looking_makes_nothing(api: KfpServer) -> None:
    assert server(api).runs() == []
    assert api.called("POST") == []


def test_a_time_zone_is_a_matter_of_the_installation_and_this_is_said(api: KfpServer) -> None:
    assert "cronScheduleTimezone=America/New_York" in server(api).schedule(PACKAGE, {})
    in_utc = server(api, "schedule.timezone='UTC'").schedule(PACKAGE, {})
    assert "cronScheduleTimezone" not in in_utc


def test_a_time_that_is_none_is_refused_before_anything_is_sent(api: KfpServer) -> None:
    with pytest.raises(UserError, match=r"schedule\.start is 'soon'; expected a time"):
        server(api, "schedule.start='soon'").schedule_plan(PACKAGE, {})
    with pytest.raises(UserError, match=r"schedule\.timezone is 'Mars'"):
        server(api, "schedule.timezone='Mars'").schedule_plan(PACKAGE, {})


def test_a_run_tells_of_its_tasks_and_which_failed(api: KfpServer) -> None:
    run = server(api).submit(PACKAGE, {})
    api.things["runs"][0] |= {
        "state": "FAILED",
        "error": {"message": "a task failed"},
        "run_details": {
            "task_details": [
                {"display_name": "root", "state": "FAILED"},
                {"display_name": "init-driver", "state": "SUCCEEDED"},
                {
                    "display_name": "init",
                    "state": "SUCCEEDED",
                    "start_time": "2026-01-01T00:00:01Z",
                },
                {
                    "display_name": "Trainer",
                    "state": "FAILED",
                    "start_time": "2026-01-01T00:00:02Z",
                    "error": {"message": "OOMKilled"},
                },
            ]
        },
    }
    told = server(api).run(run.id)
    assert [(t.name, t.state, t.error) for t in told.tasks] == [
        ("init", "SUCCEEDED", ""),
        ("Trainer", "FAILED", "OOMKilled"),
    ]
    assert (told.state, told.error) == ("FAILED", "a task failed")


def test_the_last_runs_come_newest_first(api: KfpServer) -> None:
    ids = [server(api).submit(PACKAGE, {}).id for _ in range(3)]
    assert [run.id for run in server(api).runs(2)] == [ids[2], ids[1]]


def test_a_run_is_cancelled_unless_it_has_ended(api: KfpServer) -> None:
    run = server(api).submit(PACKAGE, {})
    server(api).cancel(run.id)
    assert api.things["runs"][0]["state"] == "CANCELING"
    api.things["runs"][0]["state"] = "SUCCEEDED"
    with pytest.raises(UserError, match="has ended already: it is SUCCEEDED"):
        server(api).cancel(run.id)
    with pytest.raises(UserError, match="There is no run nope"):
        server(api).cancel("nope")
