"""One Airflow DAG for each plan that `python -m pipeline.runners.airflow` has written.

Works with Airflow 2.11 and 3, and imports nothing but Airflow. What can be chosen is `Settings`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

try:  # Airflow 3
    from airflow.sdk import (
        DAG,
        BaseOperator,
        BaseSensorOperator,
        CronTriggerTimetable,
        DeltaTriggerTimetable,
        Param,
        PokeReturnValue,
        Variable,
        task,
    )
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.exceptions import AirflowException, AirflowFailException
    from airflow.models import BaseOperator, Param, Variable
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
    from airflow.timetables.trigger import CronTriggerTimetable, DeltaTriggerTimetable

HERE = Path(__file__).resolve().parent
FORMAT, SUFFIX = 2, ".airflow.json"
"""Of the plans, as pipeline/runners/airflow.py has them."""
NEW_SPAN, POLICY, NO_RUN, INIT, FINISH = "new_span", "policy", "no_run", "init", "finish"
OLDEST = "2024-01-01T00:00:00+00:00"
"""Before any run: a schedule that has no start begins when the DAG is switched on."""
TEMPLATES = {
    "{run_id}": "{{ store_id(run_id) }}",
    "{asked_span}": "{{ params.span or handed(ti, 'span') }}",
    "{note}": "{{ params.note or handed(ti, 'note') }}",
    "{force}": "{{ params.force | string | lower }}",
    "{span}": "{{ begun(ti)['span'] }}",
    "{earlier}": "{{ begun(ti)['earlier'] | tojson }}",
}
"""What the words in a plan's arguments stand for, where only the run knows it."""
PARAMETERS = {
    "span": Param(
        type=["null", "string"],
        pattern="^(newest|[0-9]*)$",
        description="A number, or newest: the newest that is there. Empty: as configured.",
    ),
    "note": Param(type=["null", "string"], description="Words to keep with the run's models."),
    "force": Param(type="boolean", description="Take nothing from the cache."),
}
TAKES_FACTOR = getattr(BaseOperator, "retry_exponential_backoff", False) is not False
"""Whether this Airflow takes the factor of a backoff; older ones only double."""
STOP_SECONDS = 10
"""From asking a node to end to ending it."""


