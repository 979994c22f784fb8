#!/usr/bin/env python
"""Compiles the pipeline for Kubeflow or Vertex AI, and starts, schedules and watches runs."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.cluster.remote import Package, RemoteRun, Server, Value
    from pipeline.config import PipelineConfig

CONFIG = Path("configs/flights-kubeflow.toml")
BUILD = Path("build")


def parser() -> argparse.ArgumentParser:
    """The command line: its options."""
    top = argparse.ArgumentParser(
        prog="kubeflow_runner.py",
        description="Run the pipeline on Kubeflow Pipelines or on Vertex AI.",
        epilog="Exit code: 0 done, 1 a run or a task failed, 2 a mistake in the configuration or "
        "the command, or the server refused, 130 interrupted.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common, compiled, sent = (argparse.ArgumentParser(add_help=False) for _ in range(3))

    add = common.add_argument
    add("--config", type=Path, metavar="FILE", help=f"TOML file (default: {CONFIG})")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    add("--target", choices=("kfp", "vertex"), default="kfp", help="default: kfp")
    add(
        "--pipeline",
        choices=("nodes", "train-only", "continuous", "tfx"),
        default="nodes",
        help="nodes (default): a container for each node; train-only: no TFX, each framework "
        "trains in its own image; continuous: the policy, which starts runs of nodes where that "
        "helps (its schedule: continuous.look_cron); tfx: what TFX's own runner makes of it, for "
        "Vertex",
    )

    compiled.add_argument(
        "--output", type=Path, metavar="FILE", help=f"the package (default: {BUILD}/NAME.yaml)"
    )
    for each in (sent, running := argparse.ArgumentParser(add_help=False)):
        each.add_argument(
            "--param",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="parameter of the run: span=3|newest, note=TEXT, force=true; may be repeated",
        )
    sent.add_argument(
        "--dry-run", action="store_true", help="say what would be sent, and contact nothing"
    )

    def command(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=list(parents))

    command("compile", "Write the package: the pipeline as a YAML file.", common, compiled)
    command("submit", "Start a run.", common, compiled, sent)
    schedule = command(
        "schedule", "Have runs start by themselves, as [schedule] says.", common, compiled, sent
    )
    instead = schedule.add_mutually_exclusive_group()
    for option, text in (
        ("pause", "have the schedule start nothing for now"),
        ("resume", "have it start runs again"),
        ("delete", "delete it; its runs stay"),
    ):
        instead.add_argument(
            f"--{option}", dest="instead", action="store_const", const=option, help=text
        )
    status = command("status", "Tell of the last runs, or of one and its tasks.", common)
    status.add_argument("run", nargs="?", metavar="RUN", help="its id")
    cancel = command("cancel", "End a run.", common)
    cancel.add_argument("run", metavar="RUN", help="its id")
    local = command("run-local", "Run a package here, each task a process.", running)
    local.add_argument("package", type=Path, metavar="PACKAGE", help="what compile wrote")
    local.add_argument("--jobs", type=int, metavar="N", help="tasks at once")
    local.add_argument("--run-id", metavar="ID", help="go on with this run, which did not end")

    return top


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for on the command line."""
    command_line = parser()
    arguments = command_line.parse_args(argv)
    if getattr(arguments, "pipeline", "") == "tfx" and arguments.target != "vertex":
        command_line.error(
            "--pipeline tfx is for --target vertex: Kubeflow runs no resolver of TFX's"
        )
    if getattr(arguments, "instead", None) and arguments.dry_run:
        command_line.error(f"--{arguments.instead} sends no package: there is nothing to dry-run")
    if getattr(arguments, "jobs", None) is not None and arguments.jobs < 1:
        command_line.error("--jobs must be 1 or more")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line says; the exit code."""
    arguments = parse(argv)
    try:
        return {
            "compile": compile_,
            "submit": submit,
            "schedule": schedule,
            "status": status,
            "cancel": cancel,
            "run-local": run_local,
        }[arguments.command](arguments)
    except UserError as error:
        print(f"kubeflow_runner.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def compile_(arguments: argparse.Namespace) -> int:
    """Writes the package."""
    config = _config(arguments)
    package, problems = _compiled(arguments, config)
    _written(arguments, package)
    for problem in problems:
        print(f"Warning: {problem}.")
    print(f"Start a run of it with:\n  {_again(arguments, 'submit')}")
    if arguments.pipeline != "tfx":  # whose tasks take what Vertex hands them
        here = _command("run-local", str(_file(arguments, package)))
        print(f"Try it on this machine with:\n  {here}")
    return 0


def submit(arguments: argparse.Namespace) -> int:
    """Starts a run."""
    config = _config(arguments)
    server = _server(arguments, config)
    package, values = _to_send(arguments, config)
    if arguments.dry_run:
        return _say_plan("start a run", server.plan(package, values))
    run = server.submit(package, values)
    print(f"Started run {run.id}: {run.link}")
    print(f"See how it is doing with:\n  {_again(arguments, 'status', run.id)}")
    return 0


def schedule(arguments: argparse.Namespace) -> int:
    """Makes, changes, pauses, resumes or deletes the schedule."""
    config = _config(arguments)
    server = _server(arguments, config)
    if arguments.instead:
        does = {"pause": server.pause, "resume": server.resume, "delete": server.unschedule}
        print(does[arguments.instead]())
        return 0
    package, values = _to_send(arguments, config)
    if arguments.dry_run:
        return _say_plan("schedule runs", server.schedule_plan(package, values))
    print(server.schedule(package, values))
    print(f"See its runs with:\n  {_again(arguments, 'status')}")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Tells of the last runs, or of one: 1 if that failed."""
    server = _server(arguments, _config(arguments))
    if arguments.run is None:
        runs = server.runs()
        _print_table([("RUN", "STATE", "STARTED")] + [(r.id, r.state, r.created) for r in runs])
        if runs:
            print(f"See one with its tasks:\n  {_again(arguments, 'status', runs[0].id)}")
        else:
            print(f"There is none yet; start one with:\n  {_again(arguments, 'submit')}")
        return 0
    run = server.run(arguments.run)
    _print_run(run)
    return 1 if run.state == "FAILED" else 0


