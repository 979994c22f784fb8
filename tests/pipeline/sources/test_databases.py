"""Rows that a database answers, and how they are kept."""

import datetime
import gzip
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UnreachableError, UserError
from pipeline.files import storage
from pipeline.sources import ReadOptions, open_source
from pipeline.sources.kept import keep, write
from tests import services
from tests.object_stores import BUCKET, reached, s3
from tests.pipeline.sources.bigquery_server import bigquery


def rows(database: str, query: str) -> list[dict[str, Any]]:
    source = open_source(database, options=ReadOptions(query=query))
    table = pa.Table.from_batches(source.batches(), source.schema)
    assert (source.rows, source.location.query) == (len(table), query)
    answered: list[dict[str, Any]] = table.to_pylist()
    return answered


@pytest.fixture
def sqlite_database(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "a.db")) as database, database:
        database.execute('CREATE TABLE "my flights" (day, temp, late)')
        database.execute('CREATE VIEW flights AS SELECT * FROM "my flights"')
        values = [("d1", 1, 0), ("d2", 2.5, 1), (None, None, "yes")]
        database.executemany('INSERT INTO "my flights" VALUES (?, ?, ?)', values)
    (tmp_path / "a.db").chmod(0o444)
    return f"sqlite:///{tmp_path / 'a.db'}"


def test_a_table_a_view_and_a_query_of_sqlite(sqlite_database: str) -> None:
    expected = [
        {"day": "d1", "temp": 1.0, "late": "0"},
        {"day": "d2", "temp": 2.5, "late": "1"},
        {"day": None, "temp": None, "late": "yes"},
    ]
    assert rows(sqlite_database, "flights") == expected
    assert rows(sqlite_database, "SELECT * FROM flights WHERE day <> ':x' OR day IS NULL") == (
        expected
    )


@pytest.mark.parametrize("name", ["a b.db", "a?mode=rwc.db", "50%25.db", "a#b.db"])
def test_a_file_of_sqlite_may_be_called_as_it_likes(tmp_path: Path, name: str) -> None:
    with closing(sqlite3.connect(tmp_path / name)) as database, database:
        database.execute("CREATE TABLE flights AS SELECT 1 AS late")
    assert rows(f"sqlite:///{tmp_path / name}", "flights") == [{"late": 1}]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_database_of_servers_gives_plain_types(
    server: services.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_DATABASE_PASSWORD", services.PASSWORD)
    moment = "TIMESTAMP" if server.scheme == "postgresql" else "DATETIME"
    name = server.database()
    query = f"""
        SELECT 1 AS n, CAST(1.50 AS DECIMAL(6, 2)) AS price, 'Köln: 100%' AS town,
               CAST('2026-11-30' AS DATE) AS day,
               CAST('2026-11-30 12:00:00' AS {moment}) AS at, NULL AS nothing
    """
    assert rows(name, query) == [
        {
            "n": 1,
            "price": 1.5,
            "town": "Köln: 100%",
            "day": datetime.date(2026, 11, 30),
            "at": datetime.datetime(2026, 11, 30, 12),
            "nothing": None,
        }
    ]
    with pytest.raises(UserError, match=r"has no table 'flights'\. It has: none"):
        rows(name, "flights")
    with pytest.raises(UserError, match=r"refuses the query: .*Correct data\.query"):
        rows(name, "SELEKT 1")
    with pytest.raises(UserError, match=r"gives no rows|refuses the query"):
        rows(name, "CREATE TABLE a (b INTEGER)")
    monkeypatch.setenv("PIPELINE_DATABASE_PASSWORD", "another secret")
    with pytest.raises(UserError, match=r"password is wrong.*PIPELINE_DATABASE_PASS") as refused:
        rows(name, query)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_away_may_come_back() -> None:
    with pytest.raises(UnreachableError, match="cannot be"):
        rows("postgresql://me@127.0.0.1:1/flights", "flights")


SCHEMA = [
    {"name": "day", "type": "DATE"},
    {"name": "price", "type": "NUMERIC"},
    {"name": "n", "type": "INTEGER"},
    {"name": "town", "type": "STRING"},
    {"name": "late", "type": "BOOLEAN"},
]


def test_bigquery_is_asked_by_query_or_by_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with bigquery(SCHEMA, [["2026-11-30", "1.5", "7", None, "true"]]) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        expected = {
            "day": datetime.date(2026, 11, 30), "price": 1.5, "n": 7, "town": None, "late": True
        }  # fmt: skip
        assert rows("bigquery://my-project", "SELECT 1") == [expected]
        source = open_source("bigquery://my-project/flights.march")
        assert (source.location.database, source.location.query) == (
            "bigquery://my-project",
            "flights.march",
        )
        assert server.queries == ["SELECT 1", "SELECT * FROM `flights.march`"]
        server.refusal = "Syntax error: Unexpected identifier"
        with pytest.raises(UserError, match=r"refuses the query: .*Syntax error"):
            rows("bigquery://my-project", "SELEKT 1")


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_kept_rows_are_known_by_their_content_whatever_their_order(tmp_path: Path) -> None:
    one = write([batch(n=[1, 2], t=["a", None])], tmp_path / "1.parquet", said="db")
    parts = [batch(n=[2], t=pa.nulls(1)), batch(n=[1], t=["a"])]
    assert write(parts, tmp_path / "2.parquet", said="db") == one
    assert write([batch(n=[1, 2], t=[None, "a"])], tmp_path / "3.parquet", said="db") != one
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "1.parquet", "2.parquet", "3.parquet"
    ]  # fmt: skip


def test_kept_rows_are_kept_once_here_and_on_an_object_store(
    tmp_path: Path, sqlite_database: str
) -> None:
    digest = keep(sqlite_database, "flights", f"{tmp_path}/queries")
    file = tmp_path / "queries" / digest / "rows.parquet"
    before = file.stat().st_mtime_ns
    assert keep(sqlite_database, "flights", f"{tmp_path}/queries") == digest
    assert (file.stat().st_mtime_ns, len(pq.read_table(file))) == (before, 3)
    with reached(s3):
        folder = f"s3://{BUCKET}/queries"
        assert keep(sqlite_database, "flights", folder) == digest
        assert keep(sqlite_database, "flights", folder) == digest
        source = open_source(f"{folder}/{digest}")
        assert (source.rows, source.location.pattern) == (3, "*.parquet")
        assert open_source(f"{folder}/*/*.parquet").rows == 3
        storage.write(f"{folder}/a.csv.gz", gzip.compress(b"day;temp\nd1;1,5\nd2;2\n"))
        packed = open_source(f"{folder}/a.csv.gz")
        assert [batch.to_pylist() for batch in packed.batches()] == [
            [{"day": "d1", "temp": 1.5}, {"day": "d2", "temp": 2.0}]
        ]
        assert (packed.location.path, packed.location.pattern) == (folder, "a.csv.gz")
        with pytest.raises(UserError, match="there is no such file or folder"):
            open_source(f"{folder}/none.csv")
