"""Compiles the pipeline to a plan for Airflow: `python -m pipeline.runners.airflow --config FILE`.

A plan is a JSON file: each task's module and arguments, what it needs, and what it waits for. The
DAG of deploy/airflow/dags makes tasks of it, and imports nothing of this project.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cluster.task_ids import BACKFILL, FINISH, INIT, NEW_SPAN
from pipeline.errors import UserError

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.cluster_config import ScheduleConfig, TaskSettings
    from pipeline.config import PipelineConfig

FORMAT = 3
"""Of the plan: the DAG refuses another."""
SUFFIX = ".airflow.json"
KEPT = "kept"
"""Beside a plan: the folder of all plans, by their digests, for runs that began with one."""
BUILD = Path("build")
_OUTPUTS = "{outputs}/"
"""What the names of files begin with that a task hands on."""
_PARAMETERS: dict[str, Any] = {"span": "", "note": "", "force": False}


def compile_plan(config: PipelineConfig, parameters: Sequence[str] = ()) -> str:
    """The plan of `config` as JSON; the same text for the same configuration and code.

    Words in braces, such as {span}, stand for what a task learns when it runs. `parameters` are
    defaults of runs, as in span=newest.

    Raises:
      UserError: a parameter or the schedule is nothing that Airflow could do, or a setting is for a
        task that there is not.
    """
    from pipeline.cluster import packed, task_ids
    from pipeline.compiler import compile_pipeline

    ir = compile_pipeline(config)
    task_ids.check(config, ir)
    plan = {
        "format": FORMAT,
        "name": config.name,
        "root": config.pipeline_root,
        "store": config.store_url,
        "config": packed.pack_text(config.model_dump_json().encode()),
        "pipeline": packed.pack(ir),
        "parameters": _PARAMETERS | dict(map(_parameter, parameters)),
        "schedule": _schedule(config.schedule),
        "policy": _policy(config),
        "tasks": _tasks(config, ir),
    }
    return json.dumps(plan, indent=1, ensure_ascii=False) + "\n"


def files(name: str, plan: str) -> dict[str, bytes]:
    """What the DAG reads of a plan: for each file's path the content, in the order to write them.

    `name` is that of the plan's file. The other one lets runs that began with this plan go on with
    it when there is a newer one.
    """
    content = plan.encode()
    return {f"{KEPT}/{hashlib.sha256(content).hexdigest()[:12]}.json": content, name: content}


def _policy(config: PipelineConfig) -> dict[str, Any]:
    """The task that decides whether there is a run, where the DAG is to follow the policy."""
    look = ["--config-gzip", "{config}", *_pipeline(config)]
    look += ["--decision-output", "{outputs}/decision"]
    return _task(config, NEW_SPAN, "pipeline.tasks.decide", look)


def _pipeline(config: PipelineConfig) -> list[str]:
    return ["--ir-gzip", "{pipeline}", "--store", config.store_url, "--run-id", "{run_id}"]


def _tasks(config: PipelineConfig, ir: pipeline_pb2.Pipeline) -> list[dict[str, Any]]:
    """init, backfill and the nodes in the graph's order; finish, whatever came of them."""
    pipeline = _pipeline(config)
    asked = ["--note", "{note}", "--force", "{force}"]
    begin = ["--config-gzip", "{config}", *pipeline, "--span", "{asked_span}", *asked]
    begin += ["--image", "{image}", "--runner", "airflow"]
    begin += ["--span-output", "{outputs}/span", "--backfill-output", "{outputs}/earlier"]
    tasks = [_task(config, INIT, "pipeline.tasks.init", begin)]
    first = INIT
    if config.data.window != 1:
        arguments = [*pipeline, "--spans", "{earlier}", *asked]
        tasks.append(_task(config, BACKFILL, "pipeline.tasks.backfill", arguments, [INIT]))
        first = BACKFILL
    for node in (entry.pipeline_node for entry in ir.nodes):
        node_id = node.node_info.id
        arguments = ["--node-id", node_id, *pipeline, "--span", "{span}", *asked]
        needed = list(node.upstream_nodes) or [first]
        tasks.append(_task(config, node_id, "pipeline.node", arguments, needed))
    webhook = config.kubeflow.webhook
    arguments = [*pipeline, *(["--webhook", webhook] if webhook else [])]
    everything = [task["id"] for task in tasks]
    return [*tasks, _task(config, FINISH, "pipeline.tasks.finish", arguments, everything)]


