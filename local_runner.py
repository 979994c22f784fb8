#!/usr/bin/env python
"""Runs the pipeline on this machine."""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.parameters import NEWEST, of_span


def parser() -> argparse.ArgumentParser:
    """The command line: its options."""
    top = argparse.ArgumentParser(
        prog="local_runner.py",
        description="Run the pipeline on this machine.",
        epilog="Unchanged nodes are taken from the cache. Exit code: 0 done, 1 a node failed, "
        "2 a mistake in the configuration or the command, 130 interrupted.",
    )
    add = top.add_argument
    add("--config", type=Path, metavar="FILE", help="TOML file (default: configs/flights.toml)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting, as in --set data.window=2; may be repeated",
    )
    add(
        "--span",
        type=_span,
        metavar="N|newest",
        help="newest span to train on, in place of data.span; newest: the newest that is there",
    )
    add("--only", metavar="NODE", help="run this node alone, on what earlier runs made")
    add("--from", dest="from_node", metavar="NODE", help="run this node and what follows it")
    add("--to", dest="to_node", metavar="NODE", help="run this node and what leads to it")
    add("--no-cache", action="store_true", help="run nodes even where nothing changed")
    add("--resume", action="store_true", help="go on with the newest run, which did not end")
    add("--note", default="", metavar="TEXT", help="words to keep with the models of this run")
    add("--jobs", type=int, metavar="N", help="nodes at once, in place of run.jobs")
    add("--plain", action="store_true", help="plain lines instead of a live table")
    return top


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for on the command line."""
    command_line = parser()
    arguments = command_line.parse_args(argv)
    if arguments.only and (arguments.from_node or arguments.to_node):
        command_line.error("--only stands alone: it is --from NODE --to NODE for the same node")
    if arguments.jobs is not None and arguments.jobs < 1:
        command_line.error("--jobs must be 1 or more")
    return arguments


def _span(text: str) -> int | str:
    if text != NEWEST and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a span's number nor {NEWEST!r}")
    return text if text == NEWEST else int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline; the exit code."""
    arguments = parse(argv)
    try:
        return run(arguments)
    except UserError as error:
        print(f"local_runner.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nInterrupted. Go on with:\n  {command(arguments, resume=True)}", file=sys.stderr)
        return 130


