"""Dates as text, read inside the graph: the fields of each, by TensorFlow's operations alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

import tensorflow as tf

_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august"),
    *("september", "october", "november", "december"),
)
_SHORT_MONTHS = tuple(month[:3] for month in _MONTHS)
_PATTERNS = {
    "Y": r"\d{4}",
    "y": r"\d\d",
    "m": r"1[0-2]|0?[1-9]",
    "d": r"3[01]|[12]\d|0?[1-9]",
    "H": r"2[0-3]|[01]\d|\d",
    "I": r"1[0-2]|0?[1-9]",
    "M": r"[0-5]?\d",
    "S": r"[0-5]?\d",
    "f": r"\d{1,6}",
    "p": r"am|pm",
    "b": "|".join(_SHORT_MONTHS),
    "B": "|".join(_MONTHS),
}
_ZONE = r"\s*(?:z|utc|[+-]\d\d:?(?:\d\d)?)?"
_ISO = (
    r"(?P<Y>\d{4})-?(?P<m>\d\d)-?(?P<d>\d\d)"
    r"(?:[t\s](?P<H>\d\d):?(?P<M>\d\d)(?::?(?P<S>\d\d)(?:[.,]\d+)?)?)?"
)
_EPOCH = r"-?\d{1,11}"
DAY = 24 * 60 * 60
"""Seconds."""
DAYS_TO_2020 = 18262
"""From 1970-01-01."""
_MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class Dates:
    """The fields of dates, each int32 [rows]; of those that cannot be read they mean nothing."""

    is_there: tf.Tensor
    """bool [rows], whether it could be read."""
    year: tf.Tensor
    month: tf.Tensor
    """1 to 12."""
    day: tf.Tensor
    """1 to 31."""
    seconds: tf.Tensor
    """Since midnight, on the clock that the text is written by."""
    days: tf.Tensor
    """Since 1970-01-01."""

    @property
    def weekday(self) -> tf.Tensor:
        """0 (Monday) to 6."""
        return (self.days + 3) % 7


def parse(text: tf.Tensor, format: str) -> Dates:
    """Reads dates [rows] of a `DateConfig.format`.

    A date that is not in the calendar cannot be read. Names of months are English ones, and what
    follows as a time zone, Z or +01:00, is passed over.
    """
    text = tf.strings.lower(tf.strings.strip(text))
    return _of_epoch(text) if format == "epoch" else _of_text(text, pattern(format))


def pattern(format: str) -> str:
    """The regular expression, of lower case, that dates of the format match; a group per field."""
    if format == "epoch":
        return _EPOCH
    if format == "iso":
        return _ISO + _ZONE
    found = []
    for piece in re.findall(r"%.|\s+|[^%\s]+", format):
        if piece[0] == "%":
            found.append(re.escape(piece[1]) if piece == "%%" else _group(piece[1]))
        else:
            found.append(r"\s+" if piece.isspace() else re.escape(piece.lower()))
    return "".join(found) + _ZONE


def _group(field: str) -> str:
    return f"(?P<{field}>{_PATTERNS[field]})"


def _of_text(text: tf.Tensor, expression: str) -> Dates:
    places = re.compile(expression).groupindex
    matches = tf.strings.regex_full_match(text, expression)

    def field(name: str) -> tf.Tensor:
        found = tf.strings.regex_replace(text, f"^{expression}$", rf"\{places[name]}")
        return tf.where(matches, found, "")

    def number(name: str, default: int = 0) -> tf.Tensor:
        if name not in places:
            return tf.fill(tf.shape(text), default)
        digits = field(name)
        return tf.strings.to_number(tf.where(digits == "", str(default), digits), tf.int32)

    year, month, hour = number("Y", 1970), number("m", 1), number("H")
    if "y" in places:  # As strptime, and POSIX: 69 to 99 are of the 20th century.
        year = number("y")
        year += tf.where(year < 69, 2000, 1900)
    for name, names in (("b", _SHORT_MONTHS), ("B", _MONTHS)):
        if name in places:
            is_it = field(name)[:, None] == tf.constant(names)
            month = 1 + tf.argmax(is_it, axis=1, output_type=tf.int32)
    if "I" in places:
        hour = number("I") % 12
        hour += tf.where(field("p") == "pm", 12, 0) if "p" in places else 0
    day, minute, second = number("d", 1), number("M"), number("S")
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    lengths = tf.gather(_MONTH_LENGTHS, tf.clip_by_value(month - 1, 0, 11))
    lengths += tf.cast(leap & (month == 2), tf.int32)
    exists = (year > 0) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= lengths)
    exists &= (hour < 24) & (minute < 60) & (second < 60)
    seconds = 3600 * hour + 60 * minute + second
    return Dates(matches & exists, year, month, day, seconds, _days(year, month, day))


def _of_epoch(text: tf.Tensor) -> Dates:
    is_there = tf.strings.regex_full_match(text, _EPOCH)
    total = tf.strings.to_number(tf.where(is_there, text, "0"), tf.int64)
    days = tf.cast(total // DAY, tf.int32)
    return Dates(is_there, *_civil(days), tf.cast(total % DAY, tf.int32), days)


def _days(year: tf.Tensor, month: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
    """Days since 1970-01-01 (Hinnant 2013, chrono-compatible low-level date algorithms)."""
    year = year - tf.cast(month <= 2, tf.int32)
    era, of_era = year // 400, year % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def _civil(days: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Year, month and day of days since 1970-01-01 (Hinnant 2013)."""
    days = days + 719468
    era, of_era = days // 146097, days % 146097
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = (shifted + 2) % 12 + 1
    day = of_year - (153 * shifted + 2) // 5 + 1
    return year + era * 400 + tf.cast(month <= 2, tf.int32), month, day
