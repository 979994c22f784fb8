"""Small tables, as a notebook shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

_LONGEST = 200
_COMMIT = re.compile(r"(?P<short>[0-9a-f]{9})[0-9a-f]{31}(?P<changed>\+?)")


def facts(title: str, content: Mapping[str, Any]) -> str:
    """A table with a line for each fact; what is empty is left out."""
    lines = "".join(
        f"<tr><th style='text-align: left'>{escape(key)}</th>"
        f"<td style='text-align: left'>{_cell(value)}</td></tr>"
        for key, value in content.items()
        if value not in (None, "", ())
    )
    return f"<table><caption>{escape(title)}</caption>{lines}</table>"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with a line for each row, all of which have the same keys."""
    head = "".join(f"<th>{escape(key)}</th>" for key in (rows[0] if rows else ()))
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def moment(time: datetime) -> str:
    """A time as the clock here shows it."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def short(text: str) -> str:
    """A commit as a table has it; any other text as it is."""
    return _COMMIT.sub(r"\g<short>\g<changed>", text) if _COMMIT.fullmatch(text) else text


def number(value: float) -> str:
    """A number with four digits, or all before its point."""
    return f"{value:,.0f}" if 9_999.5 <= abs(value) < 1e15 else f"{value:.4g}"


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return moment(value)
        case float():
            return number(value)
    text = short(str(value))
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …").replace("\n", "<br>")
