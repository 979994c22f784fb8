"""All rows are counted, batch by batch, in bounded memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.init.survey import Reading, survey
from pipeline.init.values import stand_in, unit_of


def batches(columns: dict[str, pa.Array], size: int) -> list[pa.RecordBatch]:
    return list(pa.table(columns).to_batches(max_chunksize=size))


def test_counts_do_not_depend_on_where_batches_end() -> None:
    columns = {
        "a": pa.array([1, 2, None, 2, 5], pa.int64()),
        "b": pa.array(["x", "y", "x", "y", None]),
    }
    readings = {"a": Reading(), "b": Reading()}
    for size in (1, 2, 5):
        found = survey(batches(columns, size), readings, [])
        a, b = found.columns["a"], found.columns["b"]
        assert (a.missing, a.distinct, a.low, a.high, a.whole) == (1, 3, 1, 5, True)
        assert (b.missing, b.distinct) == (1, 2)
        assert b.values == {"x": 2, "y": 2}
        assert (found.rows, found.repeated) == (5, 1)


def test_rows_that_differ_in_an_identifier_alone_repeat_one_another() -> None:
    columns = {"id": pa.array([1, 2, 3]), "a": pa.array([7, 7, 8])}
    readings = {"id": Reading(), "a": Reading()}
    for apart, alike in (([], 0), (["id"], 1)):
        found = survey(batches(columns, 2), readings, apart)
        assert (found.repeated, found.alike) == (0, alike)


def test_columns_that_hold_the_same_are_found_and_others_are_not() -> None:
    numbers = pa.array(np.random.default_rng(0).normal(size=500))
    columns = {"a": numbers, "b": numbers, "c": numbers.take(pa.array(np.arange(500)[::-1]))}
    found = survey(batches(columns, 100), dict.fromkeys(columns, Reading()), [])
    assert found.twins == {"b": "a"}


def test_many_different_values_are_told_to_a_percent() -> None:
    columns = {"a": pa.array(np.arange(200_000) % 120_000), "b": pa.array(np.arange(200_000) % 999)}
    found = survey(batches(columns, 65_536), dict.fromkeys(columns, Reading()), []).columns
    assert not found["a"].exact
    assert found["a"].distinct == pytest.approx(120_000, rel=0.02)
    assert (found["b"].exact, found["b"].distinct) == (True, 999)


def test_texts_in_a_column_of_numbers_are_counted_and_located() -> None:
    columns = {"a": pa.array(["1", "2.5", "?", "3", "x7", "?"])}
    found = survey(batches(columns, 2), {"a": Reading(("?",), as_number=True)}, []).columns["a"]
    assert dict(found.odd) == {"?": 2, "x7": 1}
    assert found.odd_row == 4  # As a spreadsheet counts, which has a header.
    assert (found.missing, found.high, found.whole) == (3, 3.0, False)


def test_a_number_that_stands_for_a_missing_one_is_far_from_the_rest_and_frequent() -> None:
    temperatures = np.random.default_rng(0).uniform(-5, 30, 500)
    assert stand_in(temperatures) is None
    temperatures[:20] = -999
    assert stand_in(temperatures) == -999
    assert stand_in(np.arange(1000.0)) is None  # 999 is only the last of them.


def test_units_are_told() -> None:
    assert unit_of(pa.array(["12 kg", "7.5 kg", "9 kg"])) == "a number with its unit"
    assert unit_of(pa.array(["$1,200", "$85"])) == "an amount with its currency"
    assert unit_of(pa.array(["A1", "B2"])) is None
