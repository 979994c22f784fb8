"""Dates as people spell them, and the format that reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

ISO, EPOCH = "iso", "epoch"
_ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?$"
_CLOCK = {
    r" \d{1,2}:\d{2}:\d{2} [AaPp][Mm]": " %I:%M:%S %p",
    r" \d{1,2}:\d{2} [AaPp][Mm]": " %I:%M %p",
    r" \d{1,2}:\d{2}:\d{2}": " %H:%M:%S",
    r" \d{1,2}:\d{2}": " %H:%M",
    "": "",
}
_DAYS = {
    r"\d{4}-\d{1,2}-\d{1,2}": "%Y-%m-%d",
    r"\d{4}/\d{1,2}/\d{1,2}": "%Y/%m/%d",
    r"\d{4}\.\d{1,2}\.\d{1,2}": "%Y.%m.%d",
    r"(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])": "%Y%m%d",
    r"\d{1,2}-[A-Za-z]{3}-\d{4}": "%d-%b-%Y",
    r"\d{1,2}-[A-Za-z]{3}-\d{2}": "%d-%b-%y",
    r"\d{1,2} [A-Za-z]{3} \d{4}": "%d %b %Y",
    r"[A-Za-z]{3} \d{1,2} \d{4}": "%b %d %Y",
    r"[A-Za-z]{3} \d{1,2}, \d{4}": "%b %d, %Y",
    r"[A-Za-z]{4,9} \d{1,2}, \d{4}": "%B %d, %Y",
    r"\d{1,2} [A-Za-z]{4,9} \d{4}": "%d %B %Y",
}
_TWO_PARTS = r"(?P<a>\d{1,2})(?P<by>[/.-])(?P<b>\d{1,2})[/.-](?P<year>\d{4}|\d{2})"
_SAID = ("date", "time", "timestamp", "epoch", "ts", "at", "day", "created", "updated")
_FROM, _TO = 631_152_000, 2_208_988_800
"""1990 and 2040, in seconds since 1970."""
_ENOUGH = 0.95


@dataclass(frozen=True)
class DateFormat:
    """How a column's dates are read."""

    format: str
    ambiguous: bool = False
    """Whether day and month may be the other way round."""
    clock: bool = False
    """Whether there is a time of the day, and not the same one throughout."""

    def __str__(self) -> str:
        """How dates are spelled, in words."""
        words = {ISO: "as ISO has it", EPOCH: "in seconds since 1970"}
        return words.get(self.format, f"as {self.format}")

    @property
    def swapped(self) -> str:
        """The format with day and month the other way round."""
        return self.format.translate({ord("d"): "m", ord("m"): "d"})


def format_of(values: pa.Array, name: str) -> DateFormat | None:
    """The format that nearly all values of a column have, if they are dates.

    Args:
        values: Different values without missing ones, plain.
        name: The column's name: seconds and days as whole numbers are dates if it says so.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(values):
        return None
    if pa.types.is_integer(values.type):
        return _of_integers(values, name)
    if not pa.types.is_string(values.type):
        return None

    def fits(pattern: str) -> bool:
        return bool(
            pc.mean(pc.match_substring_regex(values, pattern).cast("int8")).as_py() >= _ENOUGH
        )

    if fits(_ISO):
        return DateFormat(ISO, clock=fits(r"\d:\d"))
    for clock, clock_format in _CLOCK.items():
        for day, day_format in _DAYS.items():
            if fits(f"^{day}{clock}$"):
                return DateFormat(day_format + clock_format, clock=bool(clock_format))
        if fits(f"^{_TWO_PARTS}{clock}$"):
            return _day_and_month(values, clock_format)
    return None


def with_clock(form: DateFormat, values: pa.Array) -> DateFormat:
    """The format, without a time of the day if all values that it reads have the same hour."""
    import numpy as np

    if not form.clock:
        return form
    moments = seconds(values, form)
    hours = moments[~np.isnan(moments)] // 3600 % 24
    return replace(form, clock=len(np.unique(hours)) > 1)


def _of_integers(values: pa.Array, name: str) -> DateFormat | None:
    import pyarrow.compute as pc

    words = set(re.split(r"[\W_]+", name.lower()))
    if not (words & set(_SAID) or re.search(r"date|time", name.lower())):
        return None
    bounds = pc.min_max(values).as_py()
    if bounds["min"] >= _FROM and bounds["max"] <= _TO:
        return DateFormat(EPOCH, clock=True)
    if bounds["min"] >= 19000101 and bounds["max"] <= 21001231:
        return format_of(values.cast("string"), name)
    return None


def _day_and_month(values: pa.Array, clock: str) -> DateFormat:
    import pyarrow.compute as pc

    parts = pc.extract_regex(values, f"^{_TWO_PARTS}").drop_null()
    first, second = (pc.max(parts.field(name).cast("int8")).as_py() for name in ("a", "b"))
    separator = parts.field("by")[0].as_py()
    year = "%Y" if len(parts.field("year")[0].as_py()) == 4 else "%y"
    # Dots are written where the day comes first; slashes in either way.
    day_first = first > 12 or (second <= 12 and separator == ".")
    order = ("%d", "%m") if day_first else ("%m", "%d")
    ambiguous = first <= 12 and second <= 12
    return DateFormat(separator.join((*order, year)) + clock, ambiguous, clock=bool(clock))


def seconds(values: pa.Array, form: DateFormat) -> NDArray[np.float64]:
    """Seconds since 1970 of each value of a plain column; NaN where it cannot be read."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if form.format == EPOCH:
        return np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False), float)
    text = values.cast(pa.string())
    form_of_text = form.format
    if form_of_text == ISO:
        text = pc.replace_substring_regex(text, r"(\.\d+)?(Z|[+-]\d{2}:?\d{2})?$", "")
        text = pc.replace_substring(text, "T", " ")
        text = pc.replace_substring_regex(text, r"^(.{10})$", r"\1 00:00")
        text = pc.replace_substring_regex(text, r"^(.{16})$", r"\1:00")
        form_of_text = "%Y-%m-%d %H:%M:%S"
    stamps = pc.strptime(text, format=form_of_text, unit="s", error_is_null=True)
    return np.array(
        stamps.cast(pa.int64()).cast(pa.float64()).to_numpy(zero_copy_only=False), float
    )
