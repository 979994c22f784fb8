"""How numbers and times are written: every one on a page, with its exact value beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from markupsafe import Markup

from pipeline.evaluate_config import Metric

_NONE = "-"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


_FORMS: dict[str, Callable[[float], str]] = {
    "share": lambda share: f"{100 * share:.3g}%",
    "count": "{:,}".format,
    "rate": "{:,.0f}".format,
    "milliseconds": "{:.1f}".format,
    "megabytes": "{:.2f}".format,
    "general": "{:.4g}".format,
    "seconds": duration,
    **{metric: metric.words for metric in Metric},
    **{f"+{metric}": partial(metric.words, sign="+") for metric in Metric},
}


def words(value: float | None, form: str = "general") -> str:
    """A number as text in a form: "share", "count", "auc", for a difference "+auc" and so on."""
    return _NONE if value is None else _FORMS[form](value)


def percents(said: str) -> str:
    """What the store keeps in words, with its percentages written as those of a page are."""
    return re.sub(r"(\d) %", r"\1%", said)


def figure(value: float | None, form: str = "general") -> Markup:
    """The same as HTML: a `data` element, whose value is exact."""
    if value is None:
        return Markup('<span class="none">{}</span>').format(_NONE)
    return Markup('<data value="{!r}">{}</data>').format(value, words(value, form))


def moment(time: datetime) -> Markup:
    """A time as HTML, in UTC, as a page is read in other places than it was made."""
    utc = time.astimezone(UTC)
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M} UTC</time>').format(utc.isoformat(), utc)
