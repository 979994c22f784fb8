"""What counts as a change of statistics and of a schema."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.lineage import compared
from pipeline.lineage.described import Schema, Statistics
from tests.pipeline.payloads import statistics


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    one, other = (
        Statistics("train", "train", ("train",), statistics(**told)) for told in (before, after)
    )
    return {key: (old, new) for key, old, new in compared.statistics(one, other)}


def number(mean: float, std: float = 10.0, missing: int = 0) -> dict[str, Any]:
    return {"numbers": {"temp": (mean, std)}, "missing": {"temp": missing}}


def texts(missing: int = 0, **counts: int) -> dict[str, Any]:
    rows = sum(counts.values()) + missing
    return {"rows": rows, "texts": {"carrier": counts}, "missing": {"carrier": missing}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (number(50), number(50), {}),
        (number(50), number(50.9), {}),
        (number(50), number(51.1), {"temp.mean": (50, 51.1)}),
        (number(50), number(50, 14), {}),
        (number(50), number(50, 14.2), {"temp.std": (10, 14.2)}),
        (number(50, 0), number(50, 0), {}),
        (number(0, 1e200), number(0, 1e200), {}),
        (number(50, 0), number(51, 0), {"temp.mean": (50, 51)}),
        (number(50), number(50, missing=2), {"temp.missing": (0, 0.02)}),
        (number(50, missing=50), number(50, missing=52), {}),
        (number(50), number(0, missing=100), {"temp.missing": (0, 1)}),
        (texts(UA=60, AA=40), texts(UA=61, AA=39), {}),
        (texts(UA=60, AA=40), texts(UA=66, AA=34), {"carrier.share of UA": (0.6, 0.66)}),
        (texts(UA=60, AA=40), texts(UA=60, AA=39, XX=1), {"carrier.share of XX": (0, 0.01)}),
        (
            texts(UA=100),
            texts(UA=50, AA=50),
            {"carrier.unique": (1, 2), "carrier.share of UA": (1, 0.5)},
        ),
        (texts(UA=60, AA=40), texts(DL=70, XX=30), {"carrier.top, none in common": ("UA", "DL")}),
        (number(50), texts(UA=1), {"temp": ("FLOAT", None), "carrier": (None, "STRING")}),
        (
            {"numbers": {"x": (1, 1)}},
            {"texts": {"x": {"1": 100}}},
            {"x.type": ("FLOAT", "STRING")},
        ),
    ],
)
def test_a_feature_is_told_of_when_it_moved_noticeably(
    before: dict[str, Any], after: dict[str, Any], expected: dict[str, tuple[Any, Any]]
) -> None:
    assert changes(before, after) == expected


COLUMNS = st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(0, 100))
"""Mean, standard deviation, and how many of 100 rows have no value."""


@given(COLUMNS, COLUMNS)
def test_a_change_back_is_as_noticeable(
    one: tuple[float, float, int], other: tuple[float, float, int]
) -> None:
    there, back = changes(number(*one), number(*other)), changes(number(*other), number(*one))
    assert back == {key: (new, old) for key, (old, new) in there.items()}
    assert changes(number(*one), number(*one)) == {}


def schema(text: str) -> Schema:
    return Schema(text_format.Parse(text, schema_pb2.Schema()))


FEATURE = 'feature {{ name: "x" {} }}'


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("type: INT", "type: INT", []),
        ("type: INT", "type: FLOAT", [("x.type", "INT", "FLOAT")]),
        (
            "presence { min_fraction: 1.0 }",
            "presence { min_fraction: 0.5 }",
            [("x.presence", 1.0, 0.5)],
        ),
        ("value_count { min: 1 max: 1 }", "shape { dim { size: 1 } }", []),
        ("shape { dim { size: 1 } }", "value_count { max: 3 }", [("x.values", "1", "at most 3")]),
        (
            "int_domain { min: 1 max: 7 }",
            "int_domain { min: 0 max: 6 }",
            [("x.domain", "1 to 7", "0 to 6")],
        ),
        ("int_domain { min: 1 }", "", [("x.domain", "at least 1", None)]),
        (
            'string_domain { value: "a" value: "b" }',
            'string_domain { value: "b" value: "c" value: "d" }',
            [("x.domain", ("a",), ("c", "d"))],
        ),
        ('string_domain { value: "a" value: "b" }', 'string_domain { value: "b" value: "a" }', []),
        ("", 'in_environment: "SERVING"', [("x.rest", None, 'in_environment: "SERVING"')]),
    ],
)
def test_a_feature_of_a_schema_is_told_of_when_it_changed(
    before: str, after: str, expected: list[tuple[Any, ...]]
) -> None:
    one, other = (schema(FEATURE.format(rest)) for rest in (before, after))
    assert list(compared.schema(one, other)) == expected


def test_features_of_a_schema_come_and_go() -> None:
    before = schema('feature { name: "x" type: INT } feature { name: "y" type: BYTES }')
    after = schema(
        'feature { name: "y" type: BYTES domain: "d" } feature { name: "z" type: FLOAT }'
        'string_domain { name: "d" value: "a" } default_environment: "TRAINING"'
    )
    assert list(compared.schema(before, after)) == [
        ("x", "INT", None),
        ("y.domain", None, ("a",)),
        ("z", None, "FLOAT"),
        ("rest", None, 'default_environment: "TRAINING"'),
    ]
