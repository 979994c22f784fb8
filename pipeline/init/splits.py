"""Which rows judge: by chance, by group or by time, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UserError
from pipeline.init import signals
from pipeline.init.kinds import Kind
from pipeline.init.signals import Target
from pipeline.init.understanding import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_ROWS = 2000
"""With fewer rows all of them judge in turn (cross-validation)."""
_FITS = 20
_MOVED = 4.0
"""Standard errors by which the newest rows' label has to differ to say that it moves."""
_NO_TIME = re.compile(r"birth|born|dob|expir|due|valid|founded|built|opened|hire", re.I)
_OWNER = re.compile(
    r"(^|[_\W])(patient|customer|client|user|subject|person|account|household|session|member|"
    r"student|employee|device|machine|vehicle|driver|player|cust)",
    re.I,
)


@dataclass(frozen=True)
class Split:
    """How rows are put apart."""

    why: str
    split_by: str | None = None
    split_time: str | None = None
    folds: int = 0
    repeats: int = 0

    @property
    def column(self) -> str | None:
        """The column that puts rows apart, if one does."""
        return self.split_by or self.split_time

    @property
    def flags(self) -> tuple[str, ...]:
        """What says so on the command line."""
        if self.split_by:
            return "--split-by", self.split_by
        return ("--split-time", self.split_time) if self.split_time else ("--split-rows",)


def choices(
    columns: Mapping[str, Column], label: str, target: Target, known: NDArray[np.bool_], rows: int
) -> tuple[Split, ...]:
    """The ways to put rows apart that the data offers, the best one first.

    Args:
        columns: All columns.
        label: The one to predict.
        target: The sample's label.
        known: Which of the sample's rows have one.
        rows: How many rows there are in all.
    """
    found: list[Split] = []
    by_time = [t for c in columns.values() if (t := _by_time(c, label, target, known))]
    by_group = [s for c in columns.values() if (s := _by_group(c, label, target, known, rows))]
    moving = [split for strong, split in by_time if strong]
    found += moving[:1] + by_group + moving[1:]
    each = Split(
        "no column says which rows belong together or came first"
        if not found
        else "rows of one group, or of one time, are on both sides"
    )
    found += [each, *(split for strong, split in by_time if not strong)]
    return tuple(with_folds(split, rows) for split in found)


def with_folds(split: Split, rows: int, folds: int | None = None) -> Split:
    """The split, with cross-validation where rows are few and have no order in time."""
    from dataclasses import replace

    if split.split_time is not None:
        return split
    wanted = (5 if rows < FEW_ROWS else 0) if folds is None else folds
    return replace(split, folds=wanted, repeats=max(1, _FITS // wanted) if wanted else 0)


def checked(split: Split, columns: Mapping[str, Column]) -> Split:
    """A split that is asked for, if there are rows for both sides.

    Raises:
        UserError: Rows lack the column's value, or there are too few values.
    """
    if split.column is None:
        return split
    flag = f"--split-{'by' if split.split_by else 'time'} {split.column}"
    counted = columns[split.column].counted
    if counted.missing:
        raise UserError(
            f"{flag}: {counted.missing:,} rows have no value there, and each needs one to be put "
            "on a side. Fill them in, or take another column"
        )
    least = max(2, split.folds)
    if counted.distinct < least:
        raise UserError(
            f"{flag}: the column has {counted.distinct} different values, and {least} are needed "
            "to have rows on both sides. Take another column"
        )
    return split


def _by_time(
    column: Column, label: str, target: Target, known: NDArray[np.bool_]
) -> tuple[bool, Split] | None:
    """Whether time matters, and the split by it, for a column of dates."""
    name = column.name
    if column.guess.kind is not Kind.DATE or name == label or column.guess.setting is None:
        return None
    if _NO_TIME.search(name):
        return None
    seconds = column.numbers[known]
    if column.counted.missing or np.isnan(seconds).any() or len(np.unique(seconds)) < 20:
        return None
    reasons = []
    if signals.in_order(seconds):
        reasons.append("rows come in its order")
    moved = signals.drift(seconds, target)
    if moved >= _MOVED:
        reasons.append(f"the label moves with it, by {moved:.0f} standard errors in the last third")
    if not reasons:
        why = "the newest rows judge, though neither the rows' order nor the label goes with time"
        return False, Split(why, split_time=name)
    why = f"{' and '.join(reasons)}: the newest rows judge, as it will be when it predicts"
    return True, Split(why, split_time=name)


def _by_group(
    column: Column, label: str, target: Target, known: NDArray[np.bool_], rows: int
) -> Split | None:
    """The split by a column that names groups, if rows of one group are many."""
    name, distinct = column.name, column.counted.distinct
    names_things = column.guess.kind is Kind.IDENTIFIER or _OWNER.search(name)
    if name == label or not names_things or distinct < 20 or rows < 1.2 * distinct:
        return None
    if column.guess.kind in (Kind.TEXT, Kind.DATE, Kind.BOOLEAN, Kind.CONSTANT):
        return None
    if column.guess.kind is Kind.NUMBER and column.guess.role == "log":
        return None
    if column.counted.missing:
        return None
    codes = column.categories[known].astype(np.int64)
    alike = signals.intraclass(codes, target)
    why = f"{rows / distinct:.1f} rows for each {name} on average"
    if alike >= 0.01:
        why += f", and their labels are alike (intraclass correlation {alike:.2f})"
    return Split(f"{why}: a model is to be judged by those it has not met", split_by=name)
