"""Ingest of labels of every type, of numbers in other spellings, and of a split by time."""

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from custom_components.example_gen import ColumnType, Table
from custom_components.example_gen.split import first_judged, moments
from pipeline.errors import UserError
from tests.custom_components.ingest import FLOAT, INT, STRING, csv_file, ingest


def parquet(folder: Path, **columns: Any) -> Path:
    """A folder with a Parquet file of 30 rows."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"temp": np.arange(30.0)} | columns), folder / "a.parquet")
    return folder


def table(kind: ColumnType, classes: tuple[str, ...], **columns: ColumnType) -> Table:
    return Table(columns={"temp": FLOAT, "y": kind, **columns}, label="y", classes=classes)


@pytest.mark.parametrize(
    ("kind", "values", "classes"),
    [
        (INT, [1, 2, 3] * 10, ("3", "2", "1")),
        (FLOAT, [0.0, 1.0] * 15, ("0", "1")),
        (FLOAT, [0.1, 1.5] * 15, ("0.1", "1.5")),
        (STRING, ["no", "yes"] * 15, ("no", "yes")),
        (STRING, [True, False] * 15, ("false", "true")),
        (INT, [True, False] * 15, ("0", "1")),
        (FLOAT, [-1.25, 1e6] * 15, ()),
    ],
)
def test_a_label_has_the_type_of_its_column(
    tmp_path: Path, kind: ColumnType, values: list[Any], classes: tuple[str, ...]
) -> None:
    data = parquet(tmp_path / "data", y=values)
    rows = ingest(data, tmp_path / "out", table=table(kind, classes)).rows
    expected = [str(v).lower() if kind is STRING else float(v) for v in values]
    assert sorted(row["y"] for row in rows) == pytest.approx(sorted(expected))


@pytest.mark.parametrize(
    ("kind", "value", "classes", "words"),
    [
        (STRING, "maybe", ("no", "yes"), "'maybe', expected one of 'no', 'yes'"),
        (STRING, "Yes", ("no", "yes"), "'Yes', expected one of"),
        (FLOAT, 0.5, ("0", "1"), "'0.5', expected one of '0', '1'"),
        (INT, 4, tuple("0123"), "'4', expected one of '0', '1', '2', '3'"),
        (FLOAT, None, (), "the value is missing, expected a label"),
        (FLOAT, float("inf"), (), "'inf', expected a finite number"),
    ],
)
def test_a_label_that_cannot_be_one_is_told_with_its_row(
    tmp_path: Path, kind: ColumnType, value: Any, classes: tuple[str, ...], words: str
) -> None:
    fine = classes[0] if classes else "1"
    of = {STRING: str, FLOAT: float, INT: int}[kind]
    data = parquet(tmp_path / "data", y=[of(fine)] * 29 + [value])
    with pytest.raises(UserError, match=f"row 30, column 'y': {words}"):
        ingest(data, tmp_path / "out", table=table(kind, classes))


def test_values_of_parquet_become_text_where_text_is_wanted(tmp_path: Path) -> None:
    noon = datetime.datetime(2026, 11, 30, 12, 0, 0, 5, datetime.UTC)
    columns = {
        "day": [noon.date()] * 30,
        "at": pa.array([noon] * 30, pa.timestamp("us", "Europe/Berlin")),
        "price": [decimal.Decimal("12.50")] * 30,
        "open": [True] * 30,
        "code": pa.array(["a"] * 30).dictionary_encode(),
        "place": pa.array(["b"] * 30, pa.large_string()),
    }
    data = parquet(tmp_path / "data", y=[0, 1] * 15, **columns)
    wanted = table(INT, ("0", "1"), **dict.fromkeys(columns, STRING))
    (row, *_) = ingest(data, tmp_path / "out", table=wanted).rows
    assert {name: row[name] for name in columns} == {
        "day": "2026-11-30",
        "at": "2026-11-30 12:00:00",
        "price": "12.50",
        "open": "true",
        "code": "a",
        "place": "b",
    }


@pytest.mark.parametrize(
    ("csv", "spelled", "value"),
    [
        ({"decimal": ","}, "-3,5", -3.5),
        ({"decimal": ",", "thousands": "."}, "1.234,5", 1234.5),
        ({"thousands": ","}, "1,234", 1234.0),
        ({"thousands": "'"}, "1'234'567.5", 1234567.5),
    ],
)
def test_numbers_in_the_spelling_that_is_set(
    tmp_path: Path, csv: dict[str, str], spelled: str, value: float
) -> None:
    lines = ["temp\ty", *(f"{spelled}\t{n % 2}" for n in range(30)), "7\t1"]
    packed = csv_file(tmp_path, lines, "lines.tsv")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tsv.zst").write_bytes(zstandard.compress(packed.read_bytes()))
    rows = ingest(tmp_path / "data", tmp_path / "out", table=table(INT, ("0", "1")), csv=csv).rows
    assert {row["temp"] for row in rows} == {value, 7.0}


@pytest.mark.parametrize("spelled", ["1.5", "12,34"])
def test_a_number_in_another_spelling_is_a_bad_row(tmp_path: Path, spelled: str) -> None:
    csv = {"delimiter": ";", "thousands": ",", "decimal": "."}
    if spelled == "1.5":
        csv = {"delimiter": ";", "decimal": ","}
    lines = ["temp;y", *(f"7;{n % 2}" for n in range(30)), f"{spelled};1"]
    csv_file(tmp_path / "data", lines)
    with pytest.raises(UserError, match=f"row 32, column 'temp': '{spelled}', expected a finite"):
        ingest(tmp_path / "data", tmp_path / "out", table=table(INT, ("0", "1")), csv=csv)


WHEN = {
    "iso": lambda n: f"2026-{1 + n // 28:02}-{1 + n % 28:02}",
    "%d/%m/%Y": lambda n: f"{1 + n % 28}/{1 + n // 28}/2026",
    "epoch": lambda n: str(1_700_000_000 + n),
}


@pytest.mark.parametrize("form", WHEN)
def test_the_newest_rows_judge_in_a_split_by_time(tmp_path: Path, form: str) -> None:
    of = WHEN[form]
    for part in (0, 1):  # Neither in one file nor in order.
        order = np.random.default_rng(part).permutation(np.arange(part, 90, 2))
        lines = ["temp,y,when", *(f"{n},{n % 2},{of(n)}" for n in order)]
        csv_file(tmp_path / "data", lines, f"{part}.csv")
    wanted = table(INT, ("0", "1"), when=STRING).model_copy(update={"time_format": form})
    split = {"split_time": "when", "train_buckets": 2, "eval_buckets": 1}
    ingested = ingest(tmp_path / "data", tmp_path / "out", table=wanted, **split)
    assert {row["temp"] for row in ingested.train} == set(range(60))
    assert {row["temp"] for row in ingested.eval} == set(range(60, 90))


@pytest.mark.parametrize("value", ["", "soon"])
def test_a_row_of_which_nobody_knows_when_it_was_is_bad(tmp_path: Path, value: str) -> None:
    lines = ["temp,y,when", *(f"{n},{n % 2},2026-11-{n + 1:02}" for n in range(30)), f"1,1,{value}"]
    csv_file(tmp_path / "data", lines)
    wanted = table(INT, ("0", "1"), when=STRING)
    split = {"split_time": "when", "max_bad_fraction": 0.1}
    with pytest.raises(UserError, match=r"row 32, column 'when': .*expected a date such as 2026"):
        ingest(tmp_path / "data", tmp_path / "out", table=wanted, **split)
    dropped = ingest(tmp_path / "data", tmp_path / "kept", table=wanted, on_bad_row="drop", **split)
    assert (dropped.count("rows_dropped"), len(dropped.rows)) == (1, 30)


def test_one_time_cannot_be_split(tmp_path: Path) -> None:
    data = parquet(tmp_path / "data", y=[0, 1] * 15, when=[2026] * 30)
    with pytest.raises(UserError, match=r"No row of 30 fell in the train .*'when' to split"):
        ingest(data, tmp_path / "out", table=table(INT, ("0", "1"), when=INT), split_time="when")


def test_rows_of_one_time_stay_together_at_the_cut_nearest_to_the_share() -> None:
    when = np.array([1.0, 2, 2, 2, 2, 3, 3, 3, np.nan])
    assert first_judged(when, 1 / 3) == 3.0
    assert first_judged(when, 0.8) == 2.0
    assert first_judged(np.array([1.0, 1, 2]), 0.01) == 2.0


def test_dates_are_in_order_however_exactly_they_are_told() -> None:
    told = ["2026-11-29 23:59", "2026-11-30", "2026-11-30T00:00:01", "2026-11-30T01:00:00+00:30"]
    assert np.diff(moments(pa.array(map(str.encode, told)), time_format="iso")).min() > 0
