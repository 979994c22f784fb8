"""Lists that are asked for by a flag, as guesses that are none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.init import dates, values
from pipeline.init.dates import EPOCH, DateFormat
from pipeline.init.kinds import Guess, Kind

if TYPE_CHECKING:
    import pyarrow as pa

ASKED = "as asked for"
_KINDS = {
    "numeric": Kind.NUMBER,
    "log": Kind.NUMBER,
    "cyclical": Kind.NUMBER,
    "bucketized": Kind.NUMBER,
    "categorical": Kind.CATEGORY,
    "target-encoded": Kind.CATEGORY,
    "hashed": Kind.CATEGORY,
    "date": Kind.DATE,
    "text": Kind.TEXT,
    "keep": Kind.CATEGORY,
}
_PLACES, _BUCKETS = 256, 10


def asked(flag: str, name: str, value: str | None) -> Guess:
    """The guess that a flag makes of a column.

    Args:
        flag: Its name without dashes before it.
        name: The column.
        value: What stands behind the column's "=".

    Raises:
        UserError: The value is not what the flag takes.
    """
    role = {"target-encoded": "target_encoded", "date": "dates"}.get(flag, flag)
    return Guess(_KINDS[flag], ASKED, role, _setting(flag, name, value))


def _setting(flag: str, name: str, value: str | None) -> Any:
    if flag == "date":
        return DateFormat(value or "", clock="%H" in (value or "") or value == EPOCH)
    if flag == "text":
        return {"size": int(_number(flag, name, value))} if value else {"size": 256}
    if flag == "cyclical":
        if value is None:
            raise UserError(f"--cyclical {name}: expected its period, as in {name}=24")
        return _number(flag, name, value)
    if flag in ("hashed", "bucketized"):
        default = _PLACES if flag == "hashed" else _BUCKETS
        return int(_number(flag, name, value)) if value else default
    if value is not None:
        raise UserError(f"--{flag} {name}={value}: expected a column's name alone")
    return None


def fitting(guess: Guess, name: str, column: pa.Array) -> Guess:
    """The guess with what its column says, where the flag left it open.

    Args:
        guess: What a flag made of the column.
        name: The column.
        column: Some of its values, plain.

    Raises:
        UserError: The column's values are not of that kind.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    unique = pc.unique(column.drop_null())
    example = f", as in {values.shown(unique[0].as_py())!r}" if len(unique) else ""
    is_text = pa.types.is_string(column.type)
    if guess.kind is Kind.NUMBER and is_text:
        raise UserError(f"{name!r} is asked for as a number, and holds text{example}")
    if guess.role == "text" and not is_text:
        raise UserError(f"{name!r} is asked for as a text, and holds numbers{example}")
    if guess.role != "dates":
        return guess
    form = guess.setting
    if not form.format:
        form = dates.format_of(unique, f"{name}_date")
    unread = 1.0 if form is None else np.isnan(dates.seconds(unique, form)).mean()
    if form is None or unread > 0.05:
        expected = f"the format {form.format}" if form else "a format that is known here"
        some = "no value is one" if unread == 1 else f"{unread:.0%} of its values are none"
        raise UserError(
            f"{name!r} is asked for as a date, and {some} by {expected}{example}; say how it is "
            f"read, as in --date '{name}=%d/%m/%Y', iso or epoch"
        )
    return replace(guess, setting=dates.with_clock(form, unique))


def _number(flag: str, name: str, value: str | None) -> float:
    try:
        return float(value or "")
    except ValueError:
        raise UserError(f"--{flag} {name}={value}: expected a number behind the =") from None
