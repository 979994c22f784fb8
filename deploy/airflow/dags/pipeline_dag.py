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
        CronTriggerTimetable,
        DeltaTriggerTimetable,
        Param,
        Variable,
    )
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
except ImportError:
    from airflow import DAG
    from airflow.exceptions import AirflowException, AirflowFailException
    from airflow.models import BaseOperator, Param, Variable
    from airflow.timetables.trigger import CronTriggerTimetable, DeltaTriggerTimetable

HERE = Path(__file__).resolve().parent
FORMAT, SUFFIX = 1, ".airflow.json"
"""Of the plans, as pipeline/runners/airflow.py has them."""
INIT, FINISH = "init", "finish"
OLDEST = "2024-01-01T00:00:00+00:00"
"""Before any run: a schedule that has no start begins when the DAG is switched on."""
TEMPLATES = {
    "{run_id}": "{{ store_id(run_id) }}",
    "{asked_span}": "{{ params.span or '' }}",
    "{note}": "{{ params.note or '' }}",
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

    def filled(self, task: dict[str, Any], **words: str) -> list[str]:
        """The arguments of a task, with Airflow's templates for what only the run knows."""
        known = {"{config}": self.content["config"], "{pipeline}": self.content["pipeline"]}
        known |= TEMPLATES | {f"{{{name}}}": value for name, value in words.items()}
        arguments = [known.get(word, word) for word in task["arguments"]]
        return [word.replace("{outputs}", words["outputs"]) for word in arguments]


def store_id(run_id: str) -> str:
    """The run's id in the metadata store, where it is part of files' names."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", run_id)


class ProcessTask(BaseOperator):
    """Runs a module of the project by the project's own Python, and shows what it prints."""

    template_fields = ("arguments",)
    ui_color = "#dcebf7"

    def __init__(
        self,
        *,
        module: str,
        arguments: list[str],
        environment: dict[str, str],
        settings: Settings,
        plan: str,
        **kwargs: Any,
    ) -> None:
        """Take what the plan says of a task; `plan` is its digest."""
        super().__init__(**kwargs)
        self.module = module
        self.arguments = arguments
        self.environment = environment
        self.project = settings.project
        self.python = settings.python or str(Path(settings.project, ".venv/bin/python"))
        self.plan = plan
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


def pod_task(task: dict[str, Any], plan: Plan, settings: Settings, **common: Any) -> BaseOperator:
    """The task as a pod, with what the configuration says that it gets of the cluster."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.providers.cncf.kubernetes.secret import Secret
    from kubernetes.client import models as k8s

    pod, all_pods = task["pod"], plan.content["pods"]
    if not pod["image"]:
        raise ValueError(
            f"{plan.file.name}: {task['id']} has no image to run in a pod: compile the plan with "
            "tasks.defaults.image"
        )
    words = plan.filled(task, image=pod["image"], outputs="/tmp")
    command = ["python", "-m", task["module"]]
    if task["id"] == INIT:  # Airflow's sidecar takes one file of JSON.
        command = ["sh", "-c", _HAND_ON.format(plan=plan.digest), "python", *command[1:]]
    secrets = [(name, *key.partition("/")[::2]) for name, key in pod["secrets"].items()]
    arguments = {
        "namespace": all_pods["namespace"],
        "service_account_name": all_pods["service_account"],
        "image_pull_secrets": [
            k8s.V1LocalObjectReference(name) for name in all_pods["image_pull_secrets"]
        ],
        "name": f"{plan.content['name']}-{task['id']}".lower().replace(".", "-"),
        "image": pod["image"],
        "cmds": command,
        "arguments": words,
        "env_vars": task["environment"],
        "secrets": [Secret("env", variable, name, key) for variable, name, key in secrets],
        "container_resources": k8s.V1ResourceRequirements(
            requests=pod["requests"], limits=pod["limits"]
        ),
        "volumes": [
            k8s.V1Volume(
                name=claim,
                persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(claim_name=claim),
            )
            for claim in pod["volumes"]
        ],
        "volume_mounts": [
            k8s.V1VolumeMount(name=claim, mount_path=path) for claim, path in pod["volumes"].items()
        ],
        "node_selector": pod["node_selector"],
        "tolerations": [k8s.V1Toleration(**taint) for taint in pod["tolerations"]],
        "do_xcom_push": task["id"] == INIT,
        "startup_timeout_seconds": 600,
    }
    return KubernetesPodOperator(**{**arguments, **settings.pods}, **common)


_HAND_ON = """"$0" "$@" && mkdir -p /airflow/xcom && printf \
'{{"plan": "{plan}", "span": %s, "earlier": %s}}' "$(cat /tmp/span)" "$(cat /tmp/earlier)" \
> /airflow/xcom/return.json"""


def process_task(
    task: dict[str, Any], plan: Plan, settings: Settings, **common: Any
) -> BaseOperator:
    """The task as a process."""
    return ProcessTask(
        module=task["module"],
        arguments=plan.filled(task, image="", outputs="{outputs}"),
        environment=task["environment"],
        settings=settings,
        plan=plan.digest,
        **common,
    )


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
    for name, param in PARAMETERS.items():
        params[name] = Param(content["parameters"][name], param.description, **param.schema)
    dag = DAG(
        content["name"],
        description="From rows to a pushed model.",
        doc_md=DOC.format(digest=plan.digest, store=content["store"], root=content["root"]),
        schedule=timetable(schedule),
        start_date=datetime.fromisoformat(schedule["start"] or OLDEST),
        end_date=datetime.fromisoformat(schedule["end"]) if schedule["end"] else None,
        catchup=schedule["catch_up"],
        max_active_runs=schedule["concurrency"],
        max_active_tasks=settings.tasks_at_once,
        dagrun_timeout=timedelta(minutes=minutes) if minutes else None,
        is_paused_upon_creation=schedule["paused"],
        params=params,
        tags=["tfx", settings.tasks],
        default_args={"owner": settings.owner, "pool": settings.pool},
        user_defined_macros={"begun": plan.begun, "store_id": store_id},
    )
    make = pod_task if settings.tasks == "pods" else process_task
    tasks: dict[str, BaseOperator] = {}
    with dag:
        for task in content["tasks"]:
            tasks[task["id"]] = made = make(task, plan, settings, **common_of(task))
            made.set_upstream([tasks[needed] for needed in task["needs"]])
        # A teardown runs whatever came of the others, and does not hide that one of them failed.
        tasks[FINISH].as_teardown()
    return dag


chosen = Settings.read()
for each in sorted(Path(chosen.plans).glob(f"*{SUFFIX}")):
    globals()[each.name.removesuffix(SUFFIX)] = make_dag(Plan.read(each), chosen)
