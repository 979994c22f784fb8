"""What a table holds: each column's kind by a sample, its counts by all rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data_config import FileFormat
from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.init import dates, kinds, values
from pipeline.init.asked import ASKED, fitting
from pipeline.init.dates import DateFormat
from pipeline.init.kinds import Guess, Kind, as_category
from pipeline.init.problems import Label
from pipeline.init.signals import Target
from pipeline.init.spelling import Spelling, spelling_of
from pipeline.init.survey import Counted, Reading, Survey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.sources import Source

    Numbers = NDArray[np.float64]

SAMPLE = 100_000
"""Rows that are guessed by."""
_MOST_STRAYS = 0.01
"""A larger share of texts in a column of numbers are no mistakes of a few rows."""
_HARDLY, _HARDLY_SHARE = 20, 0.05
"""A column that fewer rows have teaches nothing; of few rows that share."""


@dataclass(frozen=True)
class Column:
    """A column as it is understood."""

    name: str
    guess: Guess
    reading: Reading
    sample: pa.Array
    """Values of some rows, as `reading` says."""
    counted: Counted = field(default_factory=Counted)
    """What all rows say."""

    @property
    def is_text(self) -> bool:
        """Whether it is ingested as text: what is no number, and dates but for seconds."""
        if self.guess.role == "dates":
            return bool(self.guess.setting.format != dates.EPOCH)
        return self.guess.kind is Kind.TEXT or bool(pa.types.is_string(self.sample.type))

    @property
    def strays(self) -> int:
        """Rows in which a column of numbers has another text, and none that means a missing one."""
        if self.is_text or not self.guess.is_read:
            return 0
        missing = {*values.MISSING, *self.reading.missing}
        return sum(n for text, n in self.counted.odd.items() if text not in missing)

    @property
    def example(self) -> str:
        """A value that it has."""
        known = self.sample.drop_null()
        return values.shown(known[0].as_py()) if len(known) else ""

    @cached_property
    def numbers(self) -> Numbers:
        """The sample as numbers, NaN where missing: of categories those of `categories`."""
        if self.guess.kind is Kind.DATE and isinstance(self.guess.setting, DateFormat):
            return dates.seconds(self.sample, self.guess.setting)
        if pa.types.is_string(self.sample.type):
            return self.categories
        return values.numbers(self.sample)

    @cached_property
    def categories(self) -> Numbers:
        """The sample with each value's place among them, the most frequent one 0."""
        encoded = self.sample.dictionary_encode()
        codes = encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
        known = codes[~np.isnan(codes)].astype(int)
        counts = np.bincount(known, minlength=len(encoded.dictionary))
        ranks = np.empty(len(counts))
        ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        told = np.full(len(codes), np.nan)
        told[~np.isnan(codes)] = ranks[known]
        return told


def columns_of(
    source: Source,
    sample: pa.Table,
    label: str,
    asked: Mapping[str, Guess],
    drop: Sequence[str],
    whole: Collection[str | None],
) -> tuple[dict[str, Column], Spelling]:
    """Each column's kind, by a sample.

    Args:
        source: Where the rows are.
        sample: Some of them.
        label: The label's column.
        asked: Kinds that are not guessed.
        drop: Columns that are left out.
        whole: Columns of which no value may be missing.
    """
    named = [name for name in sample.column_names if name not in drop]
    raw = {name: _one(sample.column(name)) for name in named}
    is_csv = source.location.format is not FileFormat.PARQUET and not source.location.query
    spelling = spelling_of(raw, label, asked, whole, is_csv=is_csv)
    enough = 0.95 if is_csv else 1.0
    readings = {name: _reading(name, column, spelling, enough) for name, column in raw.items()}
    plain = {name: readings[name].of(column) for name, column in raw.items()}
    as_numbers = values.numbers(plain[label])
    if pa.types.is_string(plain[label].type):
        codes = plain[label].dictionary_encode().indices
        as_numbers = values.numbers(codes)
    if 2 < len(np.unique(as_numbers[~np.isnan(as_numbers)])) <= 30:  # which may be names
        as_numbers = np.full(len(as_numbers), np.nan)
    columns = {}
    for name, column in plain.items():
        if name in asked:
            guess = fitting(asked[name], name, column)
        else:
            guess = kinds.guess(name, column, as_numbers)
        columns[name] = Column(name, guess, readings[name], column)
    return columns, spelling


