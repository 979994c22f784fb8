"""The command line of deploying: `python -m pipeline deploy COMMAND`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.deploy import image_commands
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.cluster.remote import Package, Server, Value
    from pipeline.config import PipelineConfig
    from pipeline.deploy.release import Deployer, Outcome
    from pipeline.store.deployments import Record

CONFIG = Path("configs/flights-kubeflow.toml")
_DESCRIPTION = """\
Bring a commit to work: build its image, compile the package with it, release that to Kubeflow
Pipelines or Vertex AI, check it, take it back. CI calls these commands, and so can you.

Exit code: 0 done or nothing to do, 1 a check failed, 2 a mistake, or the server, the store or a
rule refused: the message says what is at work then."""


def add_commands(commands: Any, configured: argparse.ArgumentParser) -> None:
    """Adds `deploy` and its commands.

    Args:
        commands: What `add_subparsers` of the main parser gave.
        configured: A parser with the options --config and --set.
    """
    deploy = commands.add_parser(
        "deploy",
        help="build, compile, release, check and take back what runs on a cluster",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(required=True, metavar="COMMAND")
    image_commands.add_commands(deploy)

    target, running = (argparse.ArgumentParser(add_help=False) for _ in range(2))
    target.add_argument("--target", choices=("kfp", "vertex"), default="kfp", help="default: kfp")
    running.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the runs: span=3|newest, note=TEXT, force=true; may be repeated",
    )

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        about: str,
        *more: argparse.ArgumentParser,
    ) -> Any:
        command = deploy.add_parser(
            name,
            parents=[configured, target, *more],
            help=about,
            description=f"{about[0].upper()}{about[1:]}. Configuration by default: {CONFIG}.",
        )
        command.set_defaults(run=run)
        return command

    command = add("compile", _compile, "write the package into build/, with the image's digest")
    command.add_argument(
        "--image",
        metavar="REFERENCE|FILE",
        help="image of the tasks by its digest, or build/image.json, which `deploy image` writes "
        "(default: as configured)",
    )
    command.add_argument(
        "--compare",
        type=Path,
        metavar="PACKAGE",
        help="write nothing, but compile as this package was, with its image, and compare",
    )

    command = add("release", _release, "put the package to work that compile has written", running)
    command.add_argument("--run", dest="start", action="store_true", help="start a run of it, too")
    command.add_argument(
        "--force", action="store_true", help="even if a newer commit was deployed, or another line"
    )
    command.add_argument(
        "--allow-dirty", action="store_true", help="even if files were changed since the commit"
    )

    command = add("status", _status, "tell what is deployed, and what was before")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument(
        "--limit", type=_count, default=20, metavar="N", help="how many (default: %(default)s)"
    )

    command = add("smoke", _smoke, "check that what was released is at work, whole and alone")
    command.add_argument(
        "--rollback",
        action="store_true",
        help="roll back where a check fails, or pause the schedule where nothing was before; the "
        "exit code is 1",
    )

    command = add("run", _run, "start a run of what is deployed", running)
    command.add_argument(
        "--if",
        dest="wanted",
        choices=("true", "false"),
        default="true",
        help="false: start none; for CI, whose steps have no conditions",
    )

    command = add("composer", _composer, "put Airflow's DAG and plan into a Composer environment")
    command.add_argument(
        "--folder",
        metavar="gs://BUCKET/dags",
        required=True,
        help="of the environment's DAGs; empty: do nothing, for CI, whose steps have no conditions",
    )
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--image", metavar="REFERENCE|FILE", help="image of the tasks, as `compile` takes it"
    )
    what.add_argument(
        "--commit", metavar="COMMIT", help="once more what was put there of this commit"
    )

    add("policy", _policy, "have [continuous] decide on the server, in the image that is deployed")

    command = add("rollback", _rollback, "put to work again what was deployed before")
    command.add_argument(
        "commit", nargs="?", metavar="COMMIT", help="or what was deployed of this commit"
    )


def _compile(arguments: argparse.Namespace) -> int:
    from pipeline.deploy import package
    from pipeline.deploy.repository import Repository, short

    given = _config_file(arguments), arguments.set
    if arguments.compare:
        same = package.compare(arguments.compare, *given, target=arguments.target)
        print(f"{arguments.compare}: the same bytes ({len(same.text.encode()):,}) come of it here.")
        return 0
    built = package.compile_(
        *given, target=arguments.target, image=arguments.image, commit=Repository().head()
    )
    print(f"Compiled {built.name} of {short(built.commit)} to {built.file}, for {built.target}.")
    print(f"Image: {built.image}")
    print(f"Release it with:\n  {_again(arguments, 'release')}")
    return 0


def _release(arguments: argparse.Namespace) -> int:
    from pipeline.deploy.package import Built

    config, deployer = _deployer(arguments)
    built, package = Built.read(arguments.target)
    parameters = package.parameters(arguments.param)
    outcome = deployer.release(
        built, package, parameters, force=arguments.force, allow_dirty=arguments.allow_dirty
    )
    print(outcome.said)
    if outcome.changed:
        if arguments.start:
            _start(arguments, config, package, parameters)
        print(f"Check it with:\n  {_again(arguments, 'smoke')}")
        print(f"Take it back with:\n  {_again(arguments, 'rollback')}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pipeline.deploy.repository import short
    from pipeline.lineage_tables import pairs, print_json, show, table
    from pipeline.store import deployments

    config = _config(arguments)
    records = _records(config, arguments.target)
    stack = deployments.at_work(records)
    if arguments.json:
        deployed = asdict(stack[0]) if stack else None
        print_json({"deployed": deployed, "deployments": [asdict(r) for r in records]})
        return 0
    if not records:
        print(f"Nothing of {config.name} is deployed for {arguments.target} yet.")
        return 0
    if stack:
        now = stack[0]
        facts = {
            "deployed": f"{now.commit} ({now.action})",
            "since": now.when,
            "by": now.who,
            "version": now.version,
            "server": now.server,
            "image": now.image,
            "package": f"sha256:{now.package_digest}",
            "before": short(stack[1].commit) if len(stack) > 1 else None,
        }
        show(pairs(facts), "")
    rows = [
        {
            "when": record.when,
            "commit": short(record.commit),
            "action": record.action,
            "live": "now" if stack and record.id == stack[0].id else "",
            "outcome": record.outcome,
            "by": record.who,
            "version": record.version,
            "reason": record.reason.partition("\n")[0],
        }
        for record in records[: arguments.limit]
    ]
    show(table(rows))
    return 0


def _smoke(arguments: argparse.Namespace) -> int:
    from pipeline.cluster.remote import Package
    from pipeline.deploy import smoke
    from pipeline.deploy.repository import label, short
    from pipeline.errors import UnreachableError

    config = _config(arguments)
    server = _server(arguments, config)
    now, text = _deployed(config, arguments.target)
    print(f"Deployed: {short(now.commit)}, since {now.when.astimezone():%Y-%m-%d %H:%M:%S}")
    failed = 0
    try:
        for check in smoke.checks(config, server, now, Package(text, label(now.commit))):
            failed += bool(check.fault)
            print(f"{'FAILED' if check.fault else 'ok':6}  {check.what}", flush=True)
            if check.fault:
                print(f"        {check.fault}")
    except UnreachableError as error:
        raise UserError(
            f"{error}\nThe server could not be asked what it has: nothing was rolled back. Repeat "
            "the command once that is mended."
        ) from None
    if failed and arguments.rollback:
        print(_deployer(arguments)[1].rollback(at_work=now).said)
    elif failed:
        print(f"Take it back with:\n  {_again(arguments, 'rollback')}")
    return 1 if failed else 0


def _run(arguments: argparse.Namespace) -> int:
    from pipeline.cluster.remote import Package
    from pipeline.deploy.repository import label

    if arguments.wanted == "false":
        print("No run was asked for: none is started.")
        return 0
    config = _config(arguments)
    now, text = _deployed(config, arguments.target)
    package = Package(text, label(now.commit))
    _start(arguments, config, package, package.parameters(arguments.param))
    return 0


def _composer(arguments: argparse.Namespace) -> int:
    from pipeline.deploy import composer
    from pipeline.deploy.repository import Repository

    if not arguments.folder:
        print("No Composer environment was named: nothing is put there.")
    elif arguments.commit:
        print(composer.put_back(arguments.folder, arguments.commit))
    else:
        given = _config_file(arguments), arguments.set
        head = Repository().head()
        where = {"folder": arguments.folder, "target": arguments.target}
        print(composer.put(*given, image=arguments.image, commit=head, **where))
    return 0


def _policy(arguments: argparse.Namespace) -> int:
    from pipeline.deploy.package import policy

    config = _config(arguments)
    image = _deployed(config, arguments.target)[0].image
    given = _config_file(arguments), arguments.set
    package = policy(*given, target=arguments.target, image=image)
    run = _server(arguments, config, package.name).submit(package, {})
    print(f"Started {package.name}, run {run.id}: {run.link}")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    _, deployer = _deployer(arguments)
    outcome: Outcome = deployer.rollback(arguments.commit)
    print(outcome.said)
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number, as in 20")
    return int(text)


def _config_file(arguments: argparse.Namespace) -> Path:
    from pipeline.config import PROJECT

    return arguments.config or PROJECT / CONFIG


def _config(arguments: argparse.Namespace) -> PipelineConfig:
    from pipeline.config_file import load

    return load(_config_file(arguments), arguments.set)


def _server(
    arguments: argparse.Namespace, config: PipelineConfig, name: str | None = None
) -> Server:
    if arguments.target == "vertex":
        from pipeline.runners.vertex import VertexServer

        return VertexServer(config, name=name)
    from pipeline.runners.kfp_client import KubeflowServer

    return KubeflowServer(config, name=name)


def _deployer(arguments: argparse.Namespace) -> tuple[PipelineConfig, Deployer]:
    from pipeline.deploy.release import Deployer
    from pipeline.deploy.repository import Repository

    config = _config(arguments)
    server = _server(arguments, config)
    return config, Deployer(config, server, arguments.target, Repository())


def _records(config: PipelineConfig, target: str) -> tuple[Record, ...]:
    from pipeline.store import connect, deployments

    connect.share_password_file(config)
    connection = connect.connection_to(config.store_url, mode=connect.READ_ONLY)
    if not connect.exists(connection):
        return ()
    records = deployments.read(connect.opened(connection), config.name)
    return tuple(record for record in records if record.target == target)


def _deployed(config: PipelineConfig, target: str) -> tuple[Record, str]:
    """What is deployed, and the text of its package."""
    from pipeline.deploy.release import deployed
    from pipeline.store import connect, deployments

    now = deployed(_records(config, target), config.name)
    return now, deployments.package_of(connect.existing(config), now.version)


def _start(
    arguments: argparse.Namespace,
    config: PipelineConfig,
    package: Package,
    parameters: Mapping[str, Value],
) -> None:
    try:
        run = _server(arguments, config).submit(package, parameters)
    except UserError as error:
        again = _again(arguments, "run")
        raise UserError(
            f"{error}\nIt is deployed, but no run was started; try:\n  {again}"
        ) from None
    print(f"Started run {run.id}: {run.link}")


def _again(arguments: argparse.Namespace, command: str) -> str:
    """A command for the same configuration and target."""
    words = ["python", "-m", "pipeline", "deploy", command]
    words += ["--config", str(arguments.config)] if arguments.config else []
    words += [word for text in arguments.set for word in ("--set", text)]
    words += ["--target", arguments.target] if arguments.target != "kfp" else []
    return shlex.join(words)
