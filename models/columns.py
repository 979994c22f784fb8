"""Raw rows, however they are held, as the arrays that a model's signature takes."""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from models.manifest import Type

Row = Mapping[str, Any]
Rows: TypeAlias = (
    "pd.DataFrame | pa.Table | pa.RecordBatch | Mapping[str, Any] | Iterable[pa.RecordBatch]"
    " | Sequence[Row]"
)
"""Raw rows: a DataFrame, an Arrow table, batch or several, arrays by column, or a dict per row."""

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def arrays(
    rows: Rows, types: Mapping[str, Type], example: Row | None = None
) -> dict[str, NDArray[Any]]:
    """One array [rows] for each column, of the type that it is to have.

    True and False are 1 and 0 in a column of numbers; in one of text they are spelled as in the
    example, "True" or "TRUE", say, or "true" and "false". Dates become ISO text.

    Args:
        rows: The rows; columns that `types` does not name are ignored.
        types: "string" (bytes; missing: b""), "float32" (missing: NaN), "float64" (a whole number,
            missing: NaN) or "int64" (a whole number, which no row may lack) by column.
        example: One of the rows that the model learned from.

    Raises:
        UserError: If a column is not there, or a value does not fit; says which row (from 1).
    """
    columns = _by_name(rows)
    found = {
        name: _array(name, dtype, columns, _spelled((example or {}).get(name)))
        for name, dtype in types.items()
    }
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"The columns are not of the same length: {said} rows.")
    return found


def _by_name(rows: Any) -> Mapping[str, Any]:
    """The columns by name, each as something that Arrow or a list can hold."""
    if isinstance(rows, Mapping):
        return rows
    if isinstance(rows, pa.Table | pa.RecordBatch):
        return {name: rows.column(name) for name in rows.schema.names}
    if hasattr(rows, "columns") and hasattr(rows, "dtypes"):  # a DataFrame, without pandas
        return {str(name): rows[name] for name in rows.columns}
    held = list(rows)
    if held and all(isinstance(row, pa.RecordBatch) for row in held):
        return _by_name(pa.Table.from_batches(held))
    return _Gathered(held)


class _Gathered(Mapping[str, Any]):
    """Columns out of a dict per row."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> list[Any]:
        for number, row in enumerate(self._rows, start=1):
            if name not in row:
                raise _NotThere(f"Row {number}", row)
        return [row[name] for row in self._rows]

    def __iter__(self) -> Any:
        return iter(self._rows[0] if self._rows else ())

    def __len__(self) -> int:
        return len(self._rows[0]) if self._rows else 0


class _NotThere(KeyError):
    def __init__(self, where: str, columns: Iterable[Any]) -> None:
        super().__init__(where)
        self.where = where
        self.columns = list(map(str, columns))


def _spelled(value: Any) -> tuple[str, str]:
    """False and True, as a column spells them of which this is a value."""
    for spell in (str.capitalize, str.upper):
        if value in (spell("false"), spell("true")):
            return spell("false"), spell("true")
    return "false", "true"


def _array(
    name: str, dtype: Type, columns: Mapping[str, Any], spelled: tuple[str, str]
) -> NDArray[Any]:
    try:
        values = columns[name]
    except KeyError as error:
        where, there = "The data", list(columns)
        if isinstance(error, _NotThere):
            where, there = error.where, error.columns
        close = difflib.get_close_matches(name, there, n=1)
        offer = f" Is it {close[0]!r}? Rename it." if close else ""
        expected = _TYPES[dtype][1]
        raise UserError(f"{where} has no column {name!r}: expected {expected}.{offer}") from None
    quick = _quick(values, dtype, spelled)
    return _one_by_one(name, values, dtype, spelled) if quick is None else quick


def _quick(values: Any, dtype: Type, spelled: tuple[str, str]) -> NDArray[Any] | None:
    """The whole column at once; None where its values have to be looked at one by one."""
    if isinstance(values, list) and any(isinstance(value, bool | np.bool_) for value in values):
        return None  # Arrow would take True beside text for 1.
    try:
        column = (
            values
            if isinstance(values, pa.Array | pa.ChunkedArray)
            else pa.array(values, from_pandas=True)
        )
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        is_text = dtype == "string"
        column = pc.if_else(column, *reversed(spelled)) if is_text else column.cast(pa.int8())
    if dtype == "string":
        return _quick_strings(column)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return None
    if dtype == "int64" and column.null_count:
        return None
    numbers = column.to_numpy(zero_copy_only=False)
    if dtype == "float32":
        fits = ~(np.abs(numbers) > _LARGEST_FLOAT)
    elif pa.types.is_integer(column.type):
        fits = np.array(column.type != pa.uint64())
    else:
        whole = (np.trunc(numbers) == numbers) & (np.abs(numbers) < 2.0**63)
        fits = whole | np.isnan(numbers) if dtype == "float64" else whole
    return numbers.astype(dtype) if np.all(fits) else None


def _quick_strings(column: pa.Array) -> NDArray[Any] | None:
    if pa.types.is_temporal(column.type):
        column = _iso(column)
    elif pa.types.is_integer(column.type):
        column = column.cast(pa.string())
    elif column.type not in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        return None
    filled = pc.fill_null(column.cast(pa.large_binary()), b"")
    return np.asarray(filled.to_numpy(zero_copy_only=False), object)


def _iso(column: pa.Array) -> pa.Array:
    """Dates and times as text, in whole seconds and UTC: as ingest writes them."""
    if pa.types.is_timestamp(column.type):
        column = pc.floor_temporal(column, unit="second").cast(pa.timestamp("s"))
    return column.cast(pa.string())


def _one_by_one(name: str, values: Any, dtype: Type, spelled: tuple[str, str]) -> NDArray[Any]:
    convert, expected = _TYPES[dtype]
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = values.to_pylist()
    converted = []
    for number, value in enumerate(values, start=1):
        try:
            plain = _plain(value)
            if isinstance(plain, bool):
                plain = spelled[plain] if dtype == "string" else int(plain)
            converted.append(convert(plain))
        except (ValueError, TypeError, OverflowError):
            raise UserError(
                f"Row {number}, column {name!r}: {value!r} does not fit; expected {expected}."
            ) from None
    return np.array(converted, object if dtype == "string" else dtype)


def _plain(value: Any) -> Any:
    """A value as Python's own; pandas' NA as None."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _string(value: Any) -> bytes:
    if _is_missing(value):
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return str(_whole(value)).encode()  # a whole number beside missing ones, as pandas has it
    if isinstance(value, str | int):
        return str(value).encode()
    if isinstance(value, datetime.date):
        return bytes(_iso(pa.array([value]))[0].as_py(), "ascii")
    raise TypeError


def _float(value: Any) -> float:
    if _is_missing(value):
        return math.nan
    number = float(value)
    if abs(number) > _LARGEST_FLOAT:
        raise ValueError
    return number


def _int(value: Any) -> int:
    """A whole number of 64 bits: 3, 3.0 and "3" are the same."""
    number = int(value) if isinstance(value, str | int) else _whole(float(value))
    return int(np.int64(number))


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError
    return int(number)


def _int_or_missing(value: Any) -> float:
    return math.nan if _is_missing(value) else float(_int(value))


_TYPES: dict[Type, tuple[Callable[[Any], Any], str]] = {
    "string": (_string, "a string, or null if it is missing"),
    "float32": (_float, "a number, or null if it is missing"),
    "float64": (_int_or_missing, "a whole number, or null if it is missing"),
    "int64": (_int, "a whole number, which no row may lack"),
}
"""How a value becomes what an array of the type holds, and what is expected in words."""
