"""What kind of column this is, and what becomes of it: rules, each with its reason in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.init import dates, values
from pipeline.init.dates import DateFormat

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


class Kind(StrEnum):
    """What a column holds."""

    NUMBER = "number"
    CATEGORY = "category"
    BOOLEAN = "boolean"
    DATE = "date"
    TEXT = "text"
    IDENTIFIER = "identifier"
    CONSTANT = "constant"


@dataclass(frozen=True)
class Guess:
    """A column's kind, why, and the list of [features] that it goes into."""

    kind: Kind
    why: str
    role: str = "keep"
    setting: Any = None
    """The value, where the list is a table: a period, a number of places, a `DateFormat`."""
    note: str = ""
    """Of a category: why it is one, at the end of `why`."""

    @property
    def is_read(self) -> bool:
        """Whether the pipeline reads the column at all."""
        return self.role != "drop"

    @property
    def is_used(self) -> bool:
        """Whether something is predicted from it."""
        return self.role not in ("keep", "drop")


_ID = re.compile(
    r"(^|[_\W])(id|uuid|guid|key|index|rownames|rowid|row|number|no|nr)$|Id$|ID$", re.A
)
_ID_PART = re.compile(r"(^|[_\W])(id|uuid|guid)([_\W]|$)|[a-z]I[dD]$", re.A)
_CODE = re.compile(
    r"(^|[_\W])(zip|zipcode|postal|postcode|plz|code|cd|class|category|zone|region|district|tract"
    r"|area|cluster|sector|segment|store|shop|dept|department)([_\W]|$)|(zip|code|_?type)$"
)
_UUID = r"^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$"
_CYCLES = (
    (re.compile(r"(^|[_\W])minute_?of_?day$"), 0, 1439, 1440),
    (re.compile(r"(^|[_\W])(hour|hours|hr)([_\W]|$)|[a-z]Hour$"), 0, 24, 24),
    (re.compile(r"(^|[_\W])(minute)([_\W]|$)"), 0, 59, 60),
    (re.compile(r"(^|[_\W])(month|mon|mnth)$"), 1, 12, 12),
    (re.compile(r"(^|[_\W])(weekday|dow|day_?of_?week|wday|dayofweek|start_day)$"), 0, 7, 7),
    (re.compile(r"(^|[_\W])(day_?of_?year|yday|doy)$"), 0, 366, 365.25),
    (re.compile(r"(^|[_\W])(dir|direction|heading|bearing|azimuth|aspect|angle)$"), 0, 360, 360),
)
_FEW, _MANY = 30, 100
_ROWS_PER_VALUE = 10
_BY_NAME = ", codes, by its name"


