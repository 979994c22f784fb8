"""Columns as they are written in files, made plain: numbers without ornament, dates as ISO text."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data_config import CsvOptions


def plain_numbers(text: pa.Array, csv: CsvOptions) -> pa.Array:
    """Text in which numbers have a point before their decimals, and nothing between thousands.

    What is no number in the spelling of `csv` comes out as something that is none either.
    """
    if csv.thousands:
        mark, point = re.escape(csv.thousands), re.escape(csv.decimal)
        grouped = pc.match_substring_regex(
            text, rf"^[+-]?[0-9]{{1,3}}({mark}[0-9]{{3}})+({point}[0-9]*)?$"
        )
        text = pc.if_else(grouped, pc.replace_substring(text, csv.thousands, ""), text)
    if csv.decimal == ",":
        # With a decimal comma, 1.5 is no number.
        text = pc.replace_substring(pc.replace_substring(text, ".", "?"), ",", ".")
    return text


def iso(column: pa.Array) -> pa.Array:
    """Dates and times as text: 2026-11-30, 2026-11-30 12:00:00 (in UTC, if a zone is known)."""
    if pa.types.is_timestamp(column.type):
        column = pc.floor_temporal(column, unit="second").cast(pa.timestamp("s"))
    elif pa.types.is_date64(column.type):
        column = column.cast(pa.date32())
    return column.cast(pa.string())


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are text, or bytes that may be."""
    types = pa.types
    return any(
        of(kind)
        for of in (
            types.is_string,
            types.is_large_string,
            types.is_string_view,
            types.is_binary,
            types.is_large_binary,
            types.is_binary_view,
            types.is_fixed_size_binary,
        )
    )


def is_moment(kind: pa.DataType) -> bool:
    """Whether values of a type are dates or times of day."""
    types = pa.types
    return bool(types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind))


def decoded(column: pa.Array) -> pa.Array:
    """`column` with its values in the place of the numbers of a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
