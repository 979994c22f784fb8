"""Other files, folders and databases that are no table to learn from."""

from __future__ import annotations

import gzip
import os
import sqlite3
from pathlib import Path

import pyarrow as pa
import zstandard

from tests.hostile.files import Hostile, archive, changed, good, parquet, text


def _database(folder: Path) -> None:
    with sqlite3.connect(folder / "a.db") as database:
        database.execute("CREATE TABLE flights (day TEXT, photo BLOB, late INTEGER)")
        database.execute("INSERT INTO flights VALUES ('d1', x'00ff', 1)")
        database.execute("CREATE TABLE none (day TEXT, late INTEGER)")


_PARQUET = {"day": ["a", "b"] * 60, "temp": [1.5, 2.5] * 60, "late": [0, 1] * 60}
_EXPECTED = "expected CSV (.csv, .tsv, .txt, also .gz or .zst) or Parquet (.parquet, .pq)."
_CUT = (
    " The file may be damaged or cut short (compare its size with the original), or be no such "
    "file as its name says."
)


OTHERS = [
    Hostile(
        "a workbook",
        {"a.xlsx": archive("xl/workbook.xml")},
        f"{{folder}}/a.xlsx is a workbook of Excel: save the sheet as CSV; {_EXPECTED}",
    ),
    Hostile(
        "an archive",
        {"a.zip": archive("a.csv")},
        f"{{folder}}/a.zip is a ZIP archive: unpack it; {_EXPECTED}",
    ),
    Hostile(
        "a pickle",
        {"a.pkl": b"\x80\x04K\x01."},
        "{folder}/a.pkl is a pickle, which may hold any program and is not opened: write it as "
        f"Parquet; {_EXPECTED}",
    ),
    Hostile(
        "lines of JSON",
        {"a.jsonl": b'{"day": "d1", "late": 1}\n' * 50},
        "{folder}/a.jsonl is JSON, expected CSV or Parquet. Convert it, in Python: "
        "pandas.read_json('{folder}/a.jsonl', lines=True).to_parquet('rows.parquet')",
    ),
    Hostile(
        "gzip, cut short",
        {"a.csv.gz": gzip.compress(text(good(5000)))[:-40]},
        f"{{folder}}/a.csv.gz cannot be read: Truncated compressed stream.{_CUT}",
    ),
    Hostile(
        "zstd, cut short",
        {"a.csv.zst": zstandard.compress(text(good(5000)))[:-400]},
        f"{{folder}}/a.csv.zst cannot be read: Truncated compressed stream.{_CUT}",
    ),
    Hostile(
        "packed by bzip2",
        {"a.csv": b"BZh91AY&SY" + bytes(40)},
        "{folder}/a.csv is packed by bzip2: unpack it, or pack it by gzip or zstd.",
    ),
    Hostile(
        "Parquet, cut short",
        {"a.parquet": parquet(_PARQUET)[:-200]},
        "{folder}/a.parquet cannot be read: Parquet magic bytes not found in footer. Either the "
        f"file is corrupted or this is not a parquet file.{_CUT}",
    ),
    Hostile(
        "Parquet, damaged inside",
        {"a.parquet": parquet(_PARQUET)[:40] + b"\xff" * 9 + parquet(_PARQUET)[49:]},
        "{folder}/a.parquet cannot be read: Couldn't deserialize thrift: don't know what type: "
        "\x0f."
        f"{_CUT}",
    ),
    Hostile(
        "Parquet with lists",
        {"a.parquet": parquet(_PARQUET | {"temp": [[1.5]] * 120})},
        "{folder}/a.parquet, column 'temp': its type is list<element: double>, expected a number, "
        "text, a boolean or a date in each row. Leave the column out, or write its parts as "
        "columns.",
    ),
    Hostile(
        "Parquet with structures",
        {"a.parquet": parquet(_PARQUET | {"day": [{"a": 1}] * 120})},
        "{folder}/a.parquet, column 'day': its type is struct<a: int64>, expected a number, text, "
        "a boolean or a date in each row. Leave the column out, or write its parts as columns.",
    ),
    Hostile(
        "Parquet without rows",
        {
            "a.parquet": parquet(
                {"day": pa.array([], pa.string()), "late": pa.array([], pa.int64())}
            )
        },
        "{folder}/a.parquet has a header and no rows. Expected rows below it.",
    ),
    Hostile(
        "a name that is not there",
        {"flights.csv": text(good())},
        "{folder}/flihgts.csv: there is no such file or folder; did you mean "
        "{folder}/flights.csv? Check the name.",
        source="flihgts.csv",
    ),
    Hostile(
        "a folder without data",
        {"data/README.md": b"Nothing here.\n"},
        f"{{folder}}/data holds no data file, {_EXPECTED[:-1]}, in itself or in folders such as "
        "span-01.",
        source="data",
    ),
    Hostile(
        "a glob that matches nothing",
        {"a.csv": text(good())},
        "{folder}/b*.csv: no file matches. Check the name, and quote it in a shell.",
        source="b*.csv",
    ),
    Hostile(
        "a folder of CSV and Parquet",
        {"data/a.csv": text(good()), "data/b.parquet": parquet(_PARQUET)},
        "{folder}/data holds files of several kinds, such as a.csv and b.parquet. Expected one: "
        "name them by a glob, as in '*.csv'.",
        source="data",
    ),
    Hostile(
        "a folder of files with other columns",
        {"data/a.csv": text(good()), "data/b.csv": text(good(header="day,temp,city,late"))},
        "{folder}/data/b.csv has no column 'town', which {folder}/data/a.csv has. Expected files "
        "with the same columns: name fewer files, or make them alike.",
        source="data",
    ),
    Hostile(
        "a folder of files with a column more",
        {"data/a.csv": text(good()), "data/b.csv": text([f"{line},1" for line in good()])},
        "{folder}/data/b.csv has a column '1', which {folder}/data/a.csv has not. Expected files "
        "with the same columns: name fewer files, or make them alike.",
        source="data",
    ),
    Hostile(
        "a folder of Parquet with other types",
        {
            "data/a.parquet": parquet(_PARQUET),
            "data/b.parquet": parquet(_PARQUET | {"temp": ["warm"] * 120}),
        },
        "{folder}/data/b.parquet, column 'temp': its type is string, and in "
        "{folder}/data/a.parquet it is double. Expected files with the same columns: write them "
        "with one type.",
        source="data",
    ),
    Hostile(
        "a folder of files in two encodings",
        {
            "data/a.csv": changed(3, "d1,1.5,Köln,1"),
            "data/b.csv": text(["d" + line for line in good()[:1]] + ["d1,1.5,Köln,1"], "cp1252"),
        },
        "{folder}/data/a.csv is utf-8, and {folder}/data/b.csv is cp1252. Expected files of one "
        "encoding: save them in the same one.",
        source="data",
    ),
    Hostile(
        "links in a circle",
        {},
        "{folder}/a.csv cannot be read: Too many levels of symbolic links.",
        source="a.csv",
        make=lambda folder: (folder / "a.csv").symlink_to(folder / "a.csv"),
    ),
    Hostile(
        "a pipe",
        {},
        "{folder}/a.csv is no file but a device, a pipe or a socket. Save it as a file.",
        source="a.csv",
        make=lambda folder: os.mkfifo(folder / "a.csv"),
    ),
    Hostile(
        "a name that is a pattern",
        {"a[1].csv": text(good())},
        "{folder}/a[1].csv: the name holds one of * ? [ ] {{ }}. Rename the file.",
    ),
    Hostile(
        "a page of the web",
        {},
        "https://example.com/a.csv begins with https://; expected a file, gs://…, s3://… or a "
        "database: postgresql, mysql, sqlite, bigquery. Download it first, if it is a page of the "
        "web.",
        source="https://example.com/a.csv",
    ),
    Hostile(
        "a database without a query",
        {},
        "sqlite:///{folder}/a.db: what is asked of the database? Say --query, with SQL or the name "
        "of a table.",
        source="sqlite:///{folder}/a.db",
        make=_database,
    ),
    Hostile(
        "a table that is not there",
        {},
        "sqlite:///{folder}/a.db has no table 'fligths'; did you mean flights? It has: flights, "
        "none.",
        source="sqlite:///{folder}/a.db",
        options=("--query", "fligths"),
        make=_database,
    ),
    Hostile(
        "SQL that is none",
        {},
        'sqlite:///{folder}/a.db refuses the query: near "SELEKT": syntax error. Correct '
        "data.query.",
        source="sqlite:///{folder}/a.db",
        options=("--query", "SELEKT 1"),
        make=_database,
    ),
    Hostile(
        "a column of pictures",
        {},
        "sqlite:///{folder}/a.db, column 'photo': the query gives bytes values, expected a number, "
        "text, a boolean or a date in each row. Leave the column out, or select its parts.",
        source="sqlite:///{folder}/a.db",
        options=("--query", "flights"),
        make=_database,
    ),
    Hostile(
        "a query without rows",
        {},
        "sqlite:///{folder}/a.db: the query gives no rows. Expected some.",
        source="sqlite:///{folder}/a.db",
        options=("--query", "none"),
        make=_database,
    ),
    Hostile(
        "a database that is not there",
        {},
        "{folder}/b.db: there is no such file; sqlite:///{folder}/b.db names it.",
        source="sqlite:///{folder}/b.db",
        options=("--query", "flights"),
    ),
    Hostile(
        "a password in a URL",
        {},
        "the database's URL holds a password; put it in PIPELINE_DATABASE_PASSWORD.",
        source="postgresql://me:secret@127.0.0.1/flights",
        options=("--query", "flights"),
    ),
]
