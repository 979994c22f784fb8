"""The reports' command line: `python -m pipeline report [RUN]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.lineage import Run

NEWEST = "newest"
"""Stands for the newest run, in place of its id."""
MOST = 50
"""Runs whose pages are written where they are missing."""


def add_commands(commands: Any, configured: argparse.ArgumentParser) -> None:
    """Adds `report`.

    Args:
        commands: What `add_subparsers` of the main parser gave.
        configured: A parser with the options --config and --set.
    """
    command = commands.add_parser(
        "report",
        parents=[configured],
        help="write the page of a run, and the page of all runs",
        description="Write the page of a run anew, the pages that other runs lack, and the page of "
        "all runs, below runs/ in the root.",
    )
    command.add_argument(
        "run_id", nargs="?", metavar="RUN", help=f"a run's id, or {NEWEST} (the default)"
    )
    command.add_argument(
        "--all",
        action="store_true",
        help=f"the pages that other runs lack: of all, not of the newest {MOST} alone",
    )
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--open", action="store_true", help="open in the browser: the run that was named, or all"
    )
    how.add_argument(
        "--serve", action="store_true", help="write nothing, but show the pages over HTTP"
    )
    command.add_argument(
        "--port", type=int, default=8090, help="of 127.0.0.1, with --serve (default: %(default)s)"
    )
    command.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    from pipeline import lineage
    from pipeline.config_file import DEFAULT, load
    from pipeline.monitoring import pages as monitoring
    from pipeline.report import index, pages

    config = load(arguments.config or DEFAULT, arguments.set)
    store = lineage.open(config)
    named = arguments.run_id not in (None, NEWEST)
    runs = store.runs()
    asked = [store.run(arguments.run_id)] if named else list(runs[:1])
    if arguments.serve:
        from pipeline.report.server import serve

        shown = [run.id for run in asked] if arguments.run_id else []
        serve(config, port=arguments.port, shown=shown)
        return
    root = config.local_root
    lacking = [run for run in (runs if arguments.all else runs[:MOST]) if _lacks(run, root)]
    for run in dict.fromkeys([*asked, *lacking]):
        page = pages.write(run, root)
        if run in asked:
            print(f"Report: {page}", flush=True)
    there = [run.id for run in runs if Path(pages.place(root, run.id)).is_file()]
    pages.save(pages.of_all(root), index.render(store, there))
    if store.decisions():  # That page links to theirs.
        monitoring.write(config)
    print(f"All runs: {pages.of_all(root)}", flush=True)
    if arguments.open:
        open_page(pages.place(root, arguments.run_id) if named else pages.of_all(root))


def _lacks(run: Run, root: Path) -> bool:
    """Whether a run has no page, or one from before its end."""
    from pipeline.report import pages

    page = Path(pages.place(root, run.id))
    if not page.is_file():
        return True
    last = max((node.changed.timestamp() for node in run.tries), default=0.0)
    return page.stat().st_mtime < last


def open_page(page: str) -> None:
    """Opens a page in the browser, or says that there is none."""
    import webbrowser

    if not webbrowser.open(Path(page).absolute().as_uri()):
        print("There is no browser here: open it in one, or use --serve.", file=sys.stderr)
