"""Values as people spell them: missing ones, numbers with units, booleans, stand-ins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

MISSING = (
    *("N/A", "n/a", "NA", "na", "n.a.", "#N/A", "#NA", "<NA>", "NULL", "Null", "null", "(null)"),
    *("NaN", "nan", "None", "none", "nil", "?", "??", "-", "--", "---", ".", "..", "*"),
    *("missing", "Missing", "unknown", "Unknown", "UNKNOWN", "not available", "undefined"),
)
"""Spellings of a missing value."""
CERTAINLY_MISSING = frozenset(("N/A", "n/a", "n.a.", "#N/A", "#NA", "<NA>", "(null)", "?", "??"))
"""Those that are no category either."""
BOOLEANS = tuple(
    (no, yes)
    for no, yes in (
        *(("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"), ("off", "on"), ("0", "1")),
        *(("0.0", "1.0"), ("negative", "positive"), ("absent", "present"), ("fail", "pass")),
        *(("failed", "passed"), ("-1", "1"), ("bad", "good"), ("benign", "malignant")),
        *(("inactive", "active"), ("nein", "ja"), ("nee", "ja"), ("non", "oui"), ("no", "si")),
        *(("no", "sí"), ("não", "sim"), ("nao", "sim"), ("нет", "да")),
    )
)
"""Pairs of opposites, in lower case, the one that says yes second."""
STAND_INS = (-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999, 999999)
"""Numbers that are often written where there is none."""
NUMBER = r"^\s*[+-]?((0|[1-9]\d{0,17})(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
"""A number; with a 0 before it, or with more digits, it is a code."""
_UNITS = {
    r"^\s*[$€£¥]\s?-?[\d.,]+\s*$": "an amount with its currency",
    r"^\s*-?[\d.,]+\s?[$€£¥]\s*$": "an amount with its currency",
    r"^\s*-?[\d.,]+\s?%\s*$": "a number with a percent sign",
    r"^\s*-?\d{1,3}(,\d{3})+(\.\d+)?\s*$": "a number with commas between the thousands",
    r"^\s*-?\d+,\d+\s*$": "a number with a decimal comma",
    r"^\s*-?[\d.,]+\s?(?i:mm|cm|m|km|g|kg|mg|lbs?|oz|ml|l|s|sec|ms|min|h|hrs?|d|days?|mo|months?|"
    r"yrs?|years?|kb|mb|gb|tb|hz|khz|mhz|ghz|w|kw|v|bhp|cc|ft|in|mi|mph|°?c|°?f)\s*$": (
        "a number with its unit"
    ),
}


def boolean_pair(spellings: Iterable[str]) -> tuple[str, str] | None:
    """The two spellings, the one that says yes second; None where they are no opposites."""
    known = {spelling.strip().lower(): spelling for spelling in spellings}
    for no, yes in BOOLEANS:
        if known.keys() == {no, yes}:
            return known[no], known[yes]
    return None


def is_number(text: pa.Array) -> pa.Array:
    """Whether each of the texts is spelled as a number."""
    import pyarrow.compute as pc

    return pc.match_substring_regex(text, NUMBER)


@dataclass(frozen=True)
class Unit:
    """How numbers are dressed up."""

    words: str
    example: str

    @property
    def plain(self) -> str:
        """The example as a plain number."""
        number = re.sub(r"[^\d.,-]", "", self.example)
        parted = re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d*)?", number)
        if "," in number and not parted:  # Which is in the place of the point.
            return number.replace(".", "").replace(",", ".")
        return number.replace(",", "")


def unit_of(text: pa.Array) -> Unit | None:
    """How numbers are dressed up, where four of five of the texts are so."""
    import pyarrow.compute as pc

    for pattern, words in _UNITS.items():
        fits = pc.match_substring_regex(text, pattern)
        if (pc.mean(fits.cast("int8")).as_py() or 0) >= 0.8:
            return Unit(words, text[pc.index(fits, True).as_py()].as_py().strip())
    return None


def spelled_alike(spellings: Iterable[str]) -> list[list[str]]:
    """The spellings that differ in nothing but case and spaces, together."""
    alike: dict[str, list[str]] = {}
    for one in sorted(spellings):
        alike.setdefault(" ".join(one.casefold().split()), []).append(one)
    return [together for together in alike.values() if len(together) > 1]


def alike_in_words(alike: Sequence[Sequence[str]]) -> str:
    """Spellings that differ in nothing but case and spaces, as a sentence says it."""
    told = "; ".join(", ".join(map(repr, together)) for together in alike[:3])
    return f"{told}{'; …' if len(alike) > 3 else ''} differ only in case or spaces"


def plain(column: pa.Array, missing: Sequence[str] = ()) -> pa.Array:
    """`column` as int64, float64 or string; what is missing as null.

    Args:
        column: As a source gives it.
        missing: Spellings that mean a missing value, besides an empty text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipeline.sources.plain import is_moment, iso

    kind = column.type
    if pa.types.is_boolean(kind):
        return pc.if_else(column, pa.scalar("true"), pa.scalar("false"))
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64())
        return without(values, pc.invert(pc.is_finite(values)))
    if pa.types.is_null(kind):
        return column.cast(pa.float64())
    text = iso(column) if is_moment(kind) else column.cast(pa.string())
    lacks = pc.is_in(text, value_set=pa.array(["", *missing], pa.string()))
    return without(text, lacks)


def without(column: pa.Array, mask: pa.Array) -> pa.Array:
    """`column`, null where `mask` is true or null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Of a part of an array of texts, if_else gives others (Arrow 18).
    return pc.replace_with_mask(column, mask, pa.scalar(None, column.type))


def numbers(column: pa.Array, stand_ins: Sequence[float] = ()) -> NDArray[np.float64]:
    """A plain column as numbers, NaN for what is missing, no number, or one of `stand_ins`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(column.type):
        spelled = without(column, pc.invert(is_number(column)))
        column = pc.utf8_trim_whitespace(spelled).cast(pa.float64())
    values = np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), float)
    if len(stand_ins):
        values[np.isin(values, stand_ins)] = np.nan
    return values


def stand_in(values: NDArray[np.float64]) -> float | None:
    """The number that stands for a missing one, if there is one: often, and far from the rest."""
    import numpy as np

    known = values[~np.isnan(values)]
    if not len(known):
        return None
    for extreme in (known.min(), known.max()):
        rest = known[known != extreme]
        often = len(known) - len(rest) >= max(3, 0.001 * len(known))
        if extreme not in STAND_INS or not often or len(np.unique(rest)) < 5:
            continue
        low, high = rest.min(), rest.max()
        gap = low - extreme if extreme < low else extreme - high
        if gap > high - low or (extreme < 0 <= low and (extreme <= -9 or gap > 1)):
            return float(extreme)
    return None


def figure(value: float) -> str:
    """A number for people: at most six digits, and from 10,000 on those of thousands parted."""
    if float(value).is_integer() and abs(value) < 10_000:  # It may be a year.
        return f"{value:.0f}"
    return f"{value:,.0f}" if abs(value) >= 100_000 else f"{value:,.6g}"


def printable(text: str) -> str:
    """Without signs that command a terminal, ends of lines too: each is a blank."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def one_line(text: str) -> str:
    """Printable, with a blank where there are several."""
    return " ".join(printable(text).split())


def shown(value: Any) -> str:
    """A value as a table shows it, short."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = one_line(text)
    return text if len(text) <= 24 else f"{text[:23]}…"
