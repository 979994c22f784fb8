"""How the numbers of a CSV file are spelled: what stands before decimals, and between thousands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

_COMMA = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]+)?")
_POINT = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?")


@dataclass(frozen=True)
class NumberStyle:
    """What was found."""

    decimal: str = "."
    thousands: str | None = None
    notes: tuple[str, ...] = ()


def find(names: Sequence[str], rows: Sequence[Sequence[str]], missing: set[str]) -> NumberStyle:
    """The style in which all columns of numbers can be read, if there is one.

    Args:
      names: the columns.
      rows: the file's first rows, as text.
      missing: spellings of a missing value.
    """
    comma, point, either = [], [], []
    for place, name in enumerate(names):
        values = {row[place].strip() for row in rows if place < len(row)} - missing
        if not any("," in value or value.count(".") > 1 for value in values):
            if any("." in value for value in values) and all(map(_POINT.fullmatch, values)):
                point.append((name, values, False))
            continue
        with_comma, with_point = (all(map(style.fullmatch, values)) for style in (_COMMA, _POINT))
        if with_comma and with_point:
            either.append((name, values, True))
        elif with_comma:
            comma.append((name, values, True))
        elif with_point:
            point.append((name, values, True))
    grouped = [column for column in point if column[2]]
    if comma and not point:
        dots = any("." in value for _, values, _ in comma for value in values)
        return NumberStyle(
            ",",
            "." if dots else None,
            (
                f"Numbers have a decimal comma, as in {_shown(comma[0][1])}"
                + (", and points between thousands." if dots else "."),
            ),
        )
    if grouped and not comma:
        return NumberStyle(
            ".", ",", (f"Numbers have commas between thousands, as in {_shown(grouped[0][1])}.",)
        )
    style = NumberStyle()
    for name, values, _ in either:
        note = (
            f"Column {name!r} has values such as {_shown(values)}, in which the comma may stand "
            "before decimals or between thousands: it is read as text. Say --decimal , or "
            "--thousands ,"
        )
        style = replace(style, notes=(*style.notes, note))
    for name, values, _ in comma:
        note = (
            f"Column {name!r} has a decimal comma, as in {_shown(values)}, and {point[0][0]!r} a "
            f"decimal point: {name!r} is read as text. Write all numbers in one way."
        )
        style = replace(style, notes=(*style.notes, note))
    return style


def _shown(values: set[str]) -> str:
    return repr(max(sorted(values), key=lambda value: (value.count(",") + value.count("."), value)))
