"""Writes the history of a pipeline below its root: a page, a table, and text for Prometheus."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pipeline.config import PipelineConfig
from pipeline.lineage.decision import COLUMNS, Decisions
from pipeline.monitoring import history, prometheus
from pipeline.monitoring.history import History
from pipeline.report import pages

if TYPE_CHECKING:
    from pipeline.lineage import Run

PAGE_FILE, TABLE_FILE, METRICS_FILE = "index.html", "history.csv", "metrics.prom"


def place(config: PipelineConfig) -> str:
    """The folder of the files on this machine, beside that of the runs' pages."""
    return f"{config.local_root}/monitoring"


def write(config: PipelineConfig) -> History:
    """Writes all of them, beside a root in a bucket too, each whole or not at all; what they tell.

    Raises:
      UserError: there is no store, it cannot be reached, or nothing can be written.
    """
    found = history.read(config)
    texts = {
        PAGE_FILE: rendered(found),
        TABLE_FILE: table(found.decisions),
        METRICS_FILE: prometheus.render(found),
    }
    # What a pod writes on its own disk goes with it.
    for folder in dict.fromkeys([place(config), f"{config.pipeline_root}/monitoring"]):
        for name, text in texts.items():
            pages.save(f"{folder}/{name}", text)
    return found


def refresh(config: PipelineConfig) -> None:
    """The same for a loop that goes on, whatever goes wrong here: that is told in a line."""
    try:
        write(config)
    except Exception as error:
        print(f"the page of monitoring is not written: {error}", file=sys.stderr, flush=True)


def rendered(found: History, runs: Collection[str] | None = None) -> str:
    """The page; the runs are linked to their pages that there are, or that `runs` names."""
    from pipeline.monitoring import page

    if runs is not None:
        links = {run: _below_runs(run) for run in runs}
    else:
        started = {one.run_id: one.run for one in found.decisions if one.run_id}
        all_links = ((name, _link(found, name, run)) for name, run in started.items())
        links = {name: link for name, link in all_links if link}
    return page.render(found, links)


def _below_runs(run_id: str) -> str:
    return f"../runs/{quote(run_id, safe='')}/{pages.PAGE_FILE}"


def _link(found: History, run_id: str, run: Run | None) -> str:
    """From this page to a run's: the one that was asked for, or its artifact; empty without one."""
    root = found.config.local_root
    if Path(pages.place(root, run_id)).is_file():
        return _below_runs(run_id)
    for report in run.outputs("Report") if run else ():
        place = Path(report.uri) / pages.REPORT_FILE
        if place.is_relative_to(root) and place.is_file():
            return f"../{quote(place.relative_to(root).as_posix())}"
    return ""


def table(decisions: Decisions) -> str:
    """CSV with a line for each decision, the oldest first; times in ISO 8601."""
    rows = decisions.records()[::-1]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "when": row["when"].isoformat()} for row in rows)
    return text.getvalue()