@dataclass(frozen=True)
class Settings:
    """What the Airflow Variable `pipeline` (JSON) chooses, for every DAG made here."""

    plans: str = str(HERE)
    """The folder of the plans."""
    tasks: str = "processes"
    """processes: a task is a process on Airflow's worker; pods: a pod of Kubernetes."""
    project: str = str(HERE.parents[2] if len(HERE.parents) > 2 else HERE)
    """For processes: the project's folder."""
    python: str = ""
    """For processes: the project's Python; by default that of its .venv."""
    pods: dict[str, Any] = field(default_factory=dict)
    """For pods: more arguments of KubernetesPodOperator, as in {"namespace": "…"}."""
    pool: str = "default_pool"
    """Whose slots the tasks take; it has to be there."""
    tasks_at_once: int = 4
    """Of one run, at most."""
    deadline_minutes: int | None = None
    """A run that has taken longer is ended as failed."""
    policy: bool = False
    """Whether each run waits for a new span and does what [continuous] of the configuration says of
    it, in place of what [schedule] says."""
    look_minutes: float = 5.0
    """With the policy: from one look for a new span to the next."""
    owner: str = "pipeline"
    """Whose tasks they are, on Airflow's pages."""

    @classmethod
    def read(cls) -> Settings:
        """The Variable's settings; one that is unknown or wrong is refused."""
        given = Variable.get("pipeline", {}, deserialize_json=True)
        unknown = sorted(set(given) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(
                f"the Variable pipeline has {', '.join(unknown)}; it may have "
                f"{', '.join(cls.__dataclass_fields__)}"
            )
        settings = cls(**given)
        if settings.tasks not in ("processes", "pods"):
            raise ValueError(
                f"the Variable pipeline has tasks = {settings.tasks!r}; expected processes or pods"
            )
        if settings.policy and settings.deadline_minutes:
            raise ValueError(
                "the Variable pipeline has policy and deadline_minutes: a run's time has the wait "
                "for a span in it; limit tasks instead, by [tasks] timeout_seconds"
            )
        return settings


@dataclass(frozen=True)
class Plan:
    """A compiled pipeline, as its file says."""

    file: Path
    content: dict[str, Any]
    digest: str

    @classmethod
    def read(cls, file: Path) -> Plan:
        """The plan in `file`."""
        text = file.read_bytes()
        content = json.loads(text)
        if content.get("format") != FORMAT:
            raise ValueError(
                f"{file} has format {content.get('format')}, and this DAG reads {FORMAT}: copy the "
                "DAG and the plan of one version of the project"
            )
        return cls(file, content, hashlib.sha256(text).hexdigest()[:12])

    def begun(self, ti: Any) -> dict[str, Any]:
        """What init has settled for the run; a run that another plan has begun is not gone on."""
        found: dict[str, Any] = ti.xcom_pull(task_ids=INIT)
        if found is None:
            raise AirflowFailException("init has left no span: clear it, and what comes after it")
        if found["plan"] != self.digest:
            raise AirflowFailException(
                f"{self.file.name} was replaced after this run began: clear init and what comes "
                "after it, or start a new run"
            )
        return found

    def filled(self, task: dict[str, Any], *, image: str, outputs: str) -> list[str]:
        """The arguments of a task, with Airflow's templates for what only the run knows."""
        known = {"{config}": self.content["config"], "{pipeline}": self.content["pipeline"]}
        known |= TEMPLATES | {"{image}": image}
        return [known.get(w, w).replace("{outputs}", outputs) for w in task["arguments"]]


def store_id(run_id: str) -> str:
    """The run's id in the metadata store, where it is part of files' names."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", run_id)


class ProcessTask(BaseOperator):
    """Runs a module of the project by the project's own Python, and shows what it prints."""

    template_fields = ("arguments",)
    ui_color = "#dcebf7"

    def __init__(
        self, *, given: dict[str, Any], plan: Plan, settings: Settings, **kwargs: Any
    ) -> None:
        """Take what the plan says of a task."""
        super().__init__(**kwargs)
        self.module, self.environment = given["module"], given["environment"]
        self.arguments = plan.filled(given, image="", outputs="{outputs}")
        self.project = settings.project
        self.python = settings.python or str(Path(settings.project, ".venv/bin/python"))
        self.plan = plan.digest
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any] | None:
        """Run it to its end; what init has settled is handed on."""
        if not Path(self.python).exists():
            raise AirflowFailException(
                f"there is no {self.python}: run `make setup` in {self.project}, or name the "
                "project and its Python in the Variable pipeline"
            )
        with tempfile.TemporaryDirectory() as folder:
            words = [word.replace("{outputs}", folder) for word in self.arguments]
            self._run([self.python, "-m", self.module, *words])
            made = {f.name: json.loads(f.read_text()) for f in Path(folder).iterdir()}
        return {"plan": self.plan, **made} if made else None

    def on_kill(self) -> None:
        """End the process, and what it has started."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            os.killpg(process.pid, signal.SIGKILL)

    def _run(self, command: list[str]) -> None:
        # The rest is Airflow's own, such as its connections, and none of the pipeline's business.
        kept = {k: v for k, v in os.environ.items() if "AIRFLOW_" not in k and k[:6] != "PYTHON"}
        self._process = process = subprocess.Popen(
            command,
            cwd=self.project,
            env={**kept, "PYTHONUNBUFFERED": "1", **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        last = "it printed nothing"
        try:
            for line in process.stdout or ():
                self.log.info("%s", line.rstrip())
                last = line.strip() or last
            code = process.wait()
        finally:
            self.on_kill()
        if code:
            raise AirflowException(f"{self.task_id} ended with exit code {code}: {last}")


def waiting(kind: type[BaseOperator]) -> type[BaseOperator]:
    """A task of that kind that asks for a decision until there is one; meanwhile it has no slot."""

    class NewSpan(BaseSensorOperator, kind):  # type: ignore[misc, valid-type]
        def poke(self, context: Any) -> PokeReturnValue:
            if context["params"].get("span"):
                return PokeReturnValue(True, {})  # A person has decided.
            found = kind.execute.__wrapped__(self, context)  # type: ignore[attr-defined]
            return PokeReturnValue(bool(found["decision"]), found)

    return NewSpan


def pod_task(task: dict[str, Any], plan: Plan, settings: Settings, **common: Any) -> BaseOperator:
    """The task as a pod, with what the configuration says that it gets of the cluster."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    (container,) = task["pod"]["spec"]["containers"]
    if not container["image"]:
        raise ValueError(
            f"{plan.file.name}: {task['id']} has no image to run in a pod: compile the plan with "
            "tasks.defaults.image"
        )
    command = ["python", "-m", task["module"]]
    if task["outputs"]:  # Airflow's sidecar takes one file of JSON.
        names = "".join(f', "{name}": %s' for name in task["outputs"])
        files = " ".join(f'"$(cat /tmp/{name})"' for name in task["outputs"])
        line = _HAND_ON.format(plan=plan.digest, names=names, files=files)
        command = ["sh", "-c", line, "python", *command[1:]]
    arguments = {
        "pod_template_dict": task["pod"],
        "name": f"{plan.content['name']}-{task['id']}".lower().translate(str.maketrans("._", "--")),
        "cmds": command,
        "arguments": plan.filled(task, image=container["image"], outputs="/tmp"),
        "do_xcom_push": bool(task["outputs"]),
        "startup_timeout_seconds": 600,
    }
    kind = waiting(KubernetesPodOperator) if task["id"] == NEW_SPAN else KubernetesPodOperator
    return kind(**{**arguments, **settings.pods}, **common)


_HAND_ON = """"$0" "$@" && mkdir -p /airflow/xcom && printf \
'{{"plan": "{plan}"{names}}}' {files} > /airflow/xcom/return.json"""


def process_task(
    task: dict[str, Any], plan: Plan, settings: Settings, **common: Any
) -> BaseOperator:
    """The task as a process."""
    kind = waiting(ProcessTask) if task["id"] == NEW_SPAN else ProcessTask
    return kind(given=task, plan=plan, settings=settings, **common)