def guess(name: str, column: pa.Array, label: NDArray[np.float64] | None) -> Guess:
    """The kind of a column, from a sample.

    Args:
        name: Its name.
        column: Its values, plain.
        label: The label of the same rows as a number, to tell codes from quantities; None where it
            is not one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = column.drop_null()
    if not len(known):
        return Guess(Kind.CONSTANT, "no value in any row")
    unique = pc.unique(known)
    if len(unique) == 1 and 0.005 < len(known) / len(column) < 0.995:
        is_float = pa.types.is_floating(column.type)
        role = "numeric" if is_float else "categorical"
        return Guess(Kind.BOOLEAN, f"{values.shown(unique[0].as_py())} or nothing", role)
    if len(unique) == 1:
        return Guess(Kind.CONSTANT, f"{values.shown(unique[0].as_py())} in every row that has one")
    if pair := (len(unique) == 2 and values.boolean_pair(map(str, unique.to_pylist()))):
        is_text = pa.types.is_string(column.type)
        role = "categorical" if is_text else "numeric"
        return Guess(Kind.BOOLEAN, f"two values, {pair[0]} and {pair[1]}", role)
    if (form := dates.format_of(unique, name)) is not None:
        return _date(form, unique)
    if pa.types.is_string(column.type) and not _mostly_numbers(known):
        return _text_or_category(name, known, unique)
    return _number(name, column, unique, label)


def as_category(rows: int, distinct: int, note: str = "", *, folds: bool = False) -> Guess:
    """How a column of categories is best put, by how many there are.

    Args:
        rows: How many have a value.
        distinct: How many values there are.
        note: Why it is a category.
        folds: Whether all rows judge in turn: then none is put by the label's mean, but each value
            by itself.
    """
    per_value = rows / max(1, distinct)
    if distinct <= _FEW or (distinct <= _MANY and per_value >= _ROWS_PER_VALUE):
        return Guess(Kind.CATEGORY, f"{distinct} values{note}", "categorical", note=note)
    if per_value >= (5 if folds else 2):
        why = f"{distinct:,} values, about {per_value:,.0f} rows each{note}"
        role = "categorical" if folds else "target_encoded"
        return Guess(Kind.CATEGORY, why, role, note=note)
    places = min(1024, max(16, 1 << (distinct // 2).bit_length()))
    why = f"{distinct:,} values, too few rows for each{note}"
    return Guess(Kind.CATEGORY, why, "hashed", places, note)


def as_text(known: pa.Array) -> Guess:
    """How a column of texts is best put, by how many there are."""
    words, rows = mean_words(known), len(known)
    size = 64 if rows < 2000 else 256
    return Guess(Kind.TEXT, f"{words:.0f} words on average", "text", {"size": size})


def _cycle(name: str, known: NDArray[np.float64]) -> Guess | None:
    low, high = float(known.min()), float(known.max())
    for pattern, first, last, period in _CYCLES:
        enough = high > 0.7 * last if last != 7 else high in (6, 7)
        if pattern.search(name.lower()) and first <= low and high <= last and enough:
            why = f"{low:g} to {high:g}, goes round, by its name"
            return Guess(Kind.NUMBER, why, "cyclical", period)
    return None


def as_number(known: NDArray[np.float64]) -> Guess:
    """How a column of numbers is best put, by their range and tail."""
    import numpy as np

    low, high = float(known.min()), float(known.max())
    whole = bool(np.all(known == np.round(known)))
    figures = f"{values.figure(low)} to {values.figure(high)}"
    size = np.abs(known)
    middle, tail = np.quantile(size, [0.5, 0.99])
    are_years = (size[size > 0].min(initial=np.inf)) > 1800 and high < 2100
    if high > 100 and tail > 20 * max(middle, 1.0) and not are_years:
        why = f"{values.figure(low)} to {values.figure(high)}, half of them up to "
        why += f"{values.figure(float(f'{middle:.3g}'))}: a long tail"
        return Guess(Kind.NUMBER, why, "log")
    return Guess(Kind.NUMBER, f"{'whole ' if whole else ''}{figures}", "numeric")


def mean_words(known: pa.Array) -> float:
    """How many words the texts have on average."""
    import pyarrow.compute as pc

    return float(pc.mean(pc.add(pc.count_substring_regex(known, r"\S\s+\S"), 1)).as_py() or 0)


def _date(form: DateFormat, unique: pa.Array) -> Guess:
    if len(unique) == 1:
        return Guess(Kind.CONSTANT, "one date in every row")
    return Guess(Kind.DATE, f"dates {form}", "dates", dates.with_clock(form, unique))


def _mostly_numbers(known: pa.Array) -> bool:
    """Whether all but a twentieth of the texts are numbers."""
    import pyarrow.compute as pc

    return bool((pc.mean(values.is_number(known).cast("int8")).as_py() or 0) >= 0.95)


def _text_or_category(name: str, known: pa.Array, unique: pa.Array) -> Guess:
    import pyarrow.compute as pc

    rows, distinct = len(known), len(unique)
    words, mostly_unique = mean_words(known), distinct > 0.5 * rows
    if pc.all(pc.match_substring_regex(unique, _UUID)).as_py():
        return Guess(Kind.IDENTIFIER, "UUIDs")
    if (words >= 2.5 and distinct > max(_MANY, 0.1 * rows)) or (words >= 5 and distinct > _FEW):
        return as_text(known)
    if (unit := values.unit_of(known)) and distinct > _FEW:
        told = as_category(rows, distinct, f": {unit.words}, read as text")
        if told.role != "hashed":
            return told
        return Guess(Kind.NUMBER, f"{unit.words}, which is read as text", "keep")
    if distinct == rows and rows >= 20:
        return Guess(Kind.IDENTIFIER, "another value in each row")
    if _ID_PART.search(name) and distinct > _FEW:
        return Guess(Kind.IDENTIFIER, "its name says so")
    if mostly_unique and rows >= 100 and not _CODE.search(name.lower()):
        return Guess(Kind.IDENTIFIER, f"{distinct:,} values in {rows:,} rows: hardly one twice")
    return as_category(rows, distinct)


def _number(
    name: str, column: pa.Array, unique: pa.Array, label: NDArray[np.float64] | None
) -> Guess:
    import numpy as np

    numbers = values.numbers(column)
    known = numbers[~np.isnan(numbers)]
    if len(known) < 2 or known.min() == known.max():
        return Guess(Kind.CONSTANT, "one number in every row that has one")
    whole = bool(np.all(known == np.round(known)))
    distinct = len(unique)
    if whole and (told := _integer(name, known, distinct)) is not None:
        return told
    if (around := _cycle(name, known)) is not None:
        return around
    if whole and label is not None and _are_codes(numbers, label):
        return as_category(len(known), distinct, ", whole numbers whose order says little")
    return as_number(known)


def _integer(name: str, known: NDArray[np.float64], distinct: int) -> Guess | None:
    import numpy as np

    rows = len(known)
    if distinct == rows and rows >= 20:
        steps = np.unique(np.diff(known))
        if len(steps) == 1 or _ID.search(name) or _ID_PART.search(name):
            return Guess(Kind.IDENTIFIER, "another number in each row")
        if np.all(steps > 0) and np.median(np.diff(known)) <= 2:
            return Guess(Kind.IDENTIFIER, "numbers that count the rows")
    if distinct > 0.95 * rows and rows >= 20 and _ID.search(name):
        return Guess(Kind.IDENTIFIER, f"{distinct:,} numbers in {rows:,} rows: hardly one twice")
    lower = name.lower()
    if _ID_PART.search(name) and distinct > _FEW:
        if distinct <= 1000 and rows / distinct >= 20:
            return as_category(rows, distinct, _BY_NAME)
        return Guess(Kind.IDENTIFIER, "its name says so")
    is_code = _CODE.search(lower) or _ID_PART.search(name)
    if is_code and not re.search(r"(price|count|size|amount|total|sq|code_?lines)", lower):
        if lower.endswith(("area",)) and distinct > _MANY:
            return None
        return as_category(rows, distinct, _BY_NAME)
    return None


def _are_codes(numbers: NDArray[np.float64], label: NDArray[np.float64]) -> bool:
    """Whether a few whole numbers say much more of the label one by one than in their order.

    Compares the label's variance between the numbers with what a parabola explains of it.
    """
    import numpy as np

    both = ~(np.isnan(numbers) | np.isnan(label))
    x, y = numbers[both], label[both]
    codes, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    if not 5 <= len(codes) <= _FEW or len(x) < 30 * len(codes) or y.var() == 0:
        return False
    means = np.bincount(place, weights=y) / counts
    between = np.average((means - y.mean()) ** 2, weights=counts) / y.var()
    scaled = (codes - codes.mean()) / codes.std()
    fit = np.polyval(np.polyfit(scaled, means, 2, w=np.sqrt(counts)), scaled)
    left = np.average((means - fit) ** 2, weights=counts) / y.var()
    by_chance = len(codes) / len(x)
    return bool(left > max(0.02, 3 * by_chance) and left > 0.4 * between)
