"""Runs on Vertex: which requests a server of the real protocol gets, and what errors are called."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from concurrent import futures
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.aiplatform_v1 import types
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format

from pipeline.cluster import vertex_connection
from pipeline.cluster.remote import Package
from pipeline.config import PROJECT
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.runners.vertex import VertexServer
from tests.pipeline.test_kfp_client import OTHER, PACKAGE

PARENT = "projects/my-project/locations/us-east1"
State = types.Schedule.State


class Vertex:
    """The two services as far as they are called, holding what they are sent."""

    def __init__(self) -> None:
        self.jobs: list[types.PipelineJob] = []
        self.schedules: list[types.Schedule] = []
        self.requests: list[Any] = []
        self.fails: dict[str, grpc.StatusCode] = {}
        self._ids = itertools.count(1)

    def create_pipeline_job(self, request: types.CreatePipelineJobRequest) -> types.PipelineJob:
        assert request.parent == PARENT
        assert re.fullmatch(r"[a-z][-a-z0-9]{0,127}", request.pipeline_job_id)
        job = types.PipelineJob(request.pipeline_job)
        job.name = f"{PARENT}/pipelineJobs/{request.pipeline_job_id}"
        job.state = types.PipelineState.PIPELINE_STATE_PENDING
        job.create_time = datetime(2026, 1, 1, tzinfo=UTC)
        self.jobs.append(job)
        return job

    def get_pipeline_job(self, request: types.GetPipelineJobRequest) -> types.PipelineJob:
        return next(job for job in self.jobs if job.name == request.name)

    def list_pipeline_jobs(
        self, request: types.ListPipelineJobsRequest
    ) -> types.ListPipelineJobsResponse:
        assert request.order_by == "create_time desc"
        wanted = set(re.findall(r'(\S+)="(.+?)"', request.filter))
        found = [j for j in self.jobs if wanted <= _filtered(j).items()]
        return types.ListPipelineJobsResponse(pipeline_jobs=found[::-1])

    def cancel_pipeline_job(self, request: types.CancelPipelineJobRequest) -> None:
        self.get_pipeline_job(
            types.GetPipelineJobRequest(name=request.name)
        ).state = types.PipelineState.PIPELINE_STATE_CANCELLING

    def create_schedule(self, request: types.CreateScheduleRequest) -> types.Schedule:
        schedule = types.Schedule(request.schedule)
        schedule.name = f"{PARENT}/schedules/{next(self._ids)}"
        schedule.state = State.ACTIVE
        schedule.start_time = schedule.start_time or datetime(2026, 1, 1, tzinfo=UTC)
        schedule.create_pipeline_job_request.pipeline_job.labels["added"] = "by-the-server"
        self.schedules.append(schedule)
        return schedule

    def list_schedules(self, request: types.ListSchedulesRequest) -> types.ListSchedulesResponse:
        assert request.parent == PARENT
        found = [s for s in self.schedules if request.filter == f'display_name="{s.display_name}"']
        return types.ListSchedulesResponse(schedules=found[::-1])

    def update_schedule(self, request: types.UpdateScheduleRequest) -> types.Schedule:
        schedule = self._schedule(request.schedule.name)
        for path in request.update_mask.paths:
            setattr(schedule, path, getattr(request.schedule, path))
        return schedule

    def pause_schedule(self, request: types.PauseScheduleRequest) -> None:
        self._schedule(request.name).state = State.PAUSED

    def resume_schedule(self, request: types.ResumeScheduleRequest) -> None:
        self._schedule(request.name).state = State.ACTIVE

    def delete_schedule(self, request: types.DeleteScheduleRequest) -> operations_pb2.Operation:
        self.schedules.remove(self._schedule(request.name))
        done = operations_pb2.Operation(name="deleting", done=True)
        done.response.Pack(empty_pb2.Empty())
        return done

    def _schedule(self, name: str) -> types.Schedule:
        return next(schedule for schedule in self.schedules if schedule.name == name)

    def handler(self, method: str, request_type: Any) -> grpc.RpcMethodHandler:
        """How gRPC calls `method`, whose name is the service's in snake case."""
        name = re.sub("(?<!^)(?=[A-Z])", "_", method).lower()
        call: Callable[[Any], Any] = getattr(self, name)

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            self.requests.append(request)
            if name in self.fails:
                context.abort(self.fails[name], "as the test wants it.\nmore")
            try:
                return call(request)
            except StopIteration:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

        def serialize(message: Any) -> bytes:
            message = empty_pb2.Empty() if message is None else message
            is_plain = hasattr(message, "SerializeToString")
            return bytes(
                message.SerializeToString() if is_plain else type(message).serialize(message)
            )

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=request_type.deserialize, response_serializer=serialize
        )


