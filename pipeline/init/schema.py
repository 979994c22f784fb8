"""A curated schema of the columns: types, presence, values and ranges, with room for new data."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.features_config import Problem
from pipeline.init.kinds import Kind
from pipeline.init.problems import Label
from pipeline.init.splits import Split
from pipeline.init.understanding import Column

_MOST_VALUES, _MOST_SINGLE = 100, 0.01
"""A column with more values, or a larger share of rows with a value of their own, has no domain: a
new one is no mistake. So often is the next row's value a new one (Good, 1953)."""
_QUANTITIES = ("numeric", "log", "cyclical", "bucketized")
_KNOWN_MASS = 0.9
"""Share of the rows whose value has to be known."""
_ROOM = 0.1
"""So much more may be missing than is now, beside chance."""

HEAD = """\
# What the data must look like: a TensorFlow Data Validation schema, as found in the data now.
# proto-message: tensorflow.metadata.v0.Schema
# A value outside a range, too many values outside a domain, and too many missing ones are
# anomalies, and the data gate stops the run on them. Ranges are wider than what was seen, and a
# tenth of a column's rows may have values that are not listed: look it through, and tighten what
# you know better.
"""


def schema(columns: Mapping[str, Column], label: Label, split: Split, rows: int) -> str:
    """The schema in protobuf's text form.

    Args:
        columns: Those that are ingested.
        label: The one to predict.
        split: Its column may not be missing.
        rows: How many rows there are.
    """
    from google.protobuf import text_format

    told = schema_pb2.Schema()
    for column in columns.values():
        feature = told.feature.add(name=column.name)
        whole = column.name in (label.name, split.column)
        if whole:
            feature.shape.dim.add(size=1)
        else:
            feature.value_count.min = feature.value_count.max = 1
        # What few rows have, a split, or a month, may lack.
        feature.presence.min_fraction = 1.0 if whole else _least_there(column, rows)
        feature.presence.min_count = 1 if feature.presence.min_fraction > 0 else 0
        feature.type = schema_pb2.FeatureType.Value(type_of(column, label))
        if column.name == label.name:
            _label_domain(feature, column, label)
        elif feature.type == schema_pb2.BYTES:
            _values(feature, column)
        else:
            _range(feature, column)
    text: str = text_format.MessageToString(told, as_utf8=True)
    return HEAD + text


def type_of(column: Column, label: Label) -> str:
    """INT, FLOAT or BYTES: what the column is ingested as."""
    if column.name == label.name:
        if label.problem is Problem.REGRESSION:
            return "FLOAT"
        if column.counted.high == -math.inf:
            return "BYTES"
        return "INT" if column.counted.whole else "FLOAT"
    if column.is_text:
        return "BYTES"
    if column.guess.kind is Kind.NUMBER and column.guess.role in _QUANTITIES:
        return "FLOAT"  # Whole as they are now, the next one may not be.
    if column.counted.whole and column.counted.high > -math.inf:
        return "INT"
    return "BYTES" if column.guess.role in ("categorical", "hashed", "target_encoded") else "FLOAT"


def _least_there(column: Column, rows: int) -> float:
    """The share of rows that must have a value, in twentieths."""
    there = 1 - column.counted.missing / max(1, rows)
    # A split of few rows has more or fewer by chance.
    chance = 3 * math.sqrt(there * (1 - there) / max(1, rows / 3))
    return max(0.0, math.floor(20 * (there - _ROOM - chance)) / 20)


def _label_domain(feature, column: Column, label: Label) -> None:  # type: ignore[no-untyped-def]
    if label.problem is Problem.REGRESSION:
        return
    if column.counted.high == -math.inf:
        feature.string_domain.value.extend(label.classes)
    elif column.counted.whole:
        numbers = [int(float(value)) for value in label.classes]
        feature.int_domain.min, feature.int_domain.max = min(numbers), max(numbers)


def _values(feature, column: Column) -> None:  # type: ignore[no-untyped-def]
    counts = column.counted.values
    listed = column.guess.kind in (Kind.CATEGORY, Kind.BOOLEAN) and column.guess.role != "hashed"
    if not listed or not counts or len(counts) > _MOST_VALUES:
        return
    if list(counts.values()).count(1) > _MOST_SINGLE * sum(counts.values()):
        return
    feature.string_domain.value.extend(sorted(counts))
    feature.distribution_constraints.min_domain_mass = _KNOWN_MASS


def _range(feature, column: Column) -> None:  # type: ignore[no-untyped-def]
    guess, counted = column.guess, column.counted
    names_things = guess.role in ("categorical", "hashed", "target_encoded", "keep", "dates")
    if counted.high == -math.inf or (names_things and guess.kind is not Kind.BOOLEAN):
        return
    low, high = counted.low, counted.high
    if guess.kind is not Kind.BOOLEAN and guess.role != "cyclical":
        width = (high - low) * (10 if guess.role == "log" else 1)
        low, high = (min(0.0, low) if guess.role == "log" else low - width), high + width
    if guess.role == "cyclical":
        low, high = min(0.0, low), max(high, float(guess.setting))
    if feature.type == schema_pb2.INT:
        if abs(low) < 2**62 and abs(high) < 2**62:
            feature.int_domain.min, feature.int_domain.max = math.floor(low), math.ceil(high)
    else:
        step = 10 ** math.floor(math.log10(max(high - low, 1e-9)) - 1)
        feature.float_domain.min = float(f"{math.floor(low / step) * step:.12g}")
        feature.float_domain.max = float(f"{math.ceil(high / step) * step:.12g}")