def run(arguments: argparse.Namespace) -> int:
    """Does what the command line says; 0 if every node is complete, else 1."""
    from pipeline.config_file import DEFAULT, load

    overrides = list(arguments.set)
    if arguments.span not in (None, NEWEST):
        overrides.append(f"data.span={arguments.span}")
    if arguments.no_cache:
        overrides.append("run.cache=false")
    configured = load(arguments.config or DEFAULT, overrides)
    if arguments.span == NEWEST:
        configured = of_span(configured, None)

    from rich.console import Console
    from rich.text import Text

    from models import threads
    from pipeline import provenance, runs, unchanged
    from pipeline.files.storage import is_remote
    from pipeline.frameworks import installed
    from pipeline.lazy import imports
    from pipeline.quiet import errors_to

    console = Console(highlight=False)
    config, left_out = installed(configured)
    if left_out:
        console.print(left_out, soft_wrap=True, markup=False)
    root = config.local_root
    whole = not (arguments.only or arguments.from_node or arguments.to_node)
    with runs.only_one(root):
        if whole and not arguments.resume and (before := unchanged.repeated(config)):
            console.print(f"Nothing changed since run {before.id}: its result stands.")
            console.print("(--no-cache runs all the same)")
            console.print(Text.from_ansi(before.summary_file.read_text()), soft_wrap=True)
            return 0
        inputs = unchanged.inputs(config) if whole and not arguments.resume else None
        this_run = runs.unfinished(root) if arguments.resume else runs.new(root)
        begin = time.time()
        provenance.share(note=arguments.note)
        threads.yielding()
        console.print("Loading TensorFlow and TFX …")
        with imports(), errors_to(this_run.log_file(this_run.id, "start")):
            from pipeline import metadata, summary, timeline
            from pipeline.display import LiveDisplay, PlainDisplay
            from pipeline.launch import Launch, refusal
            from pipeline.runners.local import LocalRunner

            connection = metadata.connection(config)
            metadata.create_tables(connection)
            try:
                launch = Launch(
                    config,
                    run=this_run,
                    connection=connection,
                    from_nodes=[n for n in (arguments.only or arguments.from_node,) if n],
                    to_nodes=[n for n in (arguments.only or arguments.to_node,) if n],
                )
            except UserError:
                if not arguments.resume:
                    this_run.discard()
                raise
        launch.begin(note=arguments.note)
        live = console.is_terminal and not arguments.plain
        jobs = arguments.jobs or config.run.jobs or min(4, os.cpu_count() or 1)
        bars: list[timeline.Bar] = []
        # Clients of object stores, which this process may have used by now, survive no fork.
        locations = config.pipeline_root, config.data_folder, config.data.schema_file or ""
        remote = any(map(is_remote, locations))
        for said in launch.refused:
            console.print(said, soft_wrap=True, markup=False)
        with LocalRunner(
            store=connection.SerializeToString(), jobs=jobs, fork=not remote
        ) as runner:
            for part in launch.parts:
                title = f"{config.name}, span {part.span}"
                title += ": run" if part.run_id == this_run.id else ": backfill"
                display = LiveDisplay(console, title) if live else PlainDisplay(console, title)
                done = launch.execute(part, functools.partial(runner.run, display=display))
                bars += [timeline.Bar.of(part.run_id, r, begin=begin) for r in done.results]
                this_run.write(finished=False, nodes=[bar.facts() for bar in bars])
                is_backfill = part is not launch.parts[-1]
                if done.failed and is_backfill and (refused := refusal(part.span, done.failed)):
                    console.print(refused, soft_wrap=True, markup=False)
                elif done.failed:
                    launch.end(done.failed)
                    log = this_run.log_file(done.run_id, done.failed.node_id)
                    summary.print_failure(
                        console,
                        done.failed,
                        log=log,
                        page=summary.written_page(config, this_run.id),
                        again=command(arguments),
                        resume=command(arguments, resume=True),
                    )
                    return 1
        launch.end()
        this_run.timeline_file.write_text(timeline.picture(bars, f"{config.name} {this_run.id}"))
        text = summary.summary(
            config,
            connection,
            run=this_run,
            bars=bars,
            seconds=time.time() - begin,
            predict=[_python(), "-m", "pipeline", "predict", *config_arguments(arguments)],
            width=console.width,
        )
        this_run.summary_file.write_text(text)
        this_run.write(
            finished=True,
            nodes=[bar.facts() for bar in bars],
            inputs=inputs,
            outcome=unchanged.outcome(config),
        )
        console.print(Text.from_ansi(text), soft_wrap=True)
    return 0


def _python() -> str:
    """This interpreter, as one would type it here."""
    executable, here = Path(sys.executable), Path.cwd()
    return str(executable.relative_to(here)) if executable.is_relative_to(here) else "python"


def config_arguments(arguments: argparse.Namespace) -> list[str]:
    """The words of the command line that lead to the same configuration."""
    words = ["--config", str(arguments.config)] if arguments.config else []
    return words + [word for text in arguments.set for word in ("--set", text)]


def command(arguments: argparse.Namespace, *, resume: bool = False) -> str:
    """The command that does what `arguments` say once more, or goes on with it."""
    words = [_python(), "local_runner.py", *config_arguments(arguments)]
    for option, value in (
        ("--span", arguments.span),
        ("--only", arguments.only),
        ("--from", arguments.from_node),
        ("--to", arguments.to_node),
    ):
        words += [option, str(value)] if value is not None else []
    words += ["--note", arguments.note] if arguments.note else []
    words += ["--no-cache"] if arguments.no_cache else []
    return shlex.join([*words, "--resume"] if resume else words)


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # Taking TensorFlow down takes half a second, and there is nothing to save.
