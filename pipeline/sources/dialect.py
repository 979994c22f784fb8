"""How a CSV file is written: its delimiter, its quotes and its header, told by its first rows."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass

from pipeline.errors import UserError

_CANDIDATES = (",", ";", "\t", "|")
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", "'": "an apostrophe"}
_ROWS = 500
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
_YEAR = re.compile(r"(19|20)[0-9]{2}")


@dataclass(frozen=True)
class Dialect:
    """What was found."""

    delimiter: str
    quote: str
    notes: tuple[str, ...]
    rows: list[list[str]]
    """The header and the rows that were looked at."""


def find(
    file: str, text: str, *, delimiter: str | None, quote: str | None, complete: bool
) -> Dialect:
    """The dialect of a CSV file that begins with `text`.

    Args:
      file: its name, for messages.
      text: its begin, decoded.
      delimiter: if it is known.
      quote: if it is known.
      complete: whether `text` is the whole file.

    Raises:
      UserError: the text is no table with several columns and a header.
    """
    _check_kind(file, text)
    notes = []
    quote_found = quote or _quote(text)
    if quote is None and quote_found != '"':
        notes.append("Values are quoted by apostrophes (').")
    rows_of = {
        candidate: _rows(text, candidate, quote_found, complete)
        for candidate in ((delimiter,) if delimiter else _CANDIDATES)
    }
    best = max(rows_of, key=lambda candidate: _evenness(rows_of[candidate]))
    rows = rows_of[best]
    _check_rows(file, rows, best)
    if delimiter is None and best != ",":
        notes.append(f"Values are separated by {_NAMES[best]}.")
    check_header(file, rows[0], rows[1:])
    return Dialect(best, quote_found, tuple(notes), rows)


def _check_kind(file: str, text: str) -> None:
    begin = text.lstrip()
    if not begin:
        raise UserError(f"{file} is empty, expected a header and rows.")
    if begin.startswith(("{", "[")):
        raise UserError(
            f"{file} is JSON, expected CSV or Parquet. Convert it, in Python: pandas.read_json("
            f"{file!r}, lines={begin.startswith('{')}).to_parquet('rows.parquet')"
        )
    if re.match(r"<(\?xml|!doctype|html|table)", begin, re.IGNORECASE):
        raise UserError(
            f"{file} is a web page or XML, expected CSV or Parquet: it may be the page of an error "
            "that was saved in the place of the data. Download it again."
        )


def _quote(text: str) -> str:
    """What stands around values: an apostrophe only where it does so often, and quotes never."""
    if '"' in text:
        return '"'
    opening = len(re.findall(r"(?:^|[,;\t|])'[^'\n]*'(?=[,;\t|\r\n]|$)", text, re.MULTILINE))
    return "'" if opening > text.count("'") // 4 and opening > text.count("\n") // 2 else '"'


def _rows(text: str, delimiter: str, quote: str, complete: bool) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote)
    rows = []
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > _ROWS:
                break
    except csv.Error:  # A value that is too long: what a quote that is never closed makes.
        complete = False
    # The last row may be cut.
    return rows if complete or len(rows) < 2 else rows[:-1]


def _evenness(rows: list[list[str]]) -> tuple[float, int]:
    """How many rows have as many values as most, if these are several; then how many values."""
    (values, count), *_ = Counter(map(len, rows)).most_common(1)
    if values == 1:
        return 0.0, 1
    return round(count / len(rows), 1), values


def _check_rows(file: str, rows: list[list[str]], delimiter: str) -> None:
    usual = Counter(map(len, rows)).most_common(1)[0][0]
    if usual == 1:
        words, count = Counter(len(row[0].split()) for row in rows).most_common(1)[0]
        hint = (
            " Its values seem to be separated by blanks: write commas in their place."
            if words > 1 and count > 0.9 * len(rows)
            else ""
        )
        raise UserError(
            f"{file} has one column, {rows[0][0][:60]!r}, and a table for learning needs two: what "
            f"is to be predicted, and what from.{hint} Expected values separated by a comma, a "
            "semicolon, a tab or a bar; say --delimiter if it is another."
        )
    if len(rows[0]) != usual and len(rows[0]) == 1:
        raise UserError(
            f"{file}, row 1: {rows[0][0][:60]!r} stands alone, and most rows below have {usual} "
            "values. The first row must be the header: remove what stands above it."
        )
    if len(rows[0]) != usual and all(len(row) == usual for row in rows[1:]) and rows[1:]:
        trailing = all(row[-1] == "" for row in rows[1:]) and len(rows[0]) == usual - 1
        why = (
            f" Each ends with the delimiter ({delimiter!r}): let the header do so as well, or "
            "remove it."
            if trailing
            else " Name each column once, and no more."
        )
        raise UserError(
            f"{file}: the header names {len(rows[0])} columns, and the rows have {usual} "
            f"values.{why}"
        )


def check_header(file: str, names: list[str], rows: list[list[str]]) -> None:
    """Sees to it that the first row names the columns.

    Raises:
      UserError: it seems to be a row of data, or names a column twice.
    """
    names = [name.strip() for name in names]
    for name, times in Counter(filter(None, names)).items():
        if times > 1:
            if _is_data(names, rows):
                break
            raise UserError(
                f"{file} has the column {name!r} {times} times, expected once. "
                "Rename or remove the others."
            )
    if _is_data(names, rows):
        shown = ", ".join(name if len(name) < 20 else f"{name[:20]}…" for name in names[:6])
        raise UserError(
            f"{file}: the first row ({shown}{', …' if len(names) > 6 else ''}) looks like data, "
            "expected the names of the columns. Write a header above it."
        )
    if not any(names):
        raise UserError(f"{file}: the header names no column. Write a name above each column.")


def _is_data(names: list[str], rows: list[list[str]]) -> bool:
    """Whether the first row has a number where a name should be.

    Years are names, and so are numbers in a row, which pandas gives to columns without a name.
    """
    numbers = [name for name in names if _NUMBER.fullmatch(name)]
    if not numbers or all(map(_YEAR.fullmatch, numbers)):
        return False
    whole = [int(number) for number in numbers if number.isdigit()]
    if len(whole) == len(numbers) and whole in (
        list(range(len(whole))),
        list(range(1, len(whole) + 1)),
    ):
        return False
    places = [place for place, name in enumerate(names) if _NUMBER.fullmatch(name)]
    below = [row[place] for row in rows for place in places if place < len(row) and row[place]]
    return not below or sum(bool(_NUMBER.fullmatch(value)) for value in below) > len(below) / 2
