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

_NUMBERS = {"id", "seconds", "span"}
"""The columns that are aligned to the right."""
_WHOLE = _NUMBERS | {"run", "node", "state", "commit", "champion", "live", "section"}
"""The columns that a narrow terminal does not break."""
_STYLES = {"failed": "red", "running": "yellow", "cached": "dim", "now": "bold"}
"""How a line looks by its state, or by whether its model is live."""


def show(*content: RenderableType) -> None:
    """Prints texts and tables."""
    from rich.console import Console
    from rich.text import Text

    # A terminal's lines are broken inside a cell; a file's or a pipe's are left whole.
    width = None if sys.stdout.isatty() else 1000
    console = Console(highlight=False, width=width)
    for one in content:
        console.print(Text(one) if isinstance(one, str) else one)


def print_json(content: object) -> None:
    """Prints JSON, with times in the ISO's format."""

    def plain(value: object) -> object:
        return value.isoformat() if isinstance(value, datetime) else str(value)

    print(json.dumps(content, indent=2, ensure_ascii=False, default=plain))


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each row, all of which have the same keys."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, 2, 0, 0))
    for column in rows[0] if rows else ():
        align: Literal["left", "right"] = "right" if column in _NUMBERS else "left"
        made.add_column(column, justify=align, no_wrap=column in _WHOLE)
    for row in rows:
        style = _STYLES.get(str(row.get("state") or row.get("live")), "")
        made.add_row(*(Text(_words(value, key)) for key, value in row.items()), style=style)
    return made


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
            return f"{value:,.1f}" if key == "seconds" else f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(str, value))
    return str(value)
