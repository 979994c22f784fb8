"""Each mistake in the data, and the words that a person gets for it."""

import errno
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UnreachableError, UserError
from pipeline.sources.files import damage_in_words
from tests.custom_components.ingest import csv_file, days, ingest


def changed(number: int, line: str) -> list[str]:
    """Good rows, with another `line` as row `number`."""
    lines = days()
    lines[number - 1] = line
    return lines


HEADER = "day,temp,hour,late"
MISTAKES: list[tuple[str, list[str], dict[str, Any], list[str]]] = [
    ("float", changed(5, "d3,warm,3,1"), {}, ["row 5", "'temp'", "'warm'", "finite number"]),
    ("decimal comma", changed(5, 'd3,"3,5",3,1'), {}, ["row 5", "'3,5'", "finite number"]),
    ("infinite", changed(5, "d3,inf,3,1"), {}, ["row 5", "'inf'", "finite number"]),
    ("too large", changed(5, "d3,1e39,3,1"), {}, ["row 5", "'1e39'", "32 bits"]),
    ("integer", changed(6, "d4,4.5,4.5,1"), {}, ["row 6", "'hour'", "'4.5'", "an integer"]),
    ("huge", changed(6, f"d4,4.5,{2**63},1"), {}, ["row 6", "'hour'", str(2**63), "64 bits"]),
    ("label range", changed(7, "d5,5.5,5,2"), {}, ["row 7", "'late'", "'2'", "one of '0', '1'"]),
    ("label missing", changed(7, "d5,5.5,5,"), {}, ["row 7", "'late'", "missing", "label"]),
    ("label word", changed(7, "d5,5.5,5,yes"), {}, ["row 7", "'late'", "'yes'", "an integer"]),
    ("group missing", changed(8, ",6.5,6,0"), {"split_by": "day"}, ["row 8", "'day'", "split_by"]),
    ("short row", changed(9, "d7,7.5,7"), {}, ["row 9", "3 values, expected 4"]),
    ("long row", changed(9, "d7,7.5,7,1,1"), {}, ["row 9", "5 values, expected 4"]),
    ("cut short in a row", [*days()[:-1], "d29,29.5"], {}, ["row 31", "2 values, expected 4"]),
    ("cut short in quotes", [*days(), '"d30,30.5,6,0'], {}, ["inside a quoted value, at row 32"]),
    ("quotes last", [HEADER, *(f"d{n},1,2,0" for n in range(9)), 'd9,1,2,"0'], {}, ["row 11"]),
    ("no column", days(header="day,tmp,hour,late"), {}, ["no column 'temp'", "mean 'tmp'?"]),
    ("two columns", days(header="day,temp,temp,late"), {}, ["'temp' 2 times", "expected once"]),
    ("no rows", [HEADER], {}, ["holds no rows"]),
    ("no bytes", [], {}, ["is empty, expected a header"]),
    ("wrong delimiter", days(), {"csv": {"delimiter": ";"}}, ["no column 'day'", HEADER]),
    ("no encoding", days(), {"csv": {"encoding": "utf-9"}}, ["no encoding 'utf-9'", "cp1252"]),
    ("no text", days(), {"csv": {"encoding": "zip"}}, ["no encoding 'zip'"]),
    ("wide delimiter", days(), {"csv": {"delimiter": "§"}}, ["csv.delimiter", "ASCII"]),
    ("few groups", days(1), {"split_by": "day"}, ["No row of 1 fell", "values of 'day'"]),
]


