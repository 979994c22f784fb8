"""Files that can be read, in whatever way they are written: what is found, and what is said."""

import datetime
import decimal
import gzip
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.config import PROJECT
from pipeline.data_config import FileFormat
from pipeline.errors import UserError
from pipeline.sources import ReadOptions, open_source

LINES = ["day,temp,town", "d1,1.5,Ulm", "d2,,Köln", "d3,-3,Bonn"]
ROWS = [
    {"day": "d1", "temp": 1.5, "town": "Ulm"},
    {"day": "d2", "temp": None, "town": "Köln"},
    {"day": "d3", "temp": -3.0, "town": "Bonn"},
]


def read(file: Path, **options: Any) -> list[dict[str, Any]]:
    source = open_source(str(file), options=ReadOptions(**options))
    table = pa.Table.from_batches(source.batches(), source.schema)
    assert source.rows == len(table)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("a.csv", "\n".join(LINES).encode(), None),
        ("a.csv", "\ufeff".encode() + "\r\n".join(LINES).encode(), None),
        ("a.csv", "\n".join(LINES[:2]).encode() + "\r\n".join(["", *LINES[2:]]).encode(), None),
        ("a.csv", "\n".join(LINES).encode("utf-16"), "The text is UTF-16."),
        ("a.csv", "\n".join(LINES).encode("utf-16-le"), "UTF-16-LE, by the zeros"),
        ("a.csv", "\n".join(LINES).encode("cp1252"), "byte 0xF6 in line 3.*says 'Köln' there"),
        ("a.csv.gz", gzip.compress("\n".join(LINES).encode()), None),
        ("a.zst", zstandard.compress("\n".join(LINES).encode()), None),
        ("a.tsv", "\n".join(LINES).replace(",", "\t").encode(), "separated by a tab"),
        ("a.txt", "\n".join(LINES).replace(",", "|").encode(), "separated by a bar"),
        ("a", "\n".join(LINES).replace(",", ";").encode(), "separated by a semicolon"),
        ("a.csv", "\n".join(LINES).replace(",", ";").replace(".", ",").encode(), "decimal comma"),
        ("a.csv", b"day,temp,town,\n" + "\n".join(f"{x}," for x in LINES[1:]).encode(), "1 of 4"),
    ],
)
def test_the_same_table_is_found_however_it_is_written(
    tmp_path: Path, name: str, content: bytes, note: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name) == ROWS
    notes = " ".join(open_source(str(tmp_path / name)).notes)
    assert note is None or re.search(note, notes), notes


@pytest.mark.parametrize(
    ("values", "kind", "note"),
    [
        (["1", "", "-7"], "int64", ""),
        (["1", "1.5", "1e3"], "double", ""),
        (["1", "NA", "null"], "int64", ""),
        (["01234", "99999"], "string", ""),
        (["1", str(2**63)], "string", "more than 64 bits"),
        (["1", "inf"], "string", ""),
        (["1", "12 kg"], "string", ""),
        (["True", "False"], "string", ""),
        (["2026-11-30", "2026-12-01"], "string", ""),
        (['"1,234"', '"1,234,567"', "7"], "int64", "commas between thousands, as in '1,234,567'"),
        (['"1,5"', '"1.234,5"'], "double", "decimal comma, as in '1.234,5', and points"),
        (['"1,234"', '"2,345"'], "string", "Say --decimal , or --thousands ,"),
        (["", ""], "null", ""),
    ],
)
def test_a_column_is_a_number_if_all_its_values_are(
    tmp_path: Path, values: list[str], kind: str, note: str
) -> None:
    (tmp_path / "a.csv").write_text("n,x\n" + "".join(f"{v},a\n" for v in values))
    source = open_source(str(tmp_path / "a.csv"))
    assert str(source.schema.field("n").type) == kind
    assert note in " ".join(source.notes)


