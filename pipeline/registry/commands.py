"""The registry's command line: `python -m pipeline registry COMMAND`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.registry.live import Move

_DESCRIPTION = """\
Show the models that were registered in MLflow, and decide which of them is live.

The version with the alias "champion" is live; "challenger" waits for approval
(register.approval = "manual") or for its trial on the next span ("shadow"). Another version goes
live with its alias, its folder in the serving folder and its record in the metadata store, or not
at all."""


def add_commands(commands: Any, configured: argparse.ArgumentParser) -> None:
    """Adds `registry` and its commands.

    Args:
        commands: What `add_subparsers` of the main parser gave.
        configured: A parser with the options --config and --set.
    """
    registry = commands.add_parser(
        "registry",
        help="show the registered models, make another one live",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], None], about: str) -> Any:
        command = registry.add_parser(
            name, parents=[configured], help=about, description=f"{about[0].upper()}{about[1:]}."
        )
        command.set_defaults(run=run)
        return command

    add("list", _list, "list all versions, the newest first")
    command = add("show", _show, "show what is known of a version, and where it comes from")
    command.add_argument("version", metavar="VERSION", help="its number, champion or challenger")
    command = add("approve", _approve, "make a version the live model")
    command.add_argument(
        "version", nargs="?", metavar="VERSION", help="its number (default: the challenger)"
    )
    command = add("reject", _reject, "let the challenger wait no longer; it stays registered")
    command.add_argument(
        "version", nargs="?", metavar="VERSION", help="its number (default: the challenger)"
    )
    command = add("rollback", _rollback, "make an earlier version the live model again")
    command.add_argument(
        "version",
        nargs="?",
        metavar="VERSION",
        help="its number (default: the newest that was live before the champion)",
    )
    add("sync", _sync, "tell MLflow of the runs that it could not be told of")
    command = add("ui", _ui, "open MLflow's pages on the project's own store")
    command.add_argument("--port", type=int, default=5000, help="of 127.0.0.1 (default: 5000)")


def _config(arguments: argparse.Namespace) -> PipelineConfig:
    from pipeline.config_file import DEFAULT, load

    return load(arguments.config or DEFAULT, arguments.set)


def _list(arguments: argparse.Namespace) -> None:
    from pipeline.registry import show
    from pipeline.registry.versions import Registry

    config = _config(arguments)
    registry = Registry.open(config)
    show.print_list(registry, config)


def _show(arguments: argparse.Namespace) -> None:
    from pipeline.registry import show
    from pipeline.registry.versions import Registry

    registry = Registry.open(_config(arguments))
    lineage = shlex.join(["python", "-m", "pipeline", "lineage", *_options(arguments)])
    show.print_version(registry, registry.find(arguments.version), lineage=lineage)


def _approve(arguments: argparse.Namespace) -> None:
    from pipeline.registry.live import approve

    _print_move(approve(_config(arguments), arguments.version))


def _reject(arguments: argparse.Namespace) -> None:
    from pipeline.registry.live import reject

    print(f"Rejected: {reject(_config(arguments), arguments.version)}")


def _rollback(arguments: argparse.Namespace) -> None:
    from pipeline.registry.live import rollback

    _print_move(rollback(_config(arguments), arguments.version))


def _sync(arguments: argparse.Namespace) -> None:
    from pipeline.errors import UserError
    from pipeline.registry.live import exclusive
    from pipeline.registry.waiting import sync

    config = _config(arguments)
    with exclusive(config):
        told = sync(config)
    if not told:
        print("Nothing waits: MLflow was told of every run.")
    for one in told:
        if one.outcome is not None:
            version = one.outcome.model_version
            print(f"Run {one.run}: {len(one.outcome.runs)} trainings", end="")
            print(f", {one.outcome.model_name} version {version}" if version else "")
    failed = [f"{one.run}: {one.error}" for one in told if one.outcome is None]
    if failed:
        raise UserError("\n".join(["not told of:", *failed]))


def _ui(arguments: argparse.Namespace) -> None:
    """Becomes MLflow's server; a server elsewhere has pages of its own."""
    from custom_components.registrar.tracking import Destination
    from pipeline.errors import UserError

    destination = Destination.of(_config(arguments))
    if destination.database is None:
        print(f"MLflow's pages: {destination.tracking_uri}")
        return
    if not destination.database.is_file():
        raise UserError(
            f"{destination.database}: MLflow was told of no run yet; run the pipeline first"
        )
    print(f"MLflow's pages: http://127.0.0.1:{arguments.port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(arguments.port), "--backend-store-uri", destination.tracking_uri]
    command += ["--default-artifact-root", str(destination.artifacts)]
    bin_folder = Path(sys.executable).parent  # The server starts uvicorn by its name.
    path = os.pathsep.join([str(bin_folder), os.environ.get("PATH", "")])
    os.execve(sys.executable, command, os.environ | {"PATH": path})


def _print_move(move: Move) -> None:
    instead = f" in place of {move.before}" if move.before else ""
    print(f"Live: {move.version}{instead}")
    print(f"Model: {move.push.destination}")


def _options(arguments: argparse.Namespace) -> list[str]:
    config = ["--config", str(arguments.config)] if arguments.config else []
    return config + [word for setting in arguments.set for word in ("--set", setting)]
