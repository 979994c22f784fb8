from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.growth import write_rows


@pytest.fixture
def year() -> pa.Table:
    random = np.random.default_rng(1)
    gusts = [None if i % 3 else float(i) for i in range(100)]
    return pa.table(
        {
            "date": [f"2013-01-{1 + i // 10:02}" for i in range(100)],
            "number": pa.array(range(100), pa.int16()),
            "temp": pa.array(random.normal(50, 10, 100), pa.float32()),
            "gust": pa.array(gusts, pa.float32()),
        }
    )


@pytest.mark.parametrize(("rows", "sizes"), [(30, [30]), (100, [40, 40, 20]), (90, [40, 40, 10])])
def test_files_hold_the_rows_asked_for(
    tmp_path: Path, year: pa.Table, rows: int, sizes: list[int]
) -> None:
    write_rows(rows, tmp_path / "span-01", year, per_file=40)
    files = sorted((tmp_path / "span-01").iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == sizes


def test_fewer_rows_than_a_year_still_have_all_its_days(tmp_path: Path, year: pa.Table) -> None:
    write_rows(30, tmp_path / "few", year)
    few = pq.read_table(tmp_path / "few")
    assert few.schema == year.schema
    assert set(few["date"].to_pylist()) == set(year["date"].to_pylist())


def test_repeated_rows_differ_a_little_and_stay_within_range(
    tmp_path: Path, year: pa.Table
) -> None:
    write_rows(250, tmp_path / "many", year, per_file=120)
    many = pq.read_table(tmp_path / "many")
    assert many.schema == year.schema
    assert many[:100] == year
    again = many[100:200]
    for kept in ("date", "number"):
        assert again[kept] == year[kept]
    assert again["gust"].null_count == year["gust"].null_count
    noise = np.asarray(again["temp"]) - np.asarray(year["temp"])
    assert 0 < np.abs(noise).max() < 1
    assert np.count_nonzero(noise) > 90
    for column in ("temp", "gust"):
        values = [v for v in many[column].to_pylist() if v is not None]
        known = [v for v in year[column].to_pylist() if v is not None]
        assert min(known) <= min(values)
        assert max(values) <= max(known)


def test_the_same_size_is_the_same_data(tmp_path: Path, year: pa.Table) -> None:
    for name in ("one", "other"):
        write_rows(250, tmp_path / name, year)
    assert pq.read_table(tmp_path / "one") == pq.read_table(tmp_path / "other")
