"""The Airflow DAGs of each plan that `python -m pipeline.runners.airflow` has written.

One runs the pipeline; with the policy a second one decides when. They work with Airflow 2.11 and 3,
and import nothing but Airflow. What can be chosen is `Settings`.
"""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

try:  # Airflow 3
    from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
    from airflow.sdk import (
        DAG,
        BaseOperator,
        CronTriggerTimetable,
        DeltaTriggerTimetable,
        Param,
        task,
    )
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.models import BaseOperator, Param
    from airflow.operators.trigger_dagrun import TriggerDagRunOperator
    from airflow.timetables.trigger import CronTriggerTimetable, DeltaTriggerTimetable

sys.path.append(str(Path(__file__).resolve().parent))  # Airflow's own folder may be one above.
from pipeline_dag_tasks import FINISH, NEW_SPAN, SUFFIX, Plan, Settings, make_task

POLICY, START, NO_RUN = "policy", "start", "no_run"
OLDEST = "2024-01-01T00:00:00+00:00"
"""Before any run: a schedule that has no start begins when the DAG is switched on."""
PARAMETERS = {
    "span": Param(
        type=["null", "string"],
        pattern="^(newest|[0-9]*)$",
        description="A number, or newest: the newest that is there. Empty: as configured.",
    ),
    "note": Param(type=["null", "string"], description="Words to keep with the run's models."),
    "force": Param(type="boolean", description="Take nothing from the cache."),
}


def store_id(run_id: str) -> str:
    """The run's id in the metadata store, where it is part of files' names."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", run_id)


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
- A failed run goes on where it failed: clear the failed task. It keeps the plan that it began
  with; clear `init` as well to go on with the newest.
- What came of a run: `python -m pipeline show RUN`, where RUN is the run's id here with `-` for
  what is no letter, digit or `_`.

Plan `{digest}`; root `{root}`.
"""


POLICY_DOC = """
Starts runs of `{name}` as `[continuous]` of the configuration says.

- **new_span** looks for a span that is there whole, while no run of `{name}` is at work.
- **policy** has **start** begin the run that was decided on, once, or **no_run** keep why not.
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
        schedule=None if settings.policy else timetable(schedule),
        catchup=schedule["catch_up"] and not settings.policy,
        max_active_runs=1 if settings.policy else schedule["concurrency"],
        max_active_tasks=settings.tasks_at_once,
        dagrun_timeout=timedelta(minutes=minutes) if minutes else None,
        params=params,
        tags=["tfx", settings.tasks],
        user_defined_macros={"begun": plan.begun, "store_id": store_id},
        **dag_says(schedule, settings),
    )
    tasks: dict[str, BaseOperator] = {}
    with dag:
        for task in content["tasks"]:
            tasks[task["id"]] = made = make_task(task, plan, settings)
            made.set_upstream([tasks[needed] for needed in task["needs"]])
        # A teardown runs whatever came of the others, and does not hide that one of them failed.
        tasks[FINISH].as_teardown()
    return dag


def dag_says(schedule: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What both DAGs of a plan have."""
    return {
        "start_date": datetime.fromisoformat(schedule["start"] or OLDEST),
        "end_date": datetime.fromisoformat(schedule["end"]) if schedule["end"] else None,
        "is_paused_upon_creation": schedule["paused"],
        "default_args": {"owner": settings.owner, "pool": settings.pool},
    }


def handed(ti: Any, key: str) -> Any:
    """What the decision says; "" where there is none."""
    found: dict[str, Any] = (ti.xcom_pull(task_ids=NEW_SPAN) or {}).get("decision") or {}
    return found.get(key, "")


def make_policy_dag(plan: Plan, settings: Settings) -> DAG:
    """The DAG that waits for a decision, and starts the run that it asks for."""
    name, seconds = plan.content["name"], settings.look_minutes * 60
    dag = DAG(
        f"{name}-{POLICY}",
        description=f"Decides when {name} runs.",
        doc_md=POLICY_DOC.format(name=name),
        schedule="@continuous",
        catchup=False,
        max_active_runs=1,
        tags=["tfx", POLICY],
        user_defined_macros={"handed": handed, "store_id": store_id},
        **dag_says(plan.content["schedule"], settings),
    )
    wait = {"mode": "reschedule", "poke_interval": seconds, "timeout": timedelta(days=3650)}
    with dag:

        @task.branch(task_id=POLICY)
        def policy(ti: Any = None) -> str:
            """Only a decision for a run has one started."""
            return START if handed(ti, "retrain") is True else NO_RUN

        @task(task_id=NO_RUN)
        def no_run(ti: Any = None) -> Any:
            """Keeps why there is none."""
            return handed(ti, "reason") or "new_span has left no decision"

        start = TriggerDagRunOperator(
            task_id=START,
            trigger_dag_id=name,
            # One of its own for each decision and try: done twice, this starts one run.
            trigger_run_id="{{ handed(ti, 'run_id') }}",
            skip_when_already_exists=True,
            conf={key: f"{{{{ handed(ti, '{key}') }}}}" for key in ("span", "note")},
            retries=3,
            doc_md=f"Starts the run of `{name}`.",
        )
        look = make_task(plan.content["policy"], plan, settings, **wait)
        look >> policy() >> [start, no_run()]
    return dag


chosen = Settings.read()
for each in sorted(Path(chosen.plans).glob(f"*{SUFFIX}")):
    found = Plan.read(each)
    globals()[found.content["name"]] = make_dag(found, chosen)
    if chosen.policy:
        globals()[f"{found.content['name']}-{POLICY}"] = make_policy_dag(found, chosen)
