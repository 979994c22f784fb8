"""Raw rows, however they are held, as arrays."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models import columns

WAYS = {
    "rows": [{"flag": True}, {"flag": np.False_}, {"flag": None}],
    "list": {"flag": [True, False, None]},
    "arrow": pa.table({"flag": [True, False, None]}),
    "pandas": pd.DataFrame({"flag": pd.array([True, False, None], "boolean")}),
    "objects": pd.DataFrame({"flag": [True, False, None]}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ({"flag": "True"}, [b"True", b"False", b""]),
        ({"flag": "FALSE"}, [b"TRUE", b"FALSE", b""]),
        ({"flag": "true"}, [b"true", b"false", b""]),
        ({}, [b"true", b"false", b""]),
    ],
)
def test_booleans_are_spelled_as_the_column_spells_them(
    way: str, example: dict[str, str], expected: list[bytes]
):
    found = columns.arrays(WAYS[way], {"flag": "string"}, example)
    assert found["flag"].tolist() == expected


@pytest.mark.parametrize("way", WAYS)
def test_booleans_in_a_column_of_numbers_are_1_and_0(way: str):
    found = columns.arrays(WAYS[way], {"flag": "float32"})
    np.testing.assert_array_equal(found["flag"], np.array([1, 0, np.nan], np.float32))
    whole = columns.arrays({"flag": [True, False]}, {"flag": "int64"})
    assert whole["flag"].tolist() == [1, 0]


@pytest.mark.parametrize(
    "rows",
    [
        [{"day": datetime(2013, 1, 5, 13, 45, 10, 5)}, {"day": None}],
        pd.DataFrame({"day": pd.to_datetime(["2013-01-05 13:45:10.000005", None])}),
        pa.table({"day": pa.array([datetime(2013, 1, 5, 13, 45, 10, 5), None])}),
    ],
)
def test_moments_become_text_as_ingest_writes_them(rows: Any):
    found = columns.arrays(rows, {"day": "string"})
    assert found["day"].tolist() == [b"2013-01-05 13:45:10", b""]


def test_days_have_no_time():
    found = columns.arrays([{"day": date(2013, 1, 5)}, {"day": "2013-01-06"}], {"day": "string"})
    assert found["day"].tolist() == [b"2013-01-05", b"2013-01-06"]
