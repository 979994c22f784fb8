"""What raw columns become."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import preprocessing
from tests.models.transformed import Transformed


@pytest.fixture(scope="module")
def columns(transformed: Transformed) -> dict[str, np.ndarray]:
    return transformed.columns()


def missing(table: pa.Table, column: str) -> np.ndarray:
    return np.asarray(table[column].is_null())


def test_numbers_are_scaled_by_the_values_that_are_there(columns, table):
    for column in ("distance", "wind"):
        there = columns[f"{column}_scaled"][~missing(table, column)]
        assert there.mean() == pytest.approx(0, abs=1e-4)
        assert there.std() == pytest.approx(1, abs=1e-3)
    raw = table["distance"].to_numpy()
    np.testing.assert_allclose(
        columns["distance_scaled"], (raw - raw.mean()) / raw.std(), rtol=1e-3, atol=1e-4
    )


def test_missing_numbers_take_the_mean_and_are_flagged(columns, table):
    for column, outputs in {"wind": ["wind_scaled"], "angle": ["angle_sin", "angle_cos"]}.items():
        absent = missing(table, column)
        assert absent.any()
        np.testing.assert_array_equal(columns[f"{column}_missing"], absent)
        for output in outputs:
            assert not columns[output][absent].any()


def test_no_flag_is_made_for_a_column_that_the_schema_says_is_always_there(columns):
    assert "distance_missing" not in columns
    assert "hour_missing" not in columns


def test_outliers_are_clipped(transformed, table):
    served = transformed.serve(_with(table, "wind", [1e6, -1e6]))
    assert list(served["wind_scaled"]) == [5, -5]


@pytest.mark.parametrize("column", ["carrier", "gate"])
def test_categories_are_numbered_by_frequency_after_a_place_for_missing_ones(
    columns, table, column
):
    indices = columns[f"{column}_index"]
    np.testing.assert_array_equal(indices == 0, missing(table, column))
    counts = np.bincount(indices)
    assert list(counts[1:]) == sorted(counts[1:], reverse=True)
    assert len(counts) == 4
    pairs = {(v, i) for v, i in zip(table[column].to_pylist(), indices, strict=True)}
    assert len(pairs) == 4


@pytest.mark.parametrize(("column", "unseen"), [("carrier", "XX"), ("gate", 99)])
def test_an_unseen_category_takes_the_last_place(transformed, table, column, unseen):
    served = transformed.serve(_with(table, column, [unseen, None]))
    assert list(served[f"{column}_index"]) == [4, 0]


def test_cyclical_numbers_wrap_around(transformed, table):
    served = transformed.serve(_with(table, "hour", [0, 24, 6]))
    np.testing.assert_allclose(served["hour_sin"], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(served["hour_cos"], [1, 1, 0], atol=1e-6)


@given(st.floats(-1000, 1000, width=32), st.integers(-5, 5), st.floats(1, 1000, width=32))
def test_a_whole_period_more_is_the_same_place_on_the_circle(value, turns, period):
    sine, cosine = preprocessing.circle(np.array([value, value + turns * period]), period)
    assert math.hypot(sine[0], cosine[0]) == pytest.approx(1, abs=1e-4)
    # float32: an error of the value, in radians
    tolerance = 1e-6 * 2 * math.pi * (abs(value) + abs(turns) * period + 1) / period + 1e-5
    assert abs(sine[0] - sine[1]) < tolerance
    assert abs(cosine[0] - cosine[1]) < tolerance


def test_rows_of_one_group_share_their_fold(columns, table):
    by_day: dict[str, set[int]] = {}
    for day, fold in zip(table["date"].to_pylist(), columns["fold"], strict=True):
        by_day.setdefault(day, set()).add(int(fold))
    assert all(len(folds) == 1 for folds in by_day.values())
    assert len(set.union(*by_day.values())) > 10


def test_the_label_passes_and_kept_columns_do_not(columns, table):
    np.testing.assert_array_equal(columns["label"], table["late"].to_numpy())
    assert not [name for name in columns if name.startswith("date")]


def test_serving_needs_neither_label_nor_kept_columns(transformed, table, columns):
    served = transformed.serve(table.drop_columns(["late", "date"]))
    assert set(columns) - set(served) == {"label", "fold"}
    for name, values in served.items():
        np.testing.assert_allclose(values, columns[name], err_msg=name, atol=1e-6)


def _with(table: pa.Table, column: str, values: list[object]) -> pa.Table:
    """The first rows of `table` with other values in a column."""
    rows = table.slice(0, len(values))
    place = table.column_names.index(column)
    return rows.set_column(place, column, pa.array(values, table.schema.field(column).type))
