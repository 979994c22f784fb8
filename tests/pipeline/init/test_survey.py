"""All rows are counted, batch by batch, in bounded memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.init.survey import Reading, survey
from pipeline.init.values import figure, spelled_alike, stand_in, unit_of


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


def test_there_are_no_more_values_than_rows_or_whole_numbers_between_the_ends() -> None:
    rows = np.arange(60_000)
    columns = {"row": pa.array(rows), "of": pa.array(np.repeat(rows[:40_000], 2)[:60_000])}
    counted = survey(batches(columns, 60_000), dict.fromkeys(columns, Reading()), []).columns
    for found in counted.values():
        found.sketch //= np.uint64(2)  # As if the hashes were smaller by chance.
    assert counted["row"].distinct == 60_000
    assert counted["of"].distinct == 30_000


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


@pytest.mark.parametrize(
    ("spelled", "words", "plain"),
    [
        ("7.5 kg", "a number with its unit", "7.5"),
        ("30,507 km", "a number with its unit", "30507"),
        ("$1,200.50", "an amount with its currency", "1200.50"),
        ("1.234,56 €", "an amount with its currency", "1234.56"),
        ("-3,5 %", "a number with a percent sign", "-3.5"),
        ("47,25", "a number with a decimal comma", "47.25"),
    ],
)
def test_units_are_told_and_how_to_write_the_number(spelled: str, words: str, plain: str) -> None:
    unit = unit_of(pa.array(["unknown", *[spelled] * 5]))
    assert unit is not None
    assert (unit.words, unit.example, unit.plain) == (words, spelled, plain)


def test_spellings_that_differ_only_in_case_or_spaces_are_found() -> None:
    found = spelled_alike(["Yes", "no", "yes ", "NO", "Y", "new  york", "New York", "York"])
    assert found == [["NO", "no"], ["New York", "new  york"], ["Yes", "yes "]]


def test_a_year_is_no_quantity_of_thousands() -> None:
    assert [figure(v) for v in (2015, 2015.5, 12_000.0, 1e6)] == [
        "2015",
        "2,015.5",
        "12,000",
        "1,000,000",
    ]


def test_codes_have_no_unit() -> None:
    assert unit_of(pa.array(["A1", "B2"])) is None
