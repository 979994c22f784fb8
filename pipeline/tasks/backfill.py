"""Ingests the earlier spans of a run's window, each in a run of its own that ends at the gate.

A span that is refused is told of and left out. What the store has as it is costs no run.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from models import threads
from pipeline import node, provenance
from pipeline.cluster import secrets
from pipeline.errors import UserError
from pipeline.lazy import imports
from pipeline.node import NodeResult, State
from pipeline.parameters import span_parameter


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the module says; 0 if all is there, 1 if a node failed, 2 if it cannot begin."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.tasks.backfill", description=__doc__)
    node.add_arguments(parser)
    parser.add_argument("--spans", type=_spans, required=True, help='as JSON: "[1, 2]"')
    arguments = parser.parse_args(argv)
    sys.argv = sys.argv[:1]  # TFX hands the rest to Abseil's flags.
    if not arguments.spans:
        print("Nothing to make up for: the window has no earlier spans.")
        return 0
    threads.yielding()
    provenance.share(note=arguments.note)
    try:
        secrets.load()
        failed = _backfill(arguments)
    except UserError as error:
        print(f"backfill: {error}", file=sys.stderr)
        return 2
    if failed:
        print(f"backfill: {failed.node_id}: {failed.error}", file=sys.stderr)
    return 1 if failed else 0


def _backfill(arguments: argparse.Namespace) -> NodeResult | None:
    """Runs one span after the other; the node that failed for another reason than its data."""
    from rich.console import Console

    with imports():
        from tfx.orchestration.portable import partial_run_utils

        from pipeline import backfills, launch
        from pipeline.display import PlainDisplay
        from pipeline.runners.local import LocalRunner
        from pipeline.store import connect

    ir = node.given_pipeline(arguments)
    connection = connect.connection_to(arguments.store)
    store = connection.SerializeToString()
    # A process that has asked an object store may not fork, as the runner does.
    with ProcessPoolExecutor(1, get_context("fork")) as apart:
        asked = apart.submit(backfills.needed, connection, ir, arguments.spans, gate=launch.GATE)
        found = asked.result()
    for said in found.refused:
        print(said)
    if not found.due:
        print("Nothing is left to ingest: the store has the earlier spans as they are.")
        return None
    jobs = min(4, os.cpu_count() or 1)
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder, LocalRunner(store=store, jobs=jobs) as runner:
        for span in found.due:
            run_id = launch.backfill_id(arguments.run_id, span)
            bound = node.bind(ir, run_id, span_parameter(span))
            partial_run_utils.mark_pipeline(bound, None, (launch.GATE,))
            display = PlainDisplay(console, f"span {span}")
            logs = Path(folder) / str(span)
            logs.mkdir()
            results = runner.run(bound, functools.partial(_log_file, logs), display=display)
            for result in results:
                text = _log_file(logs, result.node_id).read_text(errors="replace")
                print(f"--- {result.node_id}, span {span}", text, sep="\n")
            failed = next((result for result in results if result.state is State.FAILED), None)
            if failed and not (refused := launch.refusal(span, failed)):
                return failed
            if failed:
                print(refused)
    return None


def _log_file(folder: Path, node_id: str) -> Path:
    return folder / f"{node_id}.log"


def _spans(text: str) -> list[int]:
    try:
        spans = json.loads(text)
    except ValueError:
        spans = None
    if not isinstance(spans, list) or not all(type(span) is int for span in spans):
        raise argparse.ArgumentTypeError(f'{text!r} is no list of spans, as in "[1, 2]"')
    return spans


if __name__ == "__main__":
    sys.exit(main())
