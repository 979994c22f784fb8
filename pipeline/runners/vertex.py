"""Starts, schedules and watches runs on Vertex AI Pipelines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipeline.cluster import vertex_connection
from pipeline.cluster.remote import (
    FINAL,
    NoScheduleError,
    Package,
    RemoteRun,
    RemoteTask,
    moment,
    time_zone,
    unwanted_schedule,
)
from pipeline.config import PipelineConfig
from pipeline.errors import UserError

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
    from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient
    from google.cloud.aiplatform_v1.types import PipelineJob, Schedule

SECONDS = vertex_connection.SECONDS
_LABEL = "started_by"
"""The label of a run that tells what it was started for."""
_SHOWN = ["name", "display_name", "state", "create_time", "error"]


class VertexServer:
    """The project of `config.vertex`; `remote.Server` says what each method is for.

    It calls the API's own client. The larger `aiplatform.PipelineJob` makes buckets on the way, and
    its schedules cannot be given a new pipeline.
    """

    def __init__(self, config: PipelineConfig, *, name: str | None = None) -> None:
        """Takes the configuration, and the pipeline's name if that is another; contacts nothing.

        Raises:
            UserError: if it names no project, or a root that is no bucket's.
        """
        if not config.vertex.project:
            raise UserError("vertex.project is not set; name the Google Cloud project there.")
        if not config.pipeline_root.startswith("gs://"):
            raise UserError(
                f"root is {config.pipeline_root}, but runs on Vertex keep their files in Cloud"
                " Storage; set it to gs://BUCKET/FOLDER."
            )
        self._name = name or config.name
        self._config = config.vertex
        self._schedule = config.schedule
        self._root = config.pipeline_root
        self._parent = f"projects/{config.vertex.project}/locations/{config.vertex.location}"

    @property
    def place(self) -> str:
        """See `Server`."""
        return self._parent

    def upload(self, package: Package) -> str:
        """See `Server`."""
        return ""

    def check_version(self, package: Package) -> None:
        """See `Server`."""

    def check_schedule(self, package: Package) -> None:
        """See `Server`."""
        from google.cloud.aiplatform_v1.types import Schedule

        with vertex_connection.sentences(self._config):
            schedule, *others = self._existing()
        job = schedule.create_pipeline_job_request.pipeline_job
        wanted = self._job(package, {})
        if others or job.pipeline_spec != wanted.pipeline_spec:
            what = "is there more than once" if others else "starts runs of another package"
            raise UserError(f"The schedule {self._name} {what}, in place of {package.version}.")
        if schedule.state == Schedule.State.PAUSED and not self._schedule.paused:
            raise UserError(f"The schedule {self._name} is paused; --resume has it start runs.")

    def check_unscheduled(self) -> None:
        """See `Server`."""
        with vertex_connection.sentences(self._config):
            there = self._there()
        if any(schedule.state != schedule.State.PAUSED for schedule in there):
            raise UserError(unwanted_schedule(self._name))

    def plan(self, package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `Server`."""
        return {
            "project": self._config.project,
            "location": self._config.location,
            "pipeline": package.name,
            "root": self._root,
            "service account": self._config.service_account or "the project's default",
            "network": self._config.network or "none",
            "encryption key": self._config.encryption_key or "Google's",
            "labels": self._config.labels,
            "parameters": dict(parameters),
        }

    def schedule_plan(self, package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `Server`."""
        start, end = self._times()
        return self.plan(package, parameters) | {
            "cron": self._cron(),
            "start": str(start or "now"),
            "end": str(end or "never"),
            "catch up": self._schedule.catch_up,
            "runs at once": self._schedule.concurrency,
            "paused": self._schedule.paused,
        }

    def submit(
        self, package: Package, parameters: Mapping[str, Any], *, label: str = ""
    ) -> RemoteRun:
        """See `Server`."""
        name = re.sub("[^a-z0-9]+", "-", package.name.lower()).strip("-")
        wanted = self._job(package, parameters)
        if label:
            wanted.labels[_LABEL] = label
        with vertex_connection.sentences(self._config):
            job = self._pipelines.create_pipeline_job(
                parent=self._parent,
                pipeline_job=wanted,
                pipeline_job_id=f"{name}-{datetime.now(UTC):%Y%m%d%H%M%S}",
                timeout=SECONDS,
            )
            return self._run(job)

    def runs(self, limit: int = 10) -> list[RemoteRun]:
        """See `Server`."""
        return self._listed(f'display_name="{self._name}"', limit)

    def labelled(self, label: str) -> list[RemoteRun]:
        """See `Server`."""
        return self._listed(f'display_name="{self._name}" AND labels.{_LABEL}="{label}"', 100)

    def _listed(self, which: str, limit: int) -> list[RemoteRun]:
        with vertex_connection.sentences(self._config):
            jobs = self._pipelines.list_pipeline_jobs(
                request={
                    "parent": self._parent,
                    "filter": which,
                    "order_by": "create_time desc",
                    "page_size": limit,
                    "read_mask": {"paths": _SHOWN},
                },
                timeout=SECONDS,
            )
            return [self._run(job) for job, _ in zip(jobs, range(limit), strict=False)]

    def run(self, run_id: str) -> RemoteRun:
        """See `Server`."""
        with vertex_connection.sentences(self._config, f"There is no run {run_id}"):
            job = self._pipelines.get_pipeline_job(name=self._named(run_id), timeout=SECONDS)
            return self._run(job)

    def cancel(self, run_id: str) -> None:
        """See `Server`.

        Raises:
            UserError: if it has ended already.
        """
        run = self.run(run_id)
        if run.state in FINAL:
            raise UserError(f"Run {run_id} has ended already: it is {run.state}.")
        with vertex_connection.sentences(self._config):
            self._pipelines.cancel_pipeline_job(name=self._named(run_id), timeout=SECONDS)

    def schedule(self, package: Package, parameters: Mapping[str, Any]) -> str:
        """Makes the schedule of the pipeline's name what the configuration says, in place.

        Raises:
            UserError: if Vertex refuses it, or the end of a schedule was taken away.
        """
        from google.cloud.aiplatform_v1.types import CreatePipelineJobRequest, Schedule

        start, end = self._times()
        wanted = Schedule(
            display_name=self._name,
            cron=self._cron(),
            start_time=start,
            end_time=end,
            allow_queueing=self._schedule.catch_up,
            max_concurrent_run_count=self._schedule.concurrency,
            max_concurrent_active_run_count=self._schedule.concurrency,
            create_pipeline_job_request=CreatePipelineJobRequest(
                parent=self._parent, pipeline_job=self._job(package, parameters)
            ),
        )
        with vertex_connection.sentences(self._config):
            there = self._there()
            if there:
                kept, *others = there
                changed = self._update(kept, wanted)
                for other in others:
                    self._delete(other)
                said = "Changed" if changed or others else "Nothing to do: this is already"
            else:
                kept = self._schedules.create_schedule(
                    parent=self._parent, schedule=wanted, timeout=SECONDS
                )
                said = "Created"
            if (kept.state == Schedule.State.PAUSED) != self._schedule.paused:
                self._set_paused(kept, paused=self._schedule.paused)
                said = "Changed" if there else said
        when = ", paused" if self._schedule.paused else ""
        return f"{said} the schedule {self._name}: cron {self._cron()}{when}."

    def pause(self) -> str:
        """See `Server`."""
        from google.cloud.aiplatform_v1.types import Schedule

        with vertex_connection.sentences(self._config):
            for schedule in self._existing():
                if schedule.state != Schedule.State.PAUSED:
                    self._set_paused(schedule, paused=True)
        return f"Paused the schedule {self._name}; --resume lets it start runs again."

    def resume(self) -> str:
        """See `Server`."""
        with vertex_connection.sentences(self._config):
            self._set_paused(self._existing()[0], paused=False)
        return f"The schedule {self._name} starts runs again."

    def unschedule(self) -> str:
        """See `Server`."""
        with vertex_connection.sentences(self._config):
            for schedule in self._existing():
                self._delete(schedule)
        return f"Deleted the schedule {self._name}; its runs stay."

    def _job(self, package: Package, parameters: Mapping[str, Any]) -> PipelineJob:
        from google.cloud.aiplatform_v1.types import EncryptionSpec, PipelineJob

        key = self._config.encryption_key
        return PipelineJob(
            display_name=self._name,
            pipeline_spec=package.spec,
            labels=self._config.labels,
            runtime_config=PipelineJob.RuntimeConfig(
                gcs_output_directory=self._root, parameter_values=dict(parameters)
            ),
            service_account=self._config.service_account,
            network=self._config.network,
            encryption_spec=EncryptionSpec(kms_key_name=key) if key else None,
        )

    def _update(self, kept: Schedule, wanted: Schedule) -> bool:
        """Whether there was something to change in `kept`; it is changed then."""
        if kept.end_time and not wanted.end_time:
            raise UserError(
                f"The schedule {self._name} has an end, which Vertex cannot take away again. Set"
                " schedule.end, or delete the schedule with --delete and make it anew."
            )
        fields = ["cron", "end_time", "allow_queueing", "max_concurrent_run_count"]
        fields += ["max_concurrent_active_run_count"]
        # Where no start is asked for, Vertex notes the time at which the schedule was made.
        fields += ["start_time"] if wanted.start_time else []
        changed = [name for name in fields if getattr(kept, name) != getattr(wanted, name)]
        if not _same_job(kept, wanted):
            changed.append("create_pipeline_job_request")
        if changed:
            wanted.name = kept.name
            self._schedules.update_schedule(
                request={"schedule": wanted, "update_mask": {"paths": changed}}, timeout=SECONDS
            )
        return bool(changed)

    def _there(self) -> list[Schedule]:
        """The schedules of the name that are not over, the newest first."""
        from google.cloud.aiplatform_v1.types import Schedule

        found = self._schedules.list_schedules(
            request={
                "parent": self._parent,
                "filter": f'display_name="{self._name}"',
                "order_by": "create_time desc",
            },
            timeout=SECONDS,
        )
        return [schedule for schedule in found if schedule.state != Schedule.State.COMPLETED]

    def _existing(self) -> list[Schedule]:
        if not (found := self._there()):
            raise NoScheduleError(
                f"There is no schedule {self._name} in {self._parent}; `kubeflow_runner.py schedule"
                " --target vertex` makes it."
            )
        return found

    def _set_paused(self, schedule: Schedule, *, paused: bool) -> None:
        if paused:
            self._schedules.pause_schedule(name=schedule.name, timeout=SECONDS)
        else:
            self._schedules.resume_schedule(
                request={"name": schedule.name, "catch_up": self._schedule.catch_up},
                timeout=SECONDS,
            )

    def _delete(self, schedule: Schedule) -> None:
        deleting = self._schedules.delete_schedule(name=schedule.name, timeout=SECONDS)
        deleting.result(timeout=SECONDS)  # type: ignore[no-untyped-call]

    def _cron(self) -> str:
        """The cron with its time zone in front."""
        plan = self._schedule
        if not plan.cron:
            raise UserError(
                "Vertex starts runs by a cron alone; set schedule.cron, as in"
                " --set 'schedule.cron=\"0 6 * * 1\"'."
            )
        if len(plan.cron.split()) != 5:
            raise UserError(
                f"schedule.cron is {plan.cron!r}; Vertex takes five fields, without the seconds."
            )
        return f"TZ={time_zone(plan.timezone).key} {plan.cron}"

    def _times(self) -> tuple[datetime | None, datetime | None]:
        plan = self._schedule
        return (
            moment(plan.start, "schedule.start", timezone=plan.timezone),
            moment(plan.end, "schedule.end", timezone=plan.timezone),
        )

    def _named(self, run_id: str) -> str:
        return f"{self._parent}/pipelineJobs/{run_id}"

    def _run(self, job: PipelineJob) -> RemoteRun:
        run_id = job.name.rpartition("/")[2]
        tasks = (
            RemoteTask(task.task_name, _state(task.state.name), task.error.message)
            for task in sorted(job.job_detail.task_details, key=lambda task: str(task.start_time))
            if task.task_name != run_id  # The graph itself is among them.
        )
        return RemoteRun(
            id=run_id,
            name=job.display_name,
            state=_state(job.state.name),
            created=f"{job.create_time:%Y-%m-%d %H:%M}" if job.create_time else "",
            link=(
                "https://console.cloud.google.com/vertex-ai/locations/"
                f"{self._config.location}/pipelines/runs/{run_id}?project={self._config.project}"
            ),
            error=job.error.message,
            tasks=tuple(tasks),
        )

    @cached_property
    def _clients(self) -> tuple[PipelineServiceClient, ScheduleServiceClient]:
        return vertex_connection.clients(self._config)

    @property
    def _pipelines(self) -> PipelineServiceClient:
        return self._clients[0]

    @property
    def _schedules(self) -> ScheduleServiceClient:
        return self._clients[1]


def _same_job(kept: Schedule, wanted: Schedule) -> bool:
    """Whether both start the same; the server adds fields of its own to what it was sent."""
    ours, theirs = (s.create_pipeline_job_request.pipeline_job for s in (wanted, kept))
    same = all(
        getattr(ours, name) == getattr(theirs, name)
        for name in ("pipeline_spec", "network", "encryption_spec")
    )
    config, there = ours.runtime_config, theirs.runtime_config
    return (
        same
        and config.parameter_values == there.parameter_values
        and config.gcs_output_directory == there.gcs_output_directory
        and ours.labels.items() <= theirs.labels.items()
        and ours.service_account in ("", theirs.service_account)
    )


def _state(name: str) -> str:
    """The state in the words of `RemoteRun`, which are Kubeflow's."""
    words = {
        "CANCELLED": "CANCELED",
        "CANCELLING": "CANCELING",
        "CANCEL_PENDING": "CANCELING",
        "NOT_TRIGGERED": "SKIPPED",
        "QUEUED": "PENDING",
        "STATE_UNSPECIFIED": "PENDING",
        "UNSPECIFIED": "PENDING",
    }
    short = name.removeprefix("PIPELINE_STATE_")
    return words.get(short, short)