def _filtered(job: types.PipelineJob) -> dict[str, str]:
    """What a filter may ask for."""
    labels = {f"labels.{name}": value for name, value in job.labels.items()}
    return {"display_name": job.display_name, **labels}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vertex]:
    vertex = Vertex()
    methods = {
        "PipelineService": ("Create", "Get", "Cancel"),
        "ScheduleService": ("Create", "Update", "Delete", "Pause", "Resume"),
    }
    server = grpc.server(futures.ThreadPoolExecutor(2))
    for service, verbs in methods.items():
        thing = "PipelineJob" if service == "PipelineService" else "Schedule"
        names = [f"{verb}{thing}" for verb in verbs] + [f"List{thing}s"]
        handlers = {n: vertex.handler(n, getattr(types, f"{n}Request")) for n in names}
        full = f"google.cloud.aiplatform.v1.{service}"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(full, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    made = tuple(
        client(transport=client.get_transport_class("grpc")(channel=channel))
        for client in (PipelineServiceClient, ScheduleServiceClient)
    )
    monkeypatch.setattr(vertex_connection, "clients", lambda _: made)
    yield vertex
    channel.close()
    server.stop(None).wait()  # Its threads would be in the way of whoever forks afterwards.


def server(*overrides: str) -> VertexServer:
    here = ["root='gs://bucket/flights'", "vertex.project='my-project'"]
    here += ["vertex.location='us-east1'", "schedule.timezone='America/New_York'"]
    here += ["schedule.cron='0 6 2 * *'"]
    return VertexServer(load(PROJECT / "configs/flights-kubeflow.toml", [*here, *overrides]))


def test_a_run_is_sent_with_what_the_configuration_says(api: Vertex) -> None:
    overrides = (
        "vertex.service_account='runner@my-project.iam.gserviceaccount.com'",
        "vertex.network='projects/1/global/networks/n'",
        "vertex.encryption_key='projects/p/locations/l/keyRings/r/cryptoKeys/k'",
        "vertex.labels={team='delays'}",
    )
    run = server(*overrides).submit(PACKAGE, {"span": "3", "force": True})
    (job,) = api.jobs
    assert job.display_name == "flights"
    assert job.pipeline_spec["pipelineInfo"]["name"] == "flights"
    assert dict(job.runtime_config.parameter_values) == {"span": "3", "force": True}
    assert job.runtime_config.gcs_output_directory == "gs://bucket/flights"
    assert job.service_account == "runner@my-project.iam.gserviceaccount.com"
    assert job.network == "projects/1/global/networks/n"
    assert job.encryption_spec.kms_key_name.endswith("cryptoKeys/k")
    assert dict(job.labels) == {"team": "delays"}
    assert run.id.startswith("flights-2")
    assert run.state == "PENDING"
    assert run.link.endswith(f"/us-east1/pipelines/runs/{run.id}?project=my-project")


@pytest.mark.parametrize("golden", ["flights-vertex.yaml", "tfx-vertex.yaml"])
def test_a_compiled_package_arrives_whole(api: Vertex, golden: str) -> None:
    package = Package.read(Path(__file__).parent / "golden" / golden)
    server().submit(package, {})
    arrived = json_format.MessageToDict(types.PipelineJob.pb(api.jobs[0]).pipeline_spec)
    assert arrived == package.spec


def test_planning_contacts_nothing(api: Vertex) -> None:
    planned = server().schedule_plan(PACKAGE, {"span": "3"})
    assert planned["cron"] == "TZ=America/New_York 0 6 2 * *"
    assert api.requests == []


def test_a_schedule_is_made_and_then_changed_in_place(api: Vertex) -> None:
    times = ("schedule.start='2026-12-01T00:00:00Z'", "schedule.end='2027-12-01T00:00:00Z'")
    said = server(*times, "schedule.concurrency=2").schedule(PACKAGE, {"span": ""})
    assert said == "Created the schedule flights: cron TZ=America/New_York 0 6 2 * *."
    (made,) = api.schedules
    assert made.max_concurrent_run_count == made.max_concurrent_active_run_count == 2
    assert made.allow_queueing is False
    assert made.start_time == datetime(2026, 12, 1, tzinfo=UTC)
    assert made.end_time == datetime(2027, 12, 1, tzinfo=UTC)
    assert made.create_pipeline_job_request.parent == PARENT

    later = (*times, "schedule.cron='0 7 * * *'", "schedule.catch_up=true")
    assert server(*later).schedule(OTHER, {"span": "4"}).startswith("Changed")
    (changed,) = api.schedules
    assert (changed.name, changed.cron) == (made.name, "TZ=America/New_York 0 7 * * *")
    assert changed.allow_queueing is True
    job = changed.create_pipeline_job_request.pipeline_job
    assert dict(job.runtime_config.parameter_values) == {"span": "4"}


def test_scheduling_once_more_changes_nothing(api: Vertex) -> None:
    server().schedule(PACKAGE, {})
    before = len(api.requests)
    assert server().schedule(PACKAGE, {}).startswith("Nothing to do")
    assert [type(request) for request in api.requests[before:]] == [types.ListSchedulesRequest]


def test_a_changed_pipeline_alone_changes_the_schedule(api: Vertex) -> None:
    server().schedule(PACKAGE, {})
    changed = Package(PACKAGE.text.replace("init: {}", "init: {}\n      more: {}"))
    assert server().schedule(changed, {}).startswith("Changed")
    (update,) = [r for r in api.requests if isinstance(r, types.UpdateScheduleRequest)]
    assert list(update.update_mask.paths) == ["create_pipeline_job_request"]


def test_a_schedule_that_is_over_is_left_and_duplicates_are_removed(api: Vertex) -> None:
    for _ in range(3):
        server().schedule(PACKAGE, {})
        api.schedules[-1].state = State.COMPLETED
    assert len(api.schedules) == 3
    for schedule in api.schedules:
        schedule.state = State.ACTIVE
    assert server().schedule(PACKAGE, {}).startswith("Changed")
    assert len(api.schedules) == 1


def test_an_end_cannot_be_taken_away_and_this_is_said(api: Vertex) -> None:
    server("schedule.end='2027-12-01T00:00:00Z'").schedule(PACKAGE, {})
    with pytest.raises(UserError, match="has an end, which Vertex cannot take away"):
        server().schedule(PACKAGE, {})


def test_a_schedule_is_paused_resumed_and_deleted(api: Vertex) -> None:
    server("schedule.paused=true").schedule(PACKAGE, {})
    (made,) = api.schedules
    assert made.state == State.PAUSED
    server("schedule.catch_up=true").resume()
    assert made.state == State.ACTIVE
    assert api.requests[-1].catch_up is True
    server().pause()
    assert made.state == State.PAUSED
    server().unschedule()
    assert api.schedules == []
    with pytest.raises(UserError, match="There is no schedule flights"):
        server().pause()


def test_a_run_tells_of_its_tasks_and_which_failed(api: Vertex) -> None:
    run = server().submit(PACKAGE, {})
    (job,) = api.jobs
    job.state = types.PipelineState.PIPELINE_STATE_FAILED
    job.error = {"code": 9, "message": "a task failed"}
    job.job_detail.task_details = [
        types.PipelineTaskDetail(task_name=run.id, state="FAILED"),
        types.PipelineTaskDetail(task_name="init", state="SUCCEEDED"),
        types.PipelineTaskDetail(
            task_name="trainer",
            state="FAILED",
            start_time=datetime(2026, 1, 1, tzinfo=UTC),
            error={"code": 8, "message": "out of memory"},
        ),
        types.PipelineTaskDetail(
            task_name="pusher",
            state="NOT_TRIGGERED",
            start_time=datetime(2026, 1, 2, tzinfo=UTC),
        ),
    ]
    told = server().run(run.id)
    assert sorted((task.name, task.state, task.error) for task in told.tasks) == [
        ("init", "SUCCEEDED", ""),
        ("pusher", "SKIPPED", ""),
        ("trainer", "FAILED", "out of memory"),
    ]
    assert (told.state, told.error) == ("FAILED", "a task failed")
    assert [r.id for r in server().runs()] == [run.id]


def test_a_run_is_cancelled_unless_it_has_ended(api: Vertex) -> None:
    run = server().submit(PACKAGE, {})
    server().cancel(run.id)
    assert server().run(run.id).state == "CANCELING"
    api.jobs[0].state = types.PipelineState.PIPELINE_STATE_CANCELLED
    with pytest.raises(UserError, match="has ended already: it is CANCELED"):
        server().cancel(run.id)
    with pytest.raises(UserError, match=r"There is no run nope \(404"):
        server().run("nope")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            grpc.StatusCode.UNAUTHENTICATED,
            "not know who is asking (401: as the test wants it)",
        ),
        (grpc.StatusCode.PERMISSION_DENIED, "needs roles/aiplatform.user in my-project"),
        (grpc.StatusCode.NOT_FOUND, "vertex.location = us-east1"),
        (grpc.StatusCode.ALREADY_EXISTS, "has it already"),
        (grpc.StatusCode.INVALID_ARGUMENT, "Vertex refused it (400: as the test wants it)."),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "The quota of my-project is used up"),
        (grpc.StatusCode.UNAVAILABLE, "cannot be reached, or failed (503"),
        (grpc.StatusCode.INTERNAL, "cannot be reached, or failed (500"),
    ],
)
def test_every_refusal_is_a_sentence(api: Vertex, code: grpc.StatusCode, said: str) -> None:
    api.fails["create_pipeline_job"] = code
    with pytest.raises(UserError, match=re.escape(said)):
        server().submit(PACKAGE, {})


def test_whoever_is_not_signed_in_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: object) -> Any:
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(vertex_connection, "clients", nobody)
    with pytest.raises(UserError, match="gcloud auth application-default login"):
        server().runs()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["root='/data/flights'"], "set it to gs://BUCKET/FOLDER"),
        (["vertex={}"], r"vertex\.project is not set"),
        (["schedule={interval_seconds = 60}"], "by a cron alone"),
        (["schedule.cron='0 0 6 * * 1'"], "takes five fields"),
        (["schedule.timezone='Mars'"], "expected a name as in Europe/Berlin"),
    ],
)
def test_what_vertex_cannot_do_is_said_before_anything_is_sent(
    overrides: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        server(*overrides).schedule_plan(PACKAGE, {})