def cancel(arguments: argparse.Namespace) -> int:
    """Ends a run."""
    _server(arguments, _config(arguments)).cancel(arguments.run)
    print(f"Run {arguments.run} is being ended. See it with:")
    print(f"  {_again(arguments, 'status', arguments.run)}")
    return 0


def run_local(arguments: argparse.Namespace) -> int:
    """Runs a package on this machine; 1 if a task failed."""
    from datetime import datetime

    from pipeline.cluster.remote import Package
    from pipeline.runners.subprocesses import State, TaskResult, run_package

    file: Path = arguments.package
    if not file.is_file():
        raise UserError(f"there is no package {file}; `kubeflow_runner.py compile` writes it.")
    values = Package.read(file).parameters(arguments.param)
    run_id = arguments.run_id or f"{datetime.now():%Y%m%d-%H%M%S}"
    folder = BUILD / "runs" / run_id
    print(f"{'TASK':30} {'STATE':10} {'SECONDS':>8}  TRIES")

    def report(task: TaskResult) -> None:
        if task.state in (State.SUCCEEDED, State.FAILED, State.SKIPPED):
            print(f"{task.name:30} {task.state:10} {task.seconds:8.1f}  {task.tries}", flush=True)
            if task.error:
                print(f"  {task.error} (log: {task.log})", flush=True)

    jobs = arguments.jobs or min(4, os.cpu_count() or 1)
    outcome = run_package(file, values, folder=folder, jobs=jobs, run_id=run_id, report=report)
    if outcome.succeeded:
        print(f"Run {run_id} succeeded; its logs: {folder / 'logs'}")
        return 0
    words = [word for text in arguments.param for word in ("--param", text)]
    words += ["--jobs", str(arguments.jobs)] if arguments.jobs else []
    print(f"Go on with:\n  {_command('run-local', str(file), '--run-id', run_id, *words)}")
    return 130 if outcome.interrupted else 1


def _config_file(arguments: argparse.Namespace) -> Path:
    from pipeline.config import PROJECT

    return arguments.config or PROJECT / CONFIG


def _config(arguments: argparse.Namespace) -> PipelineConfig:
    from pipeline.cluster_config import ScheduleConfig
    from pipeline.config_file import load

    config = load(_config_file(arguments), arguments.set)
    if arguments.pipeline == "continuous":
        policy = config.continuous
        look = ScheduleConfig(cron=policy.look_cron, timezone=policy.timezone)
        return config.model_copy(update={"schedule": look})
    return config