@pytest.mark.parametrize(
    ("lines", "data", "words"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_a_mistake_in_csv_is_told_with_its_place(
    tmp_path: Path, lines: list[str], data: dict[str, Any], words: list[str]
) -> None:
    csv_file(tmp_path / "data", lines)
    with pytest.raises(UserError) as error:
        ingest(tmp_path / "data", tmp_path / "out", **data)
    for word in words:
        assert word in str(error.value)


def test_the_message_names_the_file(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", days(), "a.csv")
    file = csv_file(tmp_path / "data", changed(5, "d3,warm,3,1"), "b.csv")
    with pytest.raises(UserError) as error:
        ingest(tmp_path / "data", tmp_path / "out")
    assert str(error.value) == (
        f"{file}, row 5, column 'temp': 'warm', expected a finite number of 32 bits. Mend the row, "
        "or set data.on_bad_row to drop: such rows are then left out, counted and kept aside."
    )


@pytest.mark.parametrize(("encoding", "named"), [("utf-8", "utf-8"), ("cp1252", "cp1252")])
def test_a_byte_that_is_not_in_the_encoding(tmp_path: Path, encoding: str, named: str) -> None:
    file = csv_file(tmp_path / "data", days())
    # 0x81 is no character of cp1252, and in UTF-8 none by itself.
    file.write_bytes(file.read_bytes().replace(b"d3,", b"d\x813,"))
    with pytest.raises(UserError, match=rf"row 5, column 'day'.*expected text in {named}"):
        ingest(tmp_path / "data", tmp_path / "out", csv={"encoding": encoding})


def test_a_header_that_is_not_in_the_encoding(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", days(), encoding="utf-16")
    with pytest.raises(UserError, match=r"header is not utf-8. Set data\.csv\.encoding"):
        ingest(tmp_path / "data", tmp_path / "out")


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def parquet_bytes(columns: dict[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


GOOD = {"day": ["a", "b"] * 9, "temp": [1.5] * 18, "hour": [1] * 18, "late": [0, 1] * 9}
CSV = "\n".join(days(5000)).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", cut(gzip.compress(CSV))),
        ("a.csv.gz", gzip.compress(CSV) + b"more"),
        ("a.parquet", cut(parquet_bytes(GOOD))),
        ("a.parquet", b""),
        ("a.parquet", CSV),
    ],
    ids=["cut gzip", "gzip and more", "cut parquet", "empty parquet", "csv called parquet"],
)
def test_a_damaged_file_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} cannot be read: .*damaged or cut short"):
        ingest(tmp_path, tmp_path / "out", pattern="a.*")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"temp": [[1.5]] * 18}, ["'temp'", "list<", "expected a finite number"]),
        ({"day": [1.5] * 18}, ["'day'", "double", "expected text"]),
        ({"late": [0, 3] * 9}, ["row 2, column 'late': '3'", "one of '0', '1'"]),
        ({"hour": [1] * 17 + [1.5]}, ["row 18, column 'hour': '1.5'", "an integer"]),
        ({"temp": [1.5] * 17 + [float("inf")]}, ["row 18, column 'temp': 'inf'", "finite"]),
        ({"hour": pa.array([2**63] * 18, pa.uint64())}, ["row 1, column 'hour'", "64 bits"]),
    ],
    ids=["nested", "type", "label", "integer", "infinite", "huge"],
)
def test_a_mistake_in_parquet_is_told_with_its_place(
    tmp_path: Path, columns: dict[str, Any], words: list[str]
) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes(GOOD | columns))
    with pytest.raises(UserError) as error:
        ingest(tmp_path, tmp_path / "out", pattern="a.*")
    for word in words:
        assert word in str(error.value)


def test_parquet_without_a_column_or_with_two_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes({"day": ["a"], "Temp": [1.0], "late": [1]}))
    with pytest.raises(UserError, match=r"no column 'temp'.*mean 'Temp'"):
        ingest(tmp_path, tmp_path / "out", pattern="a.*")
    twice = pa.table([["a"], [1.0], [1.0], [1], [1]], ["day", "temp", "temp", "hour", "late"])
    pq.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"'temp' 2 times"):
        ingest(tmp_path, tmp_path / "out", pattern="b.*")


def test_too_many_bad_rows_stop_the_run_even_when_they_are_dropped(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", changed(5, "d3,warm,3,1"))
    with pytest.raises(UserError, match=r"(?s)1 of 30 rows \(3\.33%\).*allows 1\.00%.*row 5.*warm"):
        ingest(tmp_path / "data", tmp_path / "out", on_bad_row="drop", max_bad_fraction=0.01)


def test_a_quote_that_is_never_closed_does_not_swallow_rows(tmp_path: Path) -> None:
    header = "temp,hour,late,day"
    lines = [header, *(f"1.5,1,0,d{n}" for n in range(20)), '1.5,1,0,"d20', "1.5,1,0,d21"]
    csv_file(tmp_path / "data", lines)
    with pytest.raises(UserError, match="ends inside a quoted value, at row 22"):
        ingest(tmp_path / "data", tmp_path / "out", on_bad_row="drop", max_bad_fraction=1)


def test_a_lone_quote_inside_a_value_is_a_value(tmp_path: Path) -> None:
    lines = days()
    lines[3] = '5" pipe,1.5,1,0'
    csv_file(tmp_path / "data", lines)
    assert '5" pipe' in {r["day"] for r in ingest(tmp_path / "data", tmp_path / "out").rows}


def test_a_row_longer_than_a_block_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.csv_file.BLOCK_BYTES", 1000)
    lines = days(200)
    lines[50] = '"' + "x" * 5000 + '",1,1,0'
    csv_file(tmp_path / "data", lines)
    with pytest.raises(UserError, match=r"a row of more than 2 MiB.*never closed"):
        ingest(tmp_path / "data", tmp_path / "out")


def test_files_of_no_known_format_and_no_files_are_told(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", days(), "a.dat")
    with pytest.raises(UserError, match=r"a\.dat.*does not tell its format"):
        ingest(tmp_path / "data", tmp_path / "out")
    assert ingest(tmp_path / "data", tmp_path / "out", format="csv").count("rows_dropped") == 0
    with pytest.raises(UserError, match=r"No data file matches"):
        ingest(tmp_path / "data", tmp_path / "out", pattern="b*")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = csv_file(tmp_path / "data", days())
    link = file.with_name("b.csv")
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"b\.csv cannot be read: .*No such file"):
        ingest(tmp_path / "data", tmp_path / "out")


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (OSError(errno.EIO, "Input/output error"), True),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (gzip.BadGzipFile("Not a gzipped file"), False),
        (pa.ArrowInvalid("magic bytes not found"), False),
    ],
)
def test_a_disk_that_fails_is_no_fault_of_the_file(error: Exception, may_pass: bool) -> None:
    with pytest.raises(UserError, match="cannot be read") as raised, damage_in_words("a.csv"):
        raise error
    assert isinstance(raised.value, UnreachableError) is may_pass
