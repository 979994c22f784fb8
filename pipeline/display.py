"""Shows a run as it goes: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.node import NodeResult, State

Progress = tuple[int, int | None, str]

_STYLES = {
    State.COMPLETE: "green",
    State.CACHED: "cyan",
    State.RESUMED: "cyan",
    State.FAILED: "bold red",
}


class Display(Protocol):
    """What a runner tells about the nodes of one graph."""

    def begin(self, node_ids: list[str]) -> None:
        """These nodes are to be run, in topological order."""

    def started(self, node_id: str) -> None:
        """The node is at work."""

    def at_work(self, node_id: str, progress: Progress | None) -> None:
        """The node is so far: (done, total, unit), where it says."""

    def ended(self, result: NodeResult) -> None:
        """The node is at its end."""

    def refresh(self) -> None:
        """Called a few times a second."""

    def end(self) -> None:
        """No node is at work any more."""


def rate(progress: Progress, seconds: float) -> str:
    """Progress in words, as in "12,000 of 54,000 rows, 8,300 a second"."""
    done, total, unit = progress
    of = f" of {total:,}" if total else ""
    speed = f", {done / seconds:,.0f} a second" if seconds > 0.5 else ""
    return f"{done:,}{of} {unit}{speed}"


class PlainDisplay:
    """A line when a node starts and one when it ends."""

    def __init__(self, console: Console, title: str = "") -> None:
        """Writes to `console`; `title` stands before each node."""
        self._console = console
        self._prefix = f"{title}  " if title else ""

    def begin(self, node_ids: list[str]) -> None:
        """Nothing to say yet."""

    def started(self, node_id: str) -> None:
        """Says so."""
        self._print(f"{node_id} started")

    def at_work(self, node_id: str, progress: Progress | None) -> None:
        """Too much for plain lines."""

    def ended(self, result: NodeResult) -> None:
        """Says how, and how long it took."""
        self._print(f"{result.node_id} {result.state} in {result.seconds:.1f} s")

    def refresh(self) -> None:
        """Lines stay as they are."""

    def end(self) -> None:
        """Nothing more to say."""

    def _print(self, line: str) -> None:
        self._console.print(self._prefix + line, highlight=False, markup=False)


@dataclass
class _Row:
    state: State | None = None
    started: float | None = None
    seconds: float = 0.0
    progress: Progress | None = None


class LiveDisplay:
    """A table of the nodes that is redrawn in place.

    It starts no thread, since the process that shows it forks.
    """

    def __init__(self, console: Console, title: str = "") -> None:
        """Draws on `console`; `title` stands above the table."""
        self._title = title
        self._rows: dict[str, _Row] = {}
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    def begin(self, node_ids: list[str]) -> None:
        """Draws the table for the first time."""
        self._rows = {node_id: _Row() for node_id in node_ids}
        self._live.start()
        self.refresh()

    def started(self, node_id: str) -> None:
        """Starts the node's clock."""
        self._rows[node_id].started = time.monotonic()

    def at_work(self, node_id: str, progress: Progress | None) -> None:
        """Keeps the newest word of the node."""
        self._rows[node_id].progress = progress or self._rows[node_id].progress

    def ended(self, result: NodeResult) -> None:
        """Stops the node's clock."""
        row = self._rows[result.node_id]
        row.state, row.seconds = result.state, result.seconds

    def refresh(self) -> None:
        """Draws the table anew."""
        self._live.update(self._table(), refresh=True)

    def end(self) -> None:
        """Leaves the table on the screen as it is."""
        self.refresh()
        self._live.stop()

    def _table(self) -> Table:
        table = Table(
            title=self._title or None, title_justify="left", box=None, padding=(0, 2, 0, 0)
        )
        table.add_column("node", min_width=18)
        table.add_column("state", min_width=8)
        table.add_column("time", justify="right", min_width=7)
        table.add_column("")
        for node_id, row in self._rows.items():
            table.add_row(node_id, *self._cells(row))
        return table

    def _cells(self, row: _Row) -> tuple[Text, str, Text]:
        if row.state is not None:
            detail = ""
            if row.progress and row.state is State.COMPLETE:
                done, _, unit = row.progress
                detail = f"{done:,} {unit}"
            state = Text(row.state, style=_STYLES[row.state])
            return state, f"{row.seconds:.1f} s", Text(detail, style="dim")
        if row.started is None:
            return Text("waiting", style="dim"), "", Text()
        seconds = time.monotonic() - row.started
        detail = rate(row.progress, seconds) if row.progress else ""
        return Text("running", style="yellow"), f"{seconds:.1f} s", Text(detail, style="dim")
