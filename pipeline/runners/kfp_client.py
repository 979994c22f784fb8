"""Starts, schedules and watches runs on a Kubeflow Pipelines server (API v2beta1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

import kfp_server_api as kfp

from pipeline.cluster.kfp_connection import Connection, host_of
from pipeline.cluster.kfp_versions import Versions, found_or_made, named
from pipeline.cluster.remote import (
    FINAL,
    NoScheduleError,
    Package,
    RemoteRun,
    RemoteTask,
    moment,
    unwanted_schedule,
)
from pipeline.config import PipelineConfig
from pipeline.errors import UserError


class KubeflowServer:
    """The server of `config.kubeflow`; `remote.Server` says what each method is for."""

    def __init__(self, config: PipelineConfig, *, name: str | None = None) -> None:
        """Takes the configuration, and the pipeline's name if that is another; contacts nothing."""
        self._name = name or config.name
        self._config = config.kubeflow
        self._schedule = config.schedule
        self._host = host_of(self._config)
        self._experiment_name = self._config.experiment or self._name

    @property
    def place(self) -> str:
        """See `Server`."""
        return f"{self._host} (namespace {self._config.namespace})"

    def plan(self, package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `Server`."""
        return {
            "server": self._host,
            "namespace": self._config.namespace,
            "pipeline": package.name,
            "version": package.version,
            "experiment": self._experiment_name,
            "service account": self._config.service_account or "the server's default",
            "parameters": dict(parameters),
        }

    def schedule_plan(self, package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `Server`."""
        trigger = self._trigger()
        when = (trigger.cron_schedule or trigger.periodic_schedule).to_dict()
        return self.plan(package, parameters) | {
            **{key.replace("_", " "): str(value) for key, value in when.items() if value},
            "time zone": f"the server's (meant: {self._schedule.timezone})",
            "catch up": self._schedule.catch_up,
            "runs at once": self._schedule.concurrency,
            "paused": self._schedule.paused,
        }

    def upload(self, package: Package) -> str:
        """See `Server`."""
        with self._connection.sentences():
            return cast(str, self._versions.kept(package).pipeline_version_id)

    def check_version(self, package: Package) -> None:
        """See `Server`."""
        with self._connection.sentences():
            self._versions.check(package)

    def check_schedule(self, package: Package) -> None:
        """See `Server`."""
        with self._connection.sentences():
            reference = self._versions.found(package)
            wanted = reference and reference.pipeline_version_id
            at_work = [r for r in self._existing() if _enabled(r) or self._schedule.paused]
        started = [r.pipeline_version_reference.pipeline_version_id for r in at_work]
        if not started:
            raise UserError(f"The schedule {self._name} is paused; --resume has it start runs.")
        if started != [wanted]:
            others = ", ".join(str(other) for other in started if other != wanted)
            what = f"starts runs of version {others}" if others else "is there more than once"
            raise UserError(f"The schedule {self._name} {what}, in place of {package.version}.")

    def check_unscheduled(self) -> None:
        """See `Server`."""
        with self._connection.sentences():
            starts = any(map(_enabled, self._recurring_runs()))
        if starts:
            raise UserError(unwanted_schedule(self._name))

    def submit(
        self, package: Package, parameters: Mapping[str, Any], *, label: str = ""
    ) -> RemoteRun:
        """See `Server`."""
        with self._connection.sentences():
            which = label or f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
            run = kfp.V2beta1Run(
                display_name=f"{self._name} {which}",
                experiment_id=self._experiment(),
                pipeline_version_reference=self._versions.kept(package),
                runtime_config=kfp.V2beta1RuntimeConfig(parameters=dict(parameters)),
                service_account=self._config.service_account,
            )
            return self._run(self._runs.run_service_create_run(run))

    def runs(self, limit: int = 10) -> list[RemoteRun]:
        """See `Server`."""
        return self._listed(page_size=limit)

    def labelled(self, label: str) -> list[RemoteRun]:
        """See `Server`. A run has no labels there: it stands in its name."""
        return self._listed(page_size=100, filter=named(f"{self._name} {label}"))

    def _listed(self, **which: Any) -> list[RemoteRun]:
        with self._connection.sentences():
            if (experiment_id := self._found_experiment()) is None:
                return []
            found = self._runs.run_service_list_runs(
                experiment_id=experiment_id, sort_by="created_at desc", **which
            )
            return [self._run(run) for run in found.runs or []]

    def run(self, run_id: str) -> RemoteRun:
        """See `Server`."""
        with self._connection.sentences(f"There is no run {run_id}"):
            return self._run(self._runs.run_service_get_run(run_id))

    def cancel(self, run_id: str) -> None:
        """See `Server`.

        Raises:
            UserError: if it has ended already.
        """
        run = self.run(run_id)
        if run.state in FINAL:
            raise UserError(f"Run {run_id} has ended already: it is {run.state}.")
        with self._connection.sentences():
            self._runs.run_service_terminate_run(run_id)

    def schedule(self, package: Package, parameters: Mapping[str, Any]) -> str:
        """Makes the recurring run of the pipeline's name what the configuration says.

        The API cannot change a recurring run. So one that differs is replaced: the new one is made
        disabled, and enabled once the old one is not. At no time are two at work, and a failure
        leaves the one that was there.
        """
        with self._connection.sentences():
            wanted = kfp.V2beta1RecurringRun(
                display_name=self._name,
                experiment_id=self._experiment(),
                pipeline_version_reference=self._versions.kept(package),
                runtime_config=kfp.V2beta1RuntimeConfig(parameters=dict(parameters)),
                service_account=self._config.service_account,
                max_concurrency=str(self._schedule.concurrency),
                no_catchup=not self._schedule.catch_up,
                mode=kfp.RecurringRunMode.DISABLE,
                trigger=self._trigger(),
            )
            there = self._recurring_runs()
            equal = [run for run in there if self._settings(run) == self._settings(wanted)]
            if not equal:
                new = self._recurring.recurring_run_service_create_recurring_run(wanted)
                self._put_to_work(new, instead_of=there, made=True)
                return self._about("Replaced" if there else "Created")
            kept = max(equal, key=_enabled)
            others = [run for run in there if run is not kept]
            if not others and _enabled(kept) != self._schedule.paused:
                return self._about("Nothing to do: this is already")
            self._put_to_work(kept, instead_of=others, made=False)
            changed = "Paused" if self._schedule.paused else "Resumed"
            return self._about("Tidied up" if others else changed)

    def pause(self) -> str:
        """See `Server`."""
        with self._connection.sentences():
            for run in self._existing():
                self._disable(run)
        return f"Paused the schedule {self._name}; --resume lets it start runs again."

    def resume(self) -> str:
        """See `Server`."""
        with self._connection.sentences():
            *others, newest = sorted(self._existing(), key=lambda run: run.created_at)
            for run in others:
                self._disable(run)
            self._enable(newest)
        return f"The schedule {self._name} starts runs again."

    def unschedule(self) -> str:
        """See `Server`."""
        with self._connection.sentences():
            for run in self._existing():
                self._delete(run)
        return f"Deleted the schedule {self._name}; its runs stay."

    def _put_to_work(self, run: Any, *, instead_of: list[Any], made: bool) -> None:
        """Has `run` at work (or paused, as configured) alone; all is as it was if that fails."""
        at_work = [other for other in instead_of if _enabled(other)]
        try:
            with self._connection.sentences():
                for other in at_work:
                    self._disable(other)
                (self._disable if self._schedule.paused else self._enable)(run)
        except BaseException as error:
            # As far as the server still answers; the first error is the one to tell.
            if made:
                _done(self._delete, run)
            as_before = all(_done(self._enable, other) for other in at_work[:1])
            if isinstance(error, UserError) and not as_before:
                raise UserError(
                    f"{error} What the schedule {self._name} started before could not be put to"
                    " work again: until this is repeated, it may start nothing."
                ) from None
            raise
        for other in instead_of:
            # What is left starts nothing, and the next call removes it.
            _done(self._delete, other)

    def _about(self, done: str) -> str:
        """What was done to the schedule, when it runs, and in which time zone."""
        plan = self._schedule
        when = f"cron {plan.cron}" if plan.cron else f"every {plan.interval_seconds} s"
        text = f"{done} the schedule {self._name}: {when}{', paused' if plan.paused else ''}."
        if plan.cron and plan.timezone != "UTC":
            text += (
                f" It is meant in {plan.timezone}, but Kubeflow has one time zone for all its"
                " schedules, UTC unless the installation says otherwise: set"
                f" cronScheduleTimezone={plan.timezone} in its pipeline-install-config."
            )
        return text

    def _trigger(self) -> Any:
        plan = self._schedule
        zone = plan.timezone
        span = {
            "start_time": moment(plan.start, "schedule.start", timezone=zone),
            "end_time": moment(plan.end, "schedule.end", timezone=zone),
        }
        if plan.cron:
            fields = plan.cron.split()
            # The server's parser takes the first of five fields for seconds.
            cron = " ".join(fields if len(fields) == 6 else ["0", *fields])
            return kfp.V2beta1Trigger(cron_schedule=kfp.V2beta1CronSchedule(cron=cron, **span))
        if plan.interval_seconds:
            every = kfp.V2beta1PeriodicSchedule(interval_second=str(plan.interval_seconds), **span)
            return kfp.V2beta1Trigger(periodic_schedule=every)
        raise UserError(
            "The configuration says nothing of when runs start; set schedule.cron, as in"
            " --set 'schedule.cron=\"0 6 * * 1\"', or schedule.interval_seconds."
        )

    def _settings(self, run: Any) -> dict[str, Any]:
        """What makes two recurring runs the same."""
        reference, trigger = run.pipeline_version_reference, run.trigger
        when = (trigger and (trigger.cron_schedule or trigger.periodic_schedule)) or None
        settings = {
            "version": reference and reference.pipeline_version_id,
            "experiment": run.experiment_id,
            "parameters": (run.runtime_config and run.runtime_config.parameters) or {},
            "concurrency": int(run.max_concurrency or 1),
            "no_catchup": bool(run.no_catchup),
            "cron": getattr(when, "cron", None),
            "interval": str(getattr(when, "interval_second", None)),
            "start": when and when.start_time,
            "end": when and when.end_time,
        }
        # Where none is asked for, the server fills in its own.
        if self._config.service_account:
            settings["service_account"] = run.service_account
        return settings

    def _recurring_runs(self) -> list[Any]:
        found = self._recurring.recurring_run_service_list_recurring_runs(
            namespace=self._config.namespace, page_size=100, filter=named(self._name)
        )
        return found.recurring_runs or []

    def _existing(self) -> list[Any]:
        found = self._recurring_runs()
        if not found:
            raise NoScheduleError(
                f"There is no schedule {self._name} on {self._host}; `kubeflow_runner.py schedule`"
                " makes it."
            )
        return found

    def _enable(self, run: Any) -> None:
        self._recurring.recurring_run_service_enable_recurring_run(run.recurring_run_id)

    def _disable(self, run: Any) -> None:
        self._recurring.recurring_run_service_disable_recurring_run(run.recurring_run_id)

    def _delete(self, run: Any) -> None:
        self._recurring.recurring_run_service_delete_recurring_run(run.recurring_run_id)

    def _found_experiment(self) -> str | None:
        found = self._experiments.experiment_service_list_experiments(
            namespace=self._config.namespace, page_size=1, filter=named(self._experiment_name)
        )
        return found.experiments[0].experiment_id if found.experiments else None

    def _experiment(self) -> str:
        """The id of the experiment, made if it is missing."""

        def make() -> str:
            experiment = kfp.V2beta1Experiment(
                display_name=self._experiment_name, namespace=self._config.namespace
            )
            made = self._experiments.experiment_service_create_experiment(experiment)
            return cast(str, made.experiment_id)

        return found_or_made(self._found_experiment, make)

    def _run(self, run: Any) -> RemoteRun:
        details = run.run_details and run.run_details.task_details
        tasks = (
            RemoteTask(task.display_name, task.state or "PENDING", _message(task.error))
            for task in sorted(details or [], key=lambda task: str(task.start_time))
            # Each task is a driver and an executor, below a node for the run.
            if task.display_name not in ("root", "executor", run.display_name)
            and not task.display_name.endswith("-driver")
        )
        return RemoteRun(
            id=run.run_id,
            name=run.display_name or run.run_id,
            state=run.state or "PENDING",
            created=f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else "",
            link=self._page(run.run_id),
            error=_message(run.error),
            tasks=tuple(tasks),
        )

    def _page(self, run_id: str) -> str:
        return f"{(self._config.ui_host or self._host).rstrip('/')}/#/runs/details/{run_id}"

    @cached_property
    def _connection(self) -> Connection:
        return Connection(self._config)

    @property
    def _experiments(self) -> Any:
        return kfp.ExperimentServiceApi(self._connection.client)

    @property
    def _versions(self) -> Versions:
        return Versions(self._connection.client, self._config.namespace)

    @property
    def _runs(self) -> Any:
        return kfp.RunServiceApi(self._connection.client)

    @property
    def _recurring(self) -> Any:
        return kfp.RecurringRunServiceApi(self._connection.client)


def _done(call: Callable[[Any], None], run: Any) -> bool:
    """Whether the server did it."""
    with suppress(Exception):
        call(run)
        return True
    return False


def _enabled(run: Any) -> bool:
    return bool(run.mode == kfp.RecurringRunMode.ENABLE)


def _message(error: Any) -> str:
    return str(error.message or "") if error else ""
