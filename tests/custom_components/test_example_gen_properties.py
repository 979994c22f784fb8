"""Whatever the table: every row comes back, with its types, and its group stays whole."""

import csv
import gzip
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from tests.custom_components.ingest import TABLE, Ingested, Row, ingest

# Python's csv and Arrow agree on what these are; NUL and lone surrogates are no text in a file.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff\uffff"))
NULLS = {"", "NA", "NULL", "null", "NaN", "nan"}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "day": TEXT.filter(lambda text: text not in NULLS),
            "temp": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
            "hour": st.none() | st.integers(-(2**63), 2**63 - 1),
            "late": st.integers(0, 1),
        }
    ),
    min_size=1,
    max_size=60,
)
COLUMNS = list(TABLE.columns)
# A row that is in each split, so that neither is empty.
FILL = [{"day": f"fill {n}", "temp": 0.5, "hour": n, "late": 0} for n in range(12)]

few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def as_csv(rows: list[Row], file: Path, delimiter: str = ",") -> None:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "wt", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, COLUMNS, delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def as_parquet(rows: list[Row], file: Path) -> None:
    types = [
        ("day", pa.string()),
        ("temp", pa.float32()),
        ("hour", pa.int64()),
        ("late", pa.int8()),
    ]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(types)), file, row_group_size=7)


def ingested(files: dict[str, list[Row]], delimiter: str = ",", **data: Any) -> Ingested:
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in files.items():
            file = Path(folder) / name
            as_parquet(rows, file) if file.suffix == ".parquet" else as_csv(rows, file, delimiter)
        out = Path(folder) / "out"
        return ingest(Path(folder), out, pattern="data*", csv={"delimiter": delimiter}, **data)


def counted(rows: list[Row]) -> Counter[tuple[Any, ...]]:
    return Counter(
        (
            row["day"],
            None if row["temp"] is None else np.float32(row["temp"]).item(),
            row["hour"],
            row["late"],
        )
        for row in rows
    )


@few
@given(rows=ROWS, delimiter=st.sampled_from(",;\t|"), gz=st.booleans())
def test_every_row_of_a_csv_file_comes_back(rows: list[Row], delimiter: str, gz: bool) -> None:
    name = "data.csv.gz" if gz else "data.csv"
    result = ingested({name: rows + FILL}, delimiter, split_by="day")
    assert counted(result.rows) == counted(rows + FILL)
    assert not {r["day"] for r in result.train} & {r["day"] for r in result.eval}


@few
@given(rows=ROWS)
def test_parquet_and_csv_and_parts_of_both_give_the_same_splits(rows: list[Row]) -> None:
    middle = len(rows) // 2
    whole = ingested({"data.csv": rows + FILL}, split_by="day")
    parts = ingested(
        {"data-2.csv": [*FILL, *rows[:middle]], "data-1.parquet": rows[middle:][::-1]},
        split_by="day",
    )
    assert counted(whole.train) == counted(parts.train)
    assert counted(whole.eval) == counted(parts.eval)


WRONG = {
    "temp": ["warm", "1,5", "0x10", "1e99", "-inf", "1 2", "--", "1.5.2"],
    "hour": ["noon", "1.5", "1e400", "9223372036854775808", "1_0", "٣"],
    "late": ["2", "-1", "", "yes", "0.5", "NA"],
}


@few
@given(data=st.data(), rows=ROWS)
def test_each_row_is_either_ingested_or_kept_aside(data: st.DataObject, rows: list[Row]) -> None:
    spoilt = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    written: list[Row] = [dict(row) for row in rows]
    for at in spoilt:
        column = data.draw(st.sampled_from(list(WRONG)))
        written[at][column] = data.draw(st.sampled_from(WRONG[column]))
    result = ingested({"data.csv": written + FILL}, on_bad_row="drop", max_bad_fraction=1)
    good = [row for at, row in enumerate(rows) if at not in spoilt]
    assert counted(result.rows) == counted(good + FILL)
    assert result.count("rows_dropped") == len(spoilt)


@few
@given(content=st.binary(max_size=300))
def test_any_bytes_are_ingested_or_refused_in_words(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("data.csv", "data.csv.gz", "data.parquet"):
            (Path(folder) / name).write_bytes(b"day,temp,hour,late\n" + content)
            try:
                ingest(Path(folder), Path(folder) / "out", pattern=name)
            except UserError as error:
                assert name in str(error) or "fell in the" in str(error)