def test_a_value_far_down_decides_as_well(tmp_path: Path) -> None:
    lines = ["n,x", *(f"{n},a" for n in range(400_000)), "unknown,a"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    source = open_source(str(tmp_path / "a.csv"))
    assert (source.rows, source.schema.field("n").type) == (400_001, pa.string())


def test_a_sample_is_spread_over_the_whole(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,x\n" + "".join(f"{n},a\n" for n in range(300_000)))
    source = open_source(str(tmp_path / "a.csv"))
    assert source.sample(4).column("n").to_pylist() == [0, 99_999, 199_999, 299_999]
    assert len(source.sample(10**6)) == 300_000


def test_names_of_columns_may_be_anything(tmp_path: Path) -> None:
    names = ["a.b", "two\nlines", "🛬", "x" * 5000, "2013", " padded", 'say "so"']
    quoted = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    (tmp_path / "a.csv").write_text(f"{quoted}\n1,2,3,4,5,6,7\n")
    assert open_source(str(tmp_path / "a.csv")).schema.names == names


def test_values_in_apostrophes_and_what_is_said_goes_before_what_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("day,town\n'd1','a, b'\n'd2','c'\n")
    assert read(tmp_path / "a.csv")[0] == {"day": "d1", "town": "a, b"}
    with pytest.raises(UserError, match="row 2: 3 values, expected 2"):
        read(tmp_path / "a.csv", quote='"', delimiter=",")


def test_parquet_has_plain_types(tmp_path: Path) -> None:
    noon = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.UTC)
    pq.write_table(
        pa.table(
            {
                "price": [decimal.Decimal("1.50"), None],
                "code": pa.array(["a", "b"]).dictionary_encode(),
                "place": pa.array(["x", "y"], pa.large_string()),
                "at": pa.array([noon, None], pa.timestamp("ns", "Europe/Berlin")),
                "day": pa.array([noon.date(), None], pa.date64()),
                "small": pa.array([1, 2], pa.int8()),
                "open": [True, False],
                "clock": [datetime.time(7, 30), None],
            }
        ),
        tmp_path / "a.parquet",
    )
    assert read(tmp_path / "a.parquet")[0] == {
        "price": 1.5,
        "code": "a",
        "place": "x",
        "at": noon.replace(tzinfo=None),
        "day": noon.date(),
        "small": 1,
        "open": True,
        "clock": "07:30:00.000000",
    }


def test_folders_globs_and_spans(tmp_path: Path) -> None:
    for span in (1, 2):
        (tmp_path / f"data/month-{span:02}").mkdir(parents=True)
        pq.write_table(pa.table({"n": [span], "y": [0]}), tmp_path / f"data/month-{span:02}/a.pq")
    (tmp_path / "data/schema.pbtxt").touch()
    (tmp_path / "data/_DONE").touch()
    spans = open_source(str(tmp_path / "data"))
    assert spans.location.settings() == {
        "path": str(tmp_path / "data"),
        "pattern": "month-{SPAN:2}/*.pq",
        "format": FileFormat.PARQUET,
    }
    assert "month-{SPAN:2}" in spans.notes[0]
    one = open_source(str(tmp_path / "data/month-01"))
    assert (one.rows, one.location.pattern) == (1, "*.pq")
    both = open_source(f"{tmp_path}/data/month-*/*.pq")
    assert (both.rows, both.location.pattern) == (2, "month-*/*.pq")
    named = open_source(f"{tmp_path}/data/month-{{SPAN:2}}/*.pq")
    assert (named.rows, named.location.pattern) == (2, "month-{SPAN:2}/*.pq")
    assert (both.location.path, both.describe()) == (
        str(tmp_path / "data"),
        f"2 files in {tmp_path}/data: Parquet",
    )


def test_integers_and_floats_and_nothing_in_several_files_fit(tmp_path: Path) -> None:
    for at, values in enumerate(([None], [1], [1.5])):
        pq.write_table(pa.table({"n": values, "y": [0]}), tmp_path / f"{at}.parquet")
    assert [row["n"] for row in read(tmp_path)] == [None, 1.0, 1.5]


def test_a_file_of_the_project_is_named_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT / "data")
    source = open_source("flights/span-01")
    assert source.location.path == "data/flights/span-01"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delimiter": "ab"}, "--delimiter: "),
        ({"decimal": "x"}, "--decimal: "),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        ({"query": "SELECT 1"}, "a query goes with a database"),
    ],
)
def test_options_that_cannot_be_are_told(
    tmp_path: Path, options: dict[str, str], said: str
) -> None:
    (tmp_path / "a.csv").write_text("\n".join(LINES))
    with pytest.raises(UserError, match=said):
        open_source(str(tmp_path / "a.csv"), options=ReadOptions(**options))  # type: ignore[arg-type]
