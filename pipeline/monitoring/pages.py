"""Writes the history of a pipeline below its root: a page, a table, and text for Prometheus."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Collection
from pathlib import Path

from pipeline.config import PipelineConfig
from pipeline.lineage.decision import COLUMNS, Decisions
from pipeline.monitoring import history, prometheus
from pipeline.monitoring.history import History
from pipeline.report import pages

PAGE_FILE, TABLE_FILE, METRICS_FILE = "index.html", "history.csv", "metrics.prom"


def place(config: PipelineConfig) -> str:
    """The folder of the files, beside that of the runs' pages."""
    return f"{config.local_root}/monitoring"


def write(config: PipelineConfig) -> History:
    """Writes all of them, each whole or not at all; what they tell.

    Raises:
      UserError: there is no store, it cannot be reached, or nothing can be written.
    """
    found = history.read(config)
    folder = place(config)
    pages.save(f"{folder}/{PAGE_FILE}", rendered(found))
    pages.save(f"{folder}/{TABLE_FILE}", table(found.decisions))
    pages.save(f"{folder}/{METRICS_FILE}", prometheus.render(found))
    return found


def refresh(config: PipelineConfig) -> None:
    """The same for a loop that goes on, whatever goes wrong here: that is told in a line."""
    try:
        write(config)
    except Exception as error:
        print(f"the page of monitoring is not written: {error}", file=sys.stderr, flush=True)


def rendered(found: History, runs: Collection[str] | None = None) -> str:
    """The page; the runs are linked to their pages that have one, or that `runs` names."""
    from pipeline.monitoring import page

    if runs is None:
        root = found.config.local_root
        started = {one.run_id for one in found.decisions if one.run_id}
        runs = [one for one in started if Path(pages.place(root, one)).is_file()]
    return page.render(found, runs)


def table(decisions: Decisions) -> str:
    """CSV with a line for each decision, the oldest first; times in ISO 8601."""
    rows = decisions.records()[::-1]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "when": row["when"].isoformat()} for row in rows)
    return text.getvalue()