def _task(
    config: PipelineConfig,
    task_id: str,
    module: str,
    arguments: Sequence[str],
    needed: Sequence[str] = (),
) -> dict[str, Any]:
    from pipeline.store.connect import PASSWORD_FILE_VARIABLE

    settings = config.tasks.of(task_id)
    environment = dict(settings.environment)
    if config.store.password_file:
        environment[PASSWORD_FILE_VARIABLE] = config.store.password_file
    return {
        "id": task_id,
        "module": module,
        "arguments": list(arguments),
        "outputs": [w.removeprefix(_OUTPUTS) for w in arguments if w.startswith(_OUTPUTS)],
        "needs": sorted(needed),
        "retries": settings.retries.model_dump() if settings.retries else None,
        "timeout_seconds": settings.timeout_seconds,
        "environment": environment,
        "pod": _pod(config, settings, environment),
    }


def _pod(
    config: PipelineConfig, settings: TaskSettings, environment: Mapping[str, str]
) -> dict[str, Any]:
    """The task's pod as Kubernetes has it, without its command, for tasks that run in pods."""
    requests = {"cpu": settings.cpu, "memory": settings.memory}
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    if settings.accelerator:
        limits[settings.accelerator] = str(settings.accelerator_count)
    secrets = {name: key.partition("/")[::2] for name, key in settings.secrets.items()}
    container = {
        "name": "base",  # so does Airflow's operator call the one that it waits for
        "image": settings.image,
        "env": [
            *({"name": name, "value": value} for name, value in environment.items()),
            *(
                {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
                for name, (secret, key) in secrets.items()
            ),
        ],
        "resources": {
            "requests": {key: value for key, value in requests.items() if value},
            "limits": {key: value for key, value in limits.items() if value},
        },
        "volumeMounts": [
            {"name": claim, "mountPath": path} for claim, path in settings.volumes.items()
        ],
    }
    spec = {
        "serviceAccountName": config.kubeflow.service_account,
        "imagePullSecrets": [{"name": name} for name in config.tasks.image_pull_secrets],
        "nodeSelector": settings.node_selector,
        "tolerations": [taint.model_dump(exclude_none=True) for taint in settings.tolerations],
        "volumes": [
            {"name": claim, "persistentVolumeClaim": {"claimName": claim}}
            for claim in settings.volumes
        ],
        "containers": [container],
    }
    metadata = {"namespace": config.kubeflow.namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _schedule(schedule: ScheduleConfig) -> dict[str, Any]:
    """The schedule, its cron of five fields."""
    from pipeline.cluster.remote import moment

    found = schedule.model_dump()
    for key in ("start", "end"):
        when = moment(found[key], f"schedule.{key}", timezone=schedule.timezone)
        found[key] = when.isoformat() if when else None
    if schedule.cron and len(fields := schedule.cron.split()) == 6:
        if fields[0] not in ("0", "00"):
            raise UserError(
                f"schedule.cron is {schedule.cron!r}: Airflow starts no run within a minute; leave "
                "out the seconds, which come first"
            )
        found["cron"] = " ".join(fields[1:])
    if schedule.catch_up and not schedule.start:
        raise UserError(
            "schedule.catch_up is true without schedule.start: Airflow would make up for every run "
            "since its oldest date; say from when on"
        )
    return found


def _parameter(text: str) -> tuple[str, Any]:
    name, given, value = text.partition("=")
    if not given or name not in _PARAMETERS:
        raise UserError(f"--param {text}: expected NAME=VALUE with one of {', '.join(_PARAMETERS)}")
    if name == "span" and value not in ("", "newest") and not value.isdecimal():
        raise UserError(f"--param {text}: expected a whole number, as in span=4, or span=newest")
    if name != "force":
        return name, value
    if value not in ("true", "false"):
        raise UserError(f"--param {text}: expected force=true or force=false")
    return name, value == "true"


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the plan; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.runners.airflow",
        description="Write the pipeline as a plan, of which Airflow's DAG makes its tasks.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, metavar="FILE", help="TOML file")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    add(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="default of runs: span=3|newest, note=TEXT, force=true; may be repeated",
    )
    add("--output", type=Path, metavar="FILE", help=f"default: {BUILD}/NAME{SUFFIX}")
    arguments = parser.parse_args(argv)
    sys.argv = sys.argv[:1]  # TFX hands the rest to Abseil's flags.
    try:
        from pipeline.config_file import load
        from pipeline.quiet import errors_to

        config = load(arguments.config, arguments.set)
        file = arguments.output or BUILD / f"{config.name}{SUFFIX}"
        if not file.name.endswith(SUFFIX):
            raise UserError(f"--output {file}: the DAG looks for files that end in {SUFFIX}")
        BUILD.mkdir(exist_ok=True)
        with errors_to(BUILD / "compile.log"):
            text = compile_plan(config, arguments.param)
        for path, content in files(file.name, text).items():
            target = file.parent / path
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_name(f".{target.name}.new")
            fresh.write_bytes(content)
            fresh.replace(target)
    except UserError as error:
        print(f"pipeline.runners.airflow: {error}", file=sys.stderr)
        return 2
    count = len(json.loads(text)["tasks"])
    print(f"Compiled {config.name} to {file}: {count} tasks, {len(text.encode()):,} bytes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
