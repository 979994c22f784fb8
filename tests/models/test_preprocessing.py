"""What raw columns become."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from models import preprocessing
from pipeline.features_config import DateConfig, FeaturesConfig
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
    np.testing.assert_allclose(served["hour_sin"], [0, 0, 1], atol=1e-4)
    np.testing.assert_allclose(served["hour_cos"], [1, 1, 0], atol=1e-4)


def test_what_is_opposite_on_the_circle_is_the_same_to_the_last_bit(transformed, table):
    hours = [1, 2, 3, 4, 5]
    early = transformed.serve(_with(table, "hour", hours))["hour_sin"]
    late = transformed.serve(_with(table, "hour", [12 - hour for hour in hours]))["hour_sin"]
    assert list(early) == list(late)


@given(st.floats(-1000, 1000, width=32), st.integers(-5, 5), st.floats(1, 1000, width=32))
def test_a_whole_period_more_is_the_same_place_on_the_circle(value, turns, period):
    circle = preprocessing.circle("x", np.array([value, value + turns * period]), period)
    sine, cosine = circle["x_sin"], circle["x_cos"]
    assert math.hypot(sine[0], cosine[0]) == pytest.approx(1, abs=2e-4)
    # float32: an error of the value, in radians
    tolerance = 1e-6 * 2 * math.pi * (abs(value) + abs(turns) * period + 1) / period + 2e-4
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


@pytest.mark.parametrize(
    ("problem", "classes", "values", "expected"),
    [
        ("binary", (), [0, 1, 1], [0, 1, 1]),
        ("binary", (), ["1", "0", "2"], [1, 0, -1]),
        ("binary", ("no", "yes"), ["yes", "no", "Yes"], [1, 0, -1]),
        ("binary", ("true", "false"), ["false", "true", ""], [1, 0, -1]),
        ("multiclass", ("3", "1", "2"), [1, 2, 3], [1, 2, 0]),
        ("multiclass", ("3", "1", "2.5"), [1.0, 2.5, 3.0], [1, 2, 0]),
        ("multiclass", ("3", "1", "2"), ["1", "2", "1.0"], [1, 2, -1]),
        ("regression", (), [2, -1, 0], [2.0, -1.0, 0.0]),
        ("regression", (), [2.5, -1.0, 0.0], [2.5, -1.0, 0.0]),
    ],
)
def test_a_label_becomes_the_number_of_its_class_whatever_its_type(
    problem: str, classes: tuple[str, ...], values: list[object], expected: list[float]
):
    config = FeaturesConfig.model_validate(
        {"label": "y", "numeric": ["x"], "problem": problem, "classes": classes}
    )
    column = tf.constant(values, tf.int64 if isinstance(values[0], int) else None)
    for held in (column, tf.sparse.from_dense(column[:, None])):
        found = preprocessing.label(held, config)
        if held is column:
            assert found.numpy().tolist() == expected
        assert found.dtype == (tf.float32 if problem == "regression" else tf.int64)


def test_a_hashed_value_has_a_place_of_its_own_and_a_missing_one_the_first():
    found = preprocessing.hashed(tf.constant(["a", "", "a", "b"]), 1000).numpy()
    assert found[1] == 0 and found[0] == found[2] != found[3]
    many = preprocessing.hashed(tf.strings.as_string(tf.range(5000)), 7).numpy()
    assert set(many) == set(range(1, 8))


def test_the_logarithm_has_the_sign_of_its_number():
    values = [0.0, math.e - 1, 1 - math.e, math.nan]
    np.testing.assert_allclose(preprocessing.log(tf.constant(values)), [0, 1, -1, math.nan])


def test_a_date_becomes_its_parts_and_its_age():
    config = DateConfig(parts=("year", "month", "weekday", "hour"))
    text = tf.constant(["2020-01-06 12:00", "2019-04-02", "never"])
    scaled, outputs = preprocessing.date("day", text, config)
    np.testing.assert_array_equal(outputs["day_missing"], [0, 0, 1])
    np.testing.assert_array_equal(scaled["day.year"], [0, -1, np.nan])
    np.testing.assert_allclose(scaled["day.age"], [-5.5, 274, np.nan])
    for part, angles in {"month": [0, 0.25], "weekday": [0, 1 / 7], "hour": [0.5, 0]}.items():
        sine, cosine = outputs[f"day.{part}_sin"], outputs[f"day.{part}_cos"]
        np.testing.assert_allclose(sine, [*np.sin(2 * np.pi * np.array(angles)), 0], atol=1e-4)
        np.testing.assert_allclose(cosine, [*np.cos(2 * np.pi * np.array(angles)), 0], atol=1e-4)
    assert len(scaled) == 2 and len(outputs) == 7


def _with(table: pa.Table, column: str, values: list[object]) -> pa.Table:
    """The first rows of `table` with other values in a column."""
    rows = table.slice(0, len(values))
    place = table.column_names.index(column)
    return rows.set_column(place, column, pa.array(values, table.schema.field(column).type))