def counted(columns: Mapping[str, Column], surveyed: Survey, label: str) -> dict[str, Column]:
    """The columns with what all rows say of them, and what that changes."""
    told = {}
    for name, column in columns.items():
        column = replace(column, counted=surveyed.columns[name])
        there = surveyed.rows - column.counted.missing
        if name == label:
            pass
        elif column.strays > _MOST_STRAYS * surveyed.rows:
            why = f"numbers, and texts that are none in {column.strays:,} rows, the first of them "
            why += f"row {column.counted.odd_row:,}"
            column = replace(column, guess=Guess(Kind.TEXT, why, "keep"))
        elif column.guess.why != ASKED and there < min(_HARDLY, _HARDLY_SHARE * surveyed.rows):
            why = f"a value in {there:,} of {surveyed.rows:,} rows alone" if there else "no value"
            column = replace(column, guess=Guess(Kind.CONSTANT, why, "drop"))
        elif column.guess.why != ASKED and label not in (name, surveyed.twins.get(name, label)):
            why = f"in every row as {surveyed.twins[name]}"
            column = replace(column, guess=replace(column.guess, why=why, role="keep"))
        told[name] = column
    return told


def placed(columns: Mapping[str, Column], rows: int, *, folds: bool) -> dict[str, Column]:
    """The columns, those of categories in the list that suits them by what all rows say.

    Args:
        columns: The columns.
        rows: How many there are.
        folds: Whether all rows judge in turn.
    """
    told = dict(columns)
    for name, column in columns.items():
        guess, counted = column.guess, column.counted
        if guess.kind is Kind.CATEGORY and guess.is_used and guess.why != ASKED:
            there = rows - counted.missing
            guess = as_category(there, counted.distinct, guess.note, folds=folds)
            told[name] = replace(column, guess=guess)
    return told


def target_of(column: Column, label: Label) -> tuple[Target, NDArray[np.bool_]]:
    """The label of the sample's rows that have one, and which rows these are."""
    if label.problem is Problem.REGRESSION:
        numbers = values.numbers(column.sample)
        known = ~np.isnan(numbers)
        return Target(label.problem, numbers[known]), known
    text = pa.array(_spelled(column.sample), pa.string())
    place = pc.index_in(text, pa.array(label.classes))
    codes = np.array(place.cast(pa.float64()).to_numpy(zero_copy_only=False), float)
    known = ~np.isnan(codes)
    return Target(label.problem, codes[known], len(label.classes)), known


def _spelled(column: pa.Array) -> list[str | None]:
    from pipeline.init.survey import spelled

    return [None if value is None else spelled(value) for value in column.to_pylist()]


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _reading(name: str, column: pa.Array, spelling: Spelling, enough: float) -> Reading:
    stand_ins = (spelling.stand_ins[name],) if name in spelling.stand_ins else ()
    plain = values.plain(column, spelling.missing)
    as_number = False
    if pa.types.is_string(plain.type):
        known = plain.drop_null()
        share = pc.mean(values.is_number(known).cast("int8")).as_py() or 0.0
        as_number = bool(share >= enough and dates.format_of(pc.unique(known), name) is None)
    return Reading(spelling.missing, stand_ins, as_number)


def checked_label(source: Source, label: str) -> str:
    """The label's column.

    Raises:
        UserError: It is not there.
    """
    names: list[str] = source.schema.names
    if label in names:
        return label
    import difflib

    near = difflib.get_close_matches(label, names, n=3, cutoff=0.5)
    near += [name for name in names if name.lower() == label.lower() and name not in near]
    meant = f"; did you mean {' or '.join(near)}?" if near else "."
    raise UserError(
        f"--label {label}: there is no such column{meant} The columns are: {', '.join(names)}"
    )


def usable(columns: Mapping[str, Column], label: str) -> dict[str, Column]:
    """The columns to predict from.

    Raises:
        UserError: There is none.
    """
    found = {n: c for n, c in columns.items() if n != label and c.guess.is_used}
    if not found:
        said = "; ".join(
            f"{n}: {c.guess.kind}, {c.guess.why}" for n, c in columns.items() if n != label
        )
        raise UserError(
            "no column is left to predict from"
            + (f" ({said})" if said else f": {label} is the only one")
            + ". Add columns that are known before the label is, or say by --numeric, "
            "--categorical, --date or --text what a column is"
        )
    return found
