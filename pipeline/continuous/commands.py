"""The command line of retraining: `python -m pipeline continuous`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.continuous.lease import Lease
    from pipeline.continuous.loop import Loop, Tell
    from pipeline.continuous.observe import Seen
    from pipeline.continuous.runs import Runner

_DESCRIPTION = """\
Watch the data for new spans and retrain when the policy, [continuous] in the configuration, says
so. Each decision is kept in the metadata store, with its numbers and its reason.

Exit code: 0 all is done, 1 something failed, is still arriving, another process is at it, or the
store does not answer: call again, 2 a mistake."""


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
        "--simulate",
        action="store_true",
        help="tell what would be decided now of spans that are ingested; run and keep nothing",
    )
    command.add_argument(
        "--every",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="with --follow: between two looks (default: %(default)g)",
    )
    command.set_defaults(run=_continuous)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return seconds


def _continuous(arguments: argparse.Namespace) -> int:
    from pipeline.continuous.lease import LeaseLost
    from pipeline.errors import UnreachableError, UserError

    try:
        return _watch(arguments)
    except (LeaseLost, UnreachableError) as error:
        print(f"Call again: {error}", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"python -m pipeline continuous: {error}", file=sys.stderr)
        return 2


def _watch(arguments: argparse.Namespace) -> int:
    from pipeline.cluster import secrets
    from pipeline.config_file import DEFAULT, load

    secrets.load()
    config = load(arguments.config or DEFAULT, arguments.set)
    if arguments.simulate:
        from pipeline.continuous.simulate import simulate

        for line in simulate(config, lambda span: observe_apart(config, span)):
            print(line, flush=True)
        return 0
    from pipeline.continuous.challengers import Registered
    from pipeline.continuous.lease import Lease
    from pipeline.continuous.loop import Loop
    from pipeline.continuous.simulate import nothing_there
    from pipeline.continuous.spans import Watch

    words = ["--config", str(arguments.config)] if arguments.config else []
    words += [word for text in arguments.set for word in ("--set", text)]
    runner = _runner(config, words)
    watch = Watch(config, time.monotonic)
    if not watch.look():
        print(f"{nothing_there(config)} yet.", flush=True)
    told: list[str] = []
    say = telling(config)

    def tell(event: str, facts: Mapping[str, str]) -> None:
        told.append(event)
        say(event, facts)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # What stops it gives the lease back.

    def made(lease: Lease) -> Loop:
        return Loop(
            config=config,
            runner=runner,
            observe=lambda span: observe_apart(config, span),
            tell=tell,
            lease=lease,
            watch=watch,
            challengers=Registered(config),
        )

    try:
        if arguments.follow:
            _follow(config, made, arguments.every, tell)
        with Lease(config) as lease:
            settled = _once(made(lease), say)
    except KeyboardInterrupt:
        print("Interrupted: call it again, and it goes on where it was.")
        return 130
    if settled and not told:
        print("Nothing new.")
    return 0 if settled and "failed" not in told else 1


def _once(loop: Loop, tell: Tell) -> bool:
    """What there is to do now; whether nothing is left to come back to soon."""
    from pipeline.continuous.lease import LeaseLost
    from pipeline.errors import UserError

    try:
        return _settled(loop)
    except UserError as error:
        if not isinstance(error, LeaseLost):
            tell("failed", {"failure": str(error), "outcome": "the next call tries again"})
        raise


def _settled(loop: Loop) -> bool:
    settled = loop.step()
    if loop.arriving and not loop.config.continuous.marker:
        _say_arriving(loop)
        time.sleep(loop.config.continuous.rest_seconds)  # What rests meanwhile is complete.
        settled = loop.step()
    if loop.arriving:
        _say_arriving(loop)
    return settled


def _follow(
    config: PipelineConfig, made: Callable[[Lease], Loop], every: float, tell: Tell
) -> NoReturn:
    """Goes on until it is interrupted; a store that is away is waited for, at the begin as well.

    Says of each delivery once that it is waited for.
    """
    from pipeline.continuous.lease import Lease
    from pipeline.errors import UnreachableError

    print(f"Watching {config.data.path} for {config.data.pattern}, every {every:g} s.", flush=True)
    said: set[str] = set()

    def follow(loop: Loop) -> None:
        def pause(seconds: float) -> None:
            _say_arriving(loop, said)
            time.sleep(seconds)

        loop.follow(every, pause)

    while True:
        try:
            with Lease(config) as lease:
                follow(made(lease))
        except UnreachableError as error:
            tell("failed", {"failure": str(error), "outcome": "the next pass tries again"})
        time.sleep(every)


def _say_arriving(loop: Loop, said: set[str] | None = None) -> None:
    """Says what each span waits for; not of those in `said`, to which it adds the others."""
    marker, rest = loop.config.continuous.marker, loop.config.continuous.rest_seconds
    said = set() if said is None else said
    for arrival in loop.arriving:
        if arrival.digest not in said:
            waits = f"for {marker}" if marker else f"until its files have rested for {rest:g} s"
            print(f"Span {arrival.span} waits {waits}.", flush=True)
            said.add(arrival.digest)


def _runner(config: PipelineConfig, words: Sequence[str]) -> Runner:
    """Who carries out the runs; no server of runs is contacted yet.

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
    from pipeline.cluster.kfp_connection import Connection
    from pipeline.runners.kfp_client import KubeflowServer

    reach.check(config)
    Connection(config.kubeflow)  # What signing in lacks is no failure of a run.
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