def _server(arguments: argparse.Namespace, config: PipelineConfig) -> Server:
    apart = arguments.pipeline in ("train-only", "continuous")
    name = f"{config.name}-{arguments.pipeline}" if apart else config.name
    if arguments.target == "vertex":
        from pipeline.runners.vertex import VertexServer

        return VertexServer(config, name=name)
    from pipeline.runners.kfp_client import KubeflowServer

    return KubeflowServer(config, name=name)


def _compiled(arguments: argparse.Namespace, config: PipelineConfig) -> tuple[Package, list[str]]:
    """The package, and what would keep its tasks from their work."""
    from pipeline.cluster import reach
    from pipeline.cluster.remote import Package
    from pipeline.quiet import errors_to

    BUILD.mkdir(exist_ok=True)
    with errors_to(BUILD / "compile.log"):
        if arguments.pipeline == "tfx":
            from pipeline.runners import tfx_package

            return Package(tfx_package.compile_package(config)), []
        if arguments.pipeline == "train-only":
            from pipeline.runners import train_only

            return Package(train_only.compile_package(config, target=arguments.target)), []
        problems = reach.problems(config, arguments.target)
        if arguments.pipeline == "continuous":
            from pipeline.runners import policy_task

            given = _config_file(arguments), arguments.set
            text = policy_task.compile_package(config, *given, target=arguments.target)
            return Package(text), problems
        from pipeline.runners import kubeflow

        text = kubeflow.compile_package(config, target=arguments.target)
        return Package(text), problems


def _to_send(
    arguments: argparse.Namespace, config: PipelineConfig
) -> tuple[Package, dict[str, Value]]:
    """The package and the run's parameters.

    Raises:
        UserError: if a parameter is wrong, or the tasks could not do their work.
    """
    package, problems = _compiled(arguments, config)
    values = package.parameters(arguments.param)
    if problems:
        raise UserError("the run would fail: " + "; ".join(problems) + ".")
    if arguments.pipeline == "tfx":
        from pipeline import parameters

        # TFX's runner hands the parameter to ExampleGen as it is.
        if not str(values["span"]).isdecimal():
            raise UserError(f"--param span={values['span']}: with --pipeline tfx, name its number.")
        values |= parameters.span_parameter(int(values["span"]))
    _written(arguments, package)
    return package, values


def _file(arguments: argparse.Namespace, package: Package) -> Path:
    return arguments.output or BUILD / f"{package.name}.yaml"


def _written(arguments: argparse.Namespace, package: Package) -> None:
    file = _file(arguments, package)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(package.text, encoding="utf-8")
    size = len(package.text.encode())
    print(f"Compiled {package.name} to {file}: {len(package.tasks)} tasks, {size:,} bytes.")


def _say_plan(doing: str, plan: dict[str, object]) -> int:
    print(f"Would {doing}; nothing was sent:")
    _print_table([(f"  {key}", str(value)) for key, value in plan.items()])
    return 0


def _print_run(run: RemoteRun) -> None:
    print(f"{run.name}: {run.state}\n{run.link}")
    _print_table([("TASK", "STATE")] + [(task.name, task.state) for task in run.tasks])
    failed = [task for task in run.tasks if task.state == "FAILED"]
    for task in failed:
        print(f"{task.name} failed{': ' if task.error else ''}{task.error}")
    if run.error and not failed:
        print(run.error)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _again(arguments: argparse.Namespace, command: str, *words: str) -> str:
    """A command for the same configuration and target."""
    options = ["--config", str(arguments.config)] if arguments.config else []
    options += [word for text in arguments.set for word in ("--set", text)]
    options += ["--target", arguments.target] if arguments.target != "kfp" else []
    options += ["--pipeline", arguments.pipeline] if arguments.pipeline != "nodes" else []
    return _command(command, *words, *options)


def _command(*words: str) -> str:
    executable, here = Path(sys.executable), Path.cwd()
    python = str(executable.relative_to(here)) if executable.is_relative_to(here) else "python"
    return shlex.join([python, "kubeflow_runner.py", *words])


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # Taking TensorFlow down takes half a second, and there is nothing to save.
