"""What the lineage's commands print: tables for a person, JSON for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_TIME, _DATE, _GAP = "begun", 10, 2
"""The column of times, the width of their date, and that between two columns."""
_NUMBERS = {"id", "seconds", "span"}
"""The columns that are aligned to the right."""
_WHOLE = _NUMBERS | {"run", "node", "state", _TIME, "commit", "champion", "live", "section"}
"""The columns that a narrow terminal does not break."""
_WIDE = 1000
"""The width of a file's or a pipe's lines, which are left whole."""
_NARROW = 5
"""The width that a column needs at least whose cells may be broken."""
_STYLES = {"failed": "red", "running": "yellow", "cached": "dim", "now": "bold"}
"""How a line looks by its state, or by whether its model is live."""


def show(*content: RenderableType) -> None:
    """Prints texts and tables."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    told = [Text(one) if isinstance(one, str) else one for one in content]
    if sys.stdout.isatty():  # Whose lines are broken inside a cell.
        terminal = Console(highlight=False)
        for one in told:
            if isinstance(one, Table):
                fit(one, terminal.width)
        terminal.print(*told, sep="\n")
        return
    plain = Console(highlight=False, width=_WIDE)
    with plain.capture() as lines:
        plain.print(*told, sep="\n")
    print("\n".join(line.rstrip() for line in lines.get().splitlines()))


def print_json(content: object) -> None:
    """Prints JSON, with times in the ISO's format."""

    def plain(value: object) -> object:
        return value.isoformat() if isinstance(value, datetime) else str(value)

    print(json.dumps(content, indent=2, ensure_ascii=False, default=plain))


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each row, all of which have the same keys."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for column in rows[0] if rows else ():
        align: Literal["left", "right"] = "right" if column in _NUMBERS else "left"
        made.add_column(column, justify=align, no_wrap=column in _WHOLE, overflow="fold")
    for row in rows:
        style = _STYLES.get(str(row.get("state") or row.get("live")), "")
        made.add_row(*(Text(_words(value, key)) for key, value in row.items()), style=style)
    return made


def fit(table: Table, width: int) -> None:
    """Where whole columns leave no room, times are broken, or else all: nothing is cut."""
    if _needed(table) > width:
        for column in table.columns:
            if column.header == _TIME:
                column.no_wrap, column.width = False, _DATE
    if _needed(table) > width:
        for column in table.columns:
            column.no_wrap, column.width = False, None


def _needed(table: Table) -> int:
    """The width with which no column is broken that should not be."""
    widths = [
        column.width
        or max(
            len(str(column.header)),
            *([len(str(cell)) for cell in column.cells] if column.no_wrap else [_NARROW]),
        )
        for column in table.columns
    ]
    return sum(widths) + _GAP * (len(widths) - 1)


def pairs(facts: Mapping[str, Any]) -> Table:
    """A line for each fact; what is empty is left out."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2, 0, 0))
    for key, value in facts.items():
        if words := _words(value, key):
            made.add_row(Text(key, "bold"), Text(words))
    return made


def _words(value: object, key: str) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        case float():
            from pipeline.lineage.html import number

            return f"{value:,.1f}" if key == "seconds" else number(value)
        case list() | tuple():
            return ", ".join(map(str, value))
    return str(value)
