"""The command line of retraining: `python -m pipeline continuous`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.continuous.observe import Seen
    from pipeline.continuous.runs import Runner

_DESCRIPTION = """\
Watch the data for new spans and retrain when the policy, [continuous] in the configuration, says
so. Each decision is kept in the metadata store, with its numbers and its reason.

Exit code: 0 all is done, 1 something failed, is still arriving, or another process is at it: call
again, 2 a mistake."""


def add_commands(commands: Any, configured: argparse.ArgumentParser) -> None:
    """Adds `continuous`.

    Args:
      commands: what `add_subparsers` of the main parser gave.
      configured: a parser with the options --config and --set.
    """
    command = commands.add_parser(
        "continuous",
        parents=[configured],
        help="retrain when new data makes it worth while",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    how = command.add_mutually_exclusive_group(required=True)
    how.add_argument("--once", action="store_true", help="do what is to be done now, and end")
    how.add_argument("--follow", action="store_true", help="go on until interrupted")
    how.add_argument(
        "--simulate", action="store_true", help="tell what would be decided; run and keep nothing"
    )
    command.add_argument(
        "--every",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="with --follow: between two looks (default: %(default)g)",
    )
    command.set_defaults(run=_continuous)


def _continuous(arguments: argparse.Namespace) -> int:
    from pipeline.continuous.lease import LeaseLost

    try:
        return _watch(arguments)
    except LeaseLost as lost:
        print(f"python -m pipeline: {lost}", file=sys.stderr)
        return 1


def _watch(arguments: argparse.Namespace) -> int:
    from pipeline.cluster import secrets
    from pipeline.config_file import DEFAULT, load

    secrets.load()
    config = load(arguments.config or DEFAULT, arguments.set)
    if arguments.simulate:
        return _simulate(config)
    from pipeline.continuous.challengers import Registered
    from pipeline.continuous.lease import Lease
    from pipeline.continuous.loop import Loop
    from pipeline.continuous.spans import Watch

    words = ["--config", str(arguments.config)] if arguments.config else []
    words += [word for text in arguments.set for word in ("--set", text)]
    runner = _runner(config, words)
    failures: list[Mapping[str, str]] = []
    say = telling(config)

    def tell(event: str, facts: Mapping[str, str]) -> None:
        failures.extend([facts] if event == "failed" else [])
        say(event, facts)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # What stops it gives the lease back.
    with Lease(config) as lease:
        loop = Loop(
            config=config,
            runner=runner,
            observe=lambda span: observe_apart(config, span),
            tell=tell,
            lease=lease,
            watch=Watch(config, time.monotonic),
            challengers=Registered(config),
        )
        try:
            if arguments.follow:
                loop.follow(arguments.every)
            settled = loop.step()
            if not settled and not config.continuous.marker:
                time.sleep(config.continuous.rest_seconds)  # What rests meanwhile is complete.
                settled = loop.step()
        except KeyboardInterrupt:
            print("Interrupted: call it again, and it goes on where it was.")
            return 130
    return 0 if settled and not failures else 1


def _runner(config: PipelineConfig, words: Sequence[str]) -> Runner:
    """Who carries out the runs; nobody is contacted yet.

    Raises:
      UserError: the configuration has what would keep them from their work.
    """
    from pipeline.continuous.runs import LocalRuns

    here = LocalRuns(config, words)
    if config.continuous.runner == "local":
        return here
    from pipeline.cluster import reach
    from pipeline.continuous.cluster_runs import ClusterRuns, compiler

    if config.continuous.runner == "vertex":
        from pipeline.runners.vertex import VertexServer

        reach.check(config, "vertex")
        vertex = VertexServer(config)
        return ClusterRuns(config, lambda: vertex, here, compiler("vertex"))
    from pipeline.runners.kfp_client import KubeflowServer

    reach.check(config)
    return ClusterRuns(config, lambda: KubeflowServer(config), here, compiler("kfp"))


def telling(config: PipelineConfig) -> Callable[[str, Mapping[str, str]], None]:
    """Who is told what happens: the terminal, the history's pages, the webhook if there is one."""
    from pipeline.monitoring import pages
    from pipeline.tasks import finish

    webhook = os.environ.get(finish.WEBHOOK_VARIABLE) or config.continuous.webhook

    def tell(event: str, facts: Mapping[str, str]) -> None:
        print(f"{time.strftime('%H:%M:%S')} {_line(event, facts)}", flush=True)
        pages.refresh(config)
        if webhook and event != "decided":
            finish.tell(webhook, {"pipeline": config.name, "event": event, **facts})

    return tell


def observe_apart(config: PipelineConfig, span: int) -> Seen:
    """Looks at a span in a process of its own, so that TensorFlow does not stay in this one."""
    from pipeline.continuous.apart import apart

    return apart(_observe, config, span, doing=f"looked at span {span}")


def _observe(config: PipelineConfig, span: int) -> Seen:
    from pipeline.continuous.observe import observe
    from pipeline.quiet import errors_to

    with errors_to(Path(os.devnull)):  # What libraries say of the machine.
        return observe(config, span)


def _line(event: str, facts: Mapping[str, str]) -> str:
    words = [facts.get("reason", ""), facts.get("failure", ""), facts.get("outcome", "")]
    about = f"decision {facts['decision']}: " if "decision" in facts else ""
    return f"{event}: {about}{' '.join(word for word in words if word)}"


def _simulate(config: PipelineConfig) -> int:
    """Says of each span that is there what the policy would, with the model that is live now."""
    from pipeline.continuous.policy import Policy
    from pipeline.continuous.spans import Watch
    from pipeline.errors import UserError

    arrivals = Watch(config, time.monotonic).look()
    if not arrivals:
        raise UserError(
            f"{config.data.path}: no file of any span matches {config.data.pattern} (data.pattern)"
        )
    for arrival in arrivals:
        try:
            seen = observe_apart(config, arrival.span)
        except UserError as error:
            print(f"Span {arrival.span}: it would be ingested and looked at first ({error}).")
            continue
        decision = Policy(config.continuous).decide(seen.observation)
        print(decision.reason)
        for found in decision.findings:
            print(f"  {'*' if found.holds else ' '} {found.rule}: {found.words}")
    return 0
