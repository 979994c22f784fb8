"""Values of the types that a tf.Example knows, or the reason why a row cannot have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from custom_components.example_gen.settings import ColumnType, IngestSettings, Table
from custom_components.example_gen.split import moments
from pipeline.data_config import CsvOptions
from pipeline.errors import UserError
from pipeline.sources.plain import decoded, is_moment, is_text, iso, plain_numbers
from pipeline.sources.rows import UNDECODABLE, BadRow, Block

_ARROW_TYPES = {
    ColumnType.INT: pa.int64(),
    ColumnType.FLOAT: pa.float32(),
    ColumnType.STRING: pa.binary(),
}
_EXPECTED = {
    ColumnType.INT: "expected an integer of 64 bits",
    ColumnType.FLOAT: "expected a finite number of 32 bits",
    ColumnType.STRING: "expected text",
}


_SHOWN_CLASSES = 10

Reason = tuple[str, npt.NDArray[np.bool_], str]
"""A column, the rows in which it does not fit, and what was expected."""


@dataclass(frozen=True)
class Typing:
    """Turns blocks as they were read into blocks of int64, float32 and binary columns."""

    table: Table
    settings: IngestSettings

    def apply(self, file: str, block: Block) -> Block:
        """`block` with its values typed and the rows that do not fit moved to its `bad`.

        A missing value is null, and so are NaN and the empty string: a tf.Example has one way to
        lack a value.

        Raises:
            UserError: if a column's type in the file can never give the type that it must have.
        """
        made: dict[str, pa.Array] = {}
        reasons: list[Reason] = []
        raw = {name: _plain(block.columns.column(name)) for name in self.table.columns}
        for name, kind in self.table.columns.items():
            _check_type(file, name, raw[name].type, kind)
            made[name], misfit = typed(raw[name], kind, self.settings.csv)
            if misfit is not None:
                reasons.append((name, misfit, self._expected(kind)))
            if (required := self._required(name)) and made[name].null_count:
                reasons.append((name, _mask(made[name].is_null()), required))
        reasons += self._labels(made[self.table.label])
        reasons += self._moments(made)
        columns = pa.RecordBatch.from_pydict(made)
        if not reasons:
            return Block(columns, block.rows, block.bad)
        first = _first_reasons(reasons)
        good = np.ones(len(block.rows), bool)
        good[list(first)] = False
        bad = [_bad_row(file, int(block.rows[at]), at, raw, *first[at]) for at in first]
        return Block(
            columns.filter(pa.array(good)),
            block.rows[good],
            sorted([*block.bad, *bad], key=lambda row: row.row),
        )

    def _labels(self, label: pa.Array) -> Iterator[Reason]:
        """The labels that are none of the classes."""
        if self.table.classes:
            distinct = label.dictionary_encode()
            names = map(class_of, distinct.dictionary.to_pylist())
            strange = [name not in self.table.classes for name in names]
            if any(strange):
                misfit = pa.array(strange).take(distinct.indices).fill_null(False)
                expected = f"expected {_one_of(self.table.classes)} (features.classes)"
                yield self.table.label, _mask(misfit), expected

    def _moments(self, made: dict[str, pa.Array]) -> Iterator[Reason]:
        """The rows of which nobody can tell when they were."""
        if name := self.settings.split_time:
            misfit = np.isnan(moments(made[name], time_format=self.table.time_format))
            if misfit.any():
                form = self.table.time_format
                expected = (
                    "expected a date such as 2026-11-30, or a number"
                    if form in ("iso", "epoch")
                    else f"expected a date as {form} spells it"
                )
                yield name, misfit, f"{expected}: data.split_time splits the rows by it"

    def _expected(self, kind: ColumnType) -> str:
        encoding = f" in {self.settings.csv.encoding}" if kind is ColumnType.STRING else ""
        return _EXPECTED[kind] + encoding

    def _required(self, name: str) -> str | None:
        if name == self.table.label:
            return "expected a label in every row"
        if name == self.settings.split_by:
            return "expected one in every row, as data.split_by tells the row's split by it"
        return None


def class_of(value: float | bytes) -> str:
    """The class that a label names: 1, 1.0 and "1" are the same one."""
    if isinstance(value, bytes):
        return value.decode()
    return str(int(value)) if value == int(value) else str(np.float32(value))


def _one_of(classes: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, classes[:_SHOWN_CLASSES]))
    return f"one of {shown}" + (", …" if len(classes) > _SHOWN_CLASSES else "")


def _plain(column: pa.Array) -> pa.Array:
    """`column` without a dictionary; text as bytes, which nobody has checked yet."""
    column = decoded(column)
    return column.cast(pa.binary()) if is_text(column.type) else column


def _bad_row(
    file: str, row: int, at: int, raw: dict[str, pa.Array], column: str, reason: str
) -> BadRow:
    record = {name: _readable(values[at].as_py()) for name, values in raw.items()}
    value = record[column]
    return BadRow(file, row, column, None if value in (None, "") else str(value), reason, record)


def typed(
    raw: pa.Array, kind: ColumnType, csv: CsvOptions
) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
    """A column as `kind`, and where it has a value that cannot be one (None: nowhere).

    Numbers that are spelled as text are so as `csv` says.
    """
    raw = _plain(raw)
    try:
        return _converted(raw, kind, csv), None
    except pa.ArrowInvalid:
        encoded = raw.dictionary_encode()
        pieces = list(_pieces(encoded.dictionary, kind, csv))
        distinct = pa.concat_arrays([values for values, _ in pieces])
        misfits = np.concatenate([np.full(len(values), misfit) for values, misfit in pieces])
        misfit = pa.array(misfits).take(encoded.indices).fill_null(False)
        return distinct.take(encoded.indices), _mask(misfit)


def _pieces(raw: pa.Array, kind: ColumnType, csv: CsvOptions) -> Iterator[tuple[pa.Array, bool]]:
    """`raw` as `kind`, piece by piece; True marks a single value that cannot be one."""
    try:
        yield _converted(raw, kind, csv), False
    except pa.ArrowInvalid:
        if len(raw) == 1:
            yield pa.nulls(1, _ARROW_TYPES[kind]), True
        else:
            middle = len(raw) // 2
            yield from _pieces(raw[:middle], kind, csv)
            yield from _pieces(raw[middle:], kind, csv)


def _converted(raw: pa.Array, kind: ColumnType, csv: CsvOptions) -> pa.Array:
    """`raw` as `kind`; raises ArrowInvalid if any value cannot be one."""
    if kind is ColumnType.STRING:
        # The cast checks that it is UTF-8.
        text = iso(raw) if is_moment(raw.type) else raw.cast(pa.string())
        if pc.any(pc.match_substring(text, UNDECODABLE)).as_py():
            raise pa.ArrowInvalid("undecodable")
        return _null_where(pc.equal(text, ""), text).cast(pa.binary())
    if pa.types.is_binary(raw.type):
        raw = plain_numbers(pc.utf8_trim_whitespace(raw.cast(pa.string())), csv)
    elif pa.types.is_boolean(raw.type):
        raw = raw.cast(pa.int8())
    return _integers(raw) if kind is ColumnType.INT else _floats(raw)


def _integers(raw: pa.Array) -> pa.Array:
    try:
        return raw.cast(pa.int64())
    except pa.ArrowInvalid:
        # pandas writes integers as 5.0 when some are missing; from 2**53 on they may be others.
        wide = _wide(raw)
        if not pc.all(pc.less(pc.abs(wide), 2.0**53), min_count=0).as_py():
            raise
        return wide.cast(pa.int64())


def _floats(raw: pa.Array) -> pa.Array:
    floats = _wide(raw).cast(pa.float32(), safe=False)
    if not pc.all(pc.is_finite(floats), min_count=0).as_py():
        raise pa.ArrowInvalid("not finite")
    return floats


def _wide(raw: pa.Array) -> pa.Array:
    """`raw` in 64 bits, NaN as null."""
    wide = raw.cast(pa.float64(), safe=pa.types.is_string(raw.type))
    return _null_where(pc.is_nan(wide), wide)


def _null_where(condition: pa.Array, values: pa.Array) -> pa.Array:
    if not condition.true_count:
        return values
    return pc.if_else(condition, pa.scalar(None, values.type), values)


def _check_type(file: str, name: str, found: pa.DataType, kind: ColumnType) -> None:
    types = pa.types
    number = types.is_integer(found) or types.is_boolean(found)
    fits = is_text(found) or number or types.is_null(found) or types.is_decimal(found)
    if kind is ColumnType.STRING:
        fits = fits or is_moment(found)
    else:
        fits = fits or types.is_floating(found)
    if not fits:
        raise UserError(
            f"{file}, column {name!r}: its type is {found}, {_EXPECTED[kind]} in each row. "
            "Write the file with that type, or give the column another type in the schema."
        )


def _first_reasons(
    reasons: list[Reason],
) -> dict[int, tuple[str, str]]:
    """The first column and reason of each row that has one, by its place in the block."""
    first: dict[int, tuple[str, str]] = {}
    for column, misfit, reason in reasons:
        for at in np.flatnonzero(misfit):
            first.setdefault(int(at), (column, reason))
    return first


def _mask(booleans: pa.Array) -> npt.NDArray[np.bool_]:
    return booleans.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _readable(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    return value.decode(errors="backslashreplace").replace(UNDECODABLE, "\N{REPLACEMENT CHARACTER}")
