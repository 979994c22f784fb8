"""What the DAGs are made of: the plan, the settings, and tasks as processes or pods.

Imports nothing but Airflow, 2.11 or 3.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

try:  # Airflow 3
    from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue, Variable
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
except ImportError:
    from airflow.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
    from airflow.models import BaseOperator, Variable
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue

HERE = Path(__file__).resolve().parent
FORMAT, SUFFIX, KEPT = 3, ".airflow.json", "kept"
"""Of the plans, as pipeline/runners/airflow.py has them."""
NEW_SPAN, INIT, FINISH = "new_span", "init", "finish"
TEMPLATES = {
    "{run_id}": "{{ store_id(run_id) }}",
    "{asked_span}": "{{ params.span or '' }}",
    "{note}": "{{ params.note or '' }}",
    "{force}": "{{ params.force | string | lower }}",
    "{span}": "{{ begun(ti)['span'] }}",
    "{earlier}": "{{ begun(ti)['earlier'] | tojson }}",
}
"""What the words in a plan's arguments stand for, where only the run knows it."""
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
    """Whether runs start as [continuous] of the configuration says, in place of [schedule]."""
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
        """What init has settled for the run."""
        found: dict[str, Any] = ti.xcom_pull(task_ids=INIT)
        if found is None:
            raise AirflowFailException("init has left no span: clear it, and what comes after it")
        return found

    def kept(self, ti: Any) -> tuple[Plan, dict[str, Any]] | None:
        """The plan that the run began with and the task in it; None where it is this one."""
        digest = (ti.xcom_pull(task_ids=INIT) or {}).get("plan", self.digest)
        if digest == self.digest:
            return None
        file = self.file.parent / KEPT / f"{digest}.json"
        plan = Plan.read(file) if file.exists() else None
        for task in plan.content["tasks"] if plan else ():
            if plan and task["id"] == ti.task_id:
                return plan, task
        raise AirflowFailException(
            f"this run began with a plan that has been replaced since, and {file} has not its "
            f"{ti.task_id}: clear init and what comes after it, or start a new run"
        )

    def filled(self, task: dict[str, Any], *, image: str, outputs: str) -> list[str]:
        """The arguments of a task, with Airflow's templates for what only the run knows."""
        known = {"{config}": self.content["config"], "{pipeline}": self.content["pipeline"]}
        known |= TEMPLATES | {"{image}": image}
        return [known.get(w, w).replace("{outputs}", outputs) for w in task["arguments"]]


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
        plan: str,
        settings: Settings,
        **kwargs: Any,
    ) -> None:
        """Take what the plan, of that digest, says of a task."""
        super().__init__(**kwargs)
        self.module, self.arguments, self.environment = module, arguments, environment
        self.plan, self.project = plan, settings.project
        self.python = settings.python or str(Path(settings.project, ".venv/bin/python"))
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


def waiting(kind: type[BaseOperator], dag_id: str) -> type[BaseOperator]:
    """A task of that kind that asks for a decision until there is one; meanwhile it has no slot."""

    class NewSpan(BaseSensorOperator, kind):  # type: ignore[misc, valid-type]
        def poke(self, context: Any) -> PokeReturnValue:
            if is_at_work(context["ti"], dag_id):
                self.log.info("A run of %s is at work or to be: what is next waits for it.", dag_id)
                return PokeReturnValue(False)
            try:
                found = kind.execute.__wrapped__(self, context)  # type: ignore[attr-defined]
                return PokeReturnValue(bool(found["decision"]), found)
            except (Exception, AirflowTaskTimeout) as error:
                self.log.error("This look failed, the next one follows: %s", error)
                return PokeReturnValue(False)

    return NewSpan


def is_at_work(ti: Any, dag_id: str) -> bool:
    """Whether a run of the DAG has not come to its end."""
    states = ["queued", "running"]
    if hasattr(ti, "get_dr_count"):  # Airflow 3, whose tasks do not see the database
        return bool(ti.get_dr_count(dag_id=dag_id, states=states))
    from airflow.models import DagRun

    return any(DagRun.find(dag_id=dag_id, state=state) for state in states)


def keeping(
    kind: type[BaseOperator],
    plan: Plan,
    said: Callable[..., dict[str, Any]],
    except_for: Collection[str],
) -> type[BaseOperator]:
    """A task of that kind that goes by the plan with which its run began, whatever came since."""

    class Kept(kind):  # type: ignore[misc, valid-type]
        def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
            if kept := plan.kept(context["ti"]):
                for name, value in said(*kept).items():
                    if name not in except_for:
                        setattr(self, name, value)
            super().render_template_fields(context, jinja_env)

    Kept.__name__ = kind.__name__
    return Kept


def pod_says(plan: Plan, task: dict[str, Any]) -> dict[str, Any]:
    """The task's pod, with what the configuration says that it gets of the cluster."""
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
    arguments = plan.filled(task, image=container["image"], outputs="/tmp")
    return {"pod_template_dict": task["pod"], "cmds": command, "arguments": arguments}


_HAND_ON = """"$0" "$@" && mkdir -p /airflow/xcom && printf \
'{{"plan": "{plan}"{names}}}' {files} > /airflow/xcom/return.json"""


def process_says(plan: Plan, task: dict[str, Any]) -> dict[str, Any]:
    """The task's process."""
    arguments = plan.filled(task, image="", outputs="{outputs}")
    return {"module": task["module"], "environment": task["environment"], "arguments": arguments}


def make_task(task: dict[str, Any], plan: Plan, settings: Settings, **more: Any) -> BaseOperator:
    """The task as a pod or a process, as the settings have it."""
    said, kind = process_says, ProcessTask
    chosen: dict[str, Any] = {"plan": plan.digest, "settings": settings}
    if settings.tasks == "pods":
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

        said, kind = pod_says, KubernetesPodOperator
        name = f"{plan.content['name']}-{task['id']}".lower().translate(str.maketrans("._", "--"))
        chosen = {"name": name, "do_xcom_push": bool(task["outputs"])}
        chosen |= {"startup_timeout_seconds": 600, **settings.pods}
    if task["id"] == NEW_SPAN:
        # Deferred, it would come back past the sensor, and none would be a decision.
        chosen |= {"deferrable": False} if settings.tasks == "pods" else {}
        kind = waiting(kind, plan.content["name"])
    elif task["id"] != INIT:
        kind = keeping(kind, plan, said, except_for=tuple(chosen))
    return kind(**{**said(plan, task), **chosen}, **common_of(task), **more)


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