def common_of(task: dict[str, Any]) -> dict[str, Any]:
    """What a task has, however it runs."""
    seconds, retries = task["timeout_seconds"], task["retries"] or {"count": 0}
    found: dict[str, Any] = {
        "task_id": task["id"],
        "retries": retries["count"],
        "execution_timeout": timedelta(seconds=seconds) if seconds else None,
        "doc_md": f"`python -m {task['module']}` on `{task['id']}`.",
    }
    if retries["count"]:
        factor = retries["backoff_factor"]
        found |= {
            "retry_delay": timedelta(seconds=retries["backoff_seconds"]),
            "retry_exponential_backoff": factor if TAKES_FACTOR else factor > 1,
            "max_retry_delay": timedelta(seconds=retries["backoff_max_seconds"] or 1),
        }
    return found


def timetable(schedule: dict[str, Any]) -> Any:
    """When runs start by themselves; None: never."""
    if schedule["cron"]:
        return CronTriggerTimetable(schedule["cron"], timezone=schedule["timezone"])
    if schedule["interval_seconds"]:
        return DeltaTriggerTimetable(timedelta(seconds=schedule["interval_seconds"]))
    return None


DOC = """
From rows to a pushed model: each task is one node of the compiled pipeline.

- **init** makes the store's tables and settles which span the run ingests; **finish** keeps how
  the run ended, however it went.
- A node that is in the cache takes seconds: runs of Airflow, of Kubeflow and of `local_runner.py`
  share the store `{store}` and what is in it.
- A failed run goes on where it failed: clear the failed task.
- What came of a run: `python -m pipeline show RUN`, where RUN is the run's id here with `-` for
  what is no letter, digit or `_`.

Plan `{digest}`; root `{root}`.
"""


def make_dag(plan: Plan, settings: Settings) -> DAG:
    """The DAG of a plan: a task for each node, each after those that it needs."""
    content, schedule = plan.content, plan.content["schedule"]
    minutes = settings.deadline_minutes
    params = {}
    defaults = content["parameters"] | ({"span": ""} if settings.policy else {})
    for name, param in PARAMETERS.items():
        params[name] = Param(defaults[name], param.description, **param.schema)
    dag = DAG(
        content["name"],
        description="From rows to a pushed model.",
        doc_md=DOC.format(digest=plan.digest, store=content["store"], root=content["root"]),
        schedule="@continuous" if settings.policy else timetable(schedule),
        start_date=datetime.fromisoformat(schedule["start"] or OLDEST),
        end_date=datetime.fromisoformat(schedule["end"]) if schedule["end"] else None,
        catchup=schedule["catch_up"] and not settings.policy,
        max_active_runs=1 if settings.policy else schedule["concurrency"],
        max_active_tasks=settings.tasks_at_once,
        dagrun_timeout=timedelta(minutes=minutes) if minutes else None,
        is_paused_upon_creation=schedule["paused"],
        params=params,
        tags=["tfx", settings.tasks],
        default_args={"owner": settings.owner, "pool": settings.pool},
        user_defined_macros={
            "begun": plan.begun,
            "handed": handed if settings.policy else lambda ti, key: "",
            "store_id": store_id,
        },
    )
    make = pod_task if settings.tasks == "pods" else process_task
    tasks: dict[str, BaseOperator] = {}
    with dag:
        for task in content["tasks"]:
            tasks[task["id"]] = made = make(task, plan, settings, **common_of(task))
            made.set_upstream([tasks[needed] for needed in task["needs"]])
        # A teardown runs whatever came of the others, and does not hide that one of them failed.
        tasks[FINISH].as_teardown()
        if settings.policy:
            seconds = settings.look_minutes * 60
            wait = {"mode": "reschedule", "poke_interval": seconds, "timeout": timedelta(days=3650)}
            asked = content["policy"]
            follow_policy(make(asked, plan, settings, **common_of(asked), **wait), tasks)
    return dag


def handed(ti: Any, key: str) -> Any:
    """What the decision that was handed over says of the run; "" if a person has started it."""
    found: dict[str, Any] = (ti.xcom_pull(task_ids=NEW_SPAN) or {}).get("decision") or {}
    return found.get(key, "")


def follow_policy(new_span: BaseOperator, tasks: dict[str, BaseOperator]) -> None:
    """The tasks of a run come after a decision for it; after one against it there is but NO_RUN."""

    @task.branch(task_id=POLICY)
    def policy(ti: Any = None) -> str:
        return INIT if handed(ti, "retrain") is not False else NO_RUN

    @task(task_id=NO_RUN)
    def no_run(ti: Any = None) -> Any:
        return handed(ti, "reason")

    branch = policy()
    new_span >> branch >> [no_run(), tasks[INIT]]
    branch >> tasks[FINISH]  # Else it would run as the teardown that it is.


chosen = Settings.read()
for each in sorted(Path(chosen.plans).glob(f"*{SUFFIX}")):
    globals()[each.name.removesuffix(SUFFIX)] = make_dag(Plan.read(each), chosen)
