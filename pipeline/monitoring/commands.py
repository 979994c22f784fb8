"""The command line of monitoring: `python -m pipeline monitor`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.evaluate_config import Metric
    from pipeline.lineage.observed import Estimate
    from pipeline.monitoring.history import Line

_STDOUT = "-"


def add_commands(commands: Any, configured: argparse.ArgumentParser) -> None:
    """Adds `monitor`.

    Args:
      commands: what `add_subparsers` of the main parser gave.
      configured: a parser with the options --config and --set.
    """
    command = commands.add_parser(
        "monitor",
        parents=[configured],
        help="show how the pipeline that retrains by itself is doing",
        description="Show each span with its rows and drift, the live model's score on it, the "
        "verdict and what is live since; and write the page of it, a CSV and a text for Prometheus "
        "below monitoring/ in the root.",
    )
    how = command.add_mutually_exclusive_group()
    how.add_argument("--open", action="store_true", help="open the page in the browser")
    how.add_argument("--json", action="store_true", help="print JSON instead, and write nothing")
    how.add_argument(
        "--csv", metavar="FILE", help=f"write the CSV there alone; {_STDOUT} for standard output"
    )
    how.add_argument(
        "--prometheus", metavar="FILE", help=f"write the text there alone; {_STDOUT} likewise"
    )
    command.set_defaults(run=_monitor)


def _monitor(arguments: argparse.Namespace) -> None:
    from pipeline.config_file import DEFAULT, load
    from pipeline.lineage_tables import print_json, show
    from pipeline.lineage_tables import table as drawn
    from pipeline.monitoring import history, pages, prometheus
    from pipeline.report import commands

    config = load(arguments.config or DEFAULT, arguments.set)
    if arguments.json:
        print_json([line.facts() for line in history.read(config).lines])
    elif arguments.csv:
        _save(arguments.csv, pages.table(history.read(config).decisions))
    elif arguments.prometheus:
        _save(arguments.prometheus, prometheus.render(history.read(config)))
    else:
        found = pages.write(config)
        rows = [_row(line, config.select.metric) for line in found.lines]
        show(drawn(rows) if rows else "Nothing is decided yet: python -m pipeline continuous does.")
        page = f"{pages.place(config)}/{pages.PAGE_FILE}"
        print(f"Page: {page}", flush=True)
        if arguments.open:
            commands.open_page(page)


def _row(line: Line, metric: Metric) -> dict[str, Any]:
    """What the table says of a span."""
    seen = line.seen
    moved = ", ".join(
        f"{one.column} {one.distance:.2f}" for one in (seen.moved if seen else ())[:3]
    )
    others = line.challenger_scores
    verdict = line.newest.verdict
    return {
        "span": line.span,
        "arrived": line.arrived,
        "rows": seen.rows if seen else None,
        "drifted": f"{len(seen.moved)}{moved and f': {moved}'}" if seen and seen.distances else "",
        "live": seen.live_version if seen else "",
        f"live {metric}": _words(metric, line.scores.get(metric)),
        f"challenger {metric}": metric.words(others[metric].value) if metric in others else "",
        "verdict": verdict
        if line.newest.state == "complete"
        else f"{verdict} ({line.newest.state})",
        "live after": line.live_after or "",
        "why": line.newest.failure or ("" if seen else line.newest.reason),
    }


def _words(metric: Metric, score: Estimate | None) -> str:
    if score is None:
        return ""
    value, low, high = (metric.words(one) for one in (score.value, score.low, score.high))
    return f"{value} ({low} to {high})"


def _save(file: str, text: str) -> None:
    from pipeline.errors import UserError
    from pipeline.report import pages

    if file == _STDOUT:
        sys.stdout.write(text)
        return
    place = Path(file).absolute()
    if not place.parent.is_dir() or place.is_dir():
        raise UserError(f"{file}: expected the name of a file in a folder that is there")
    pages.save(str(place), text)
