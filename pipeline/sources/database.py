"""What a database answers to a query: SQL servers by SQLAlchemy, BigQuery by Google's client.

The password is taken from PIPELINE_DATABASE_PASSWORD; Google's credentials are those that its own
tools would find. BIGQUERY_EMULATOR_HOST names another server in BigQuery's place.
"""

from __future__ import annotations

import datetime
import decimal
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from pipeline.config import absolute
from pipeline.data_config import checked_database
from pipeline.errors import UnreachableError, UserError, nearest

PASSWORD_VARIABLE = "PIPELINE_DATABASE_PASSWORD"
_DRIVERS = {"postgresql": "postgresql+pg8000", "mysql": "mysql+pymysql", "sqlite": "sqlite"}
_ROWS = 20_000
_SECONDS = 20
_TABLE = re.compile(r"[\w.$-]+")
_TURNED_AWAY = ("28P01", "28000", "1045", "password authentication failed")


def rows_of(database: str, query: str) -> Iterator[pa.RecordBatch]:
    """The rows of a query, some at a time; a column's type may differ from batch to batch.

    Args:
      database: as data.database names it.
      query: SQL, or the name of a table.

    Raises:
      UserError: the database is not there, turns the user away or refuses the query.
    """
    try:
        scheme = checked_database(database).partition("://")[0]
    except ValueError as error:
        raise UserError(f"the database's URL {error}.") from None
    return _bigquery(database, query) if scheme == "bigquery" else _sql(database, query)


def _sql(database: str, query: str) -> Iterator[pa.RecordBatch]:
    import sqlalchemy

    with _sql_in_words(database), _connection(database) as connection:
        if _TABLE.fullmatch(query):
            query = f"SELECT * FROM {_quoted(connection, database, query)}"
        # A colon is a colon, not the begin of a parameter's name.
        result = connection.execute(sqlalchemy.text(query.replace(":", r"\:")))
        if not result.returns_rows:
            raise UserError(f"{database}: the query gives no rows. Expected a SELECT: {query}")
        names = list(result.keys())
        for rows in result.partitions(_ROWS):
            columns = zip(*rows, strict=True)
            yield pa.RecordBatch.from_arrays(
                [_array(database, n, v) for n, v in zip(names, columns, strict=True)], names
            )


@contextmanager
def _connection(database: str) -> Iterator[Any]:
    import sqlalchemy

    url = sqlalchemy.make_url(database)
    scheme = url.get_backend_name()
    url = url.set(drivername=_DRIVERS[scheme])
    if scheme == "sqlite":
        file = Path(absolute(database.removeprefix("sqlite:///")))
        if not file.is_file():
            raise UserError(f"{file}: there is no such file; {database} names it.")
        # A database that is only read may lie where nobody can write.
        url = url.set(database=f"file:{quote(str(file))}", query={"mode": "ro", "uri": "true"})
        arguments = {}
    else:
        url = url.set(password=os.environ.get(PASSWORD_VARIABLE))
        arguments = {"timeout" if scheme == "postgresql" else "connect_timeout": _SECONDS}
    engine = sqlalchemy.create_engine(
        url, connect_args=arguments, poolclass=sqlalchemy.NullPool, hide_parameters=True
    )
    with engine.connect() as connection:
        yield connection.execution_options(stream_results=True, max_row_buffer=_ROWS)


def _quoted(connection: Any, database: str, table: str) -> str:
    import sqlalchemy

    schema, _, name = table.rpartition(".")
    inspector = sqlalchemy.inspect(connection)
    there = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
    if name not in there:
        raise UserError(
            f"{database} has no table {table!r}{nearest(name, there) or '.'} It has: "
            f"{', '.join(sorted(there)) or 'none'}."
        )
    quoted: Callable[[str], str] = connection.dialect.identifier_preparer.quote
    return ".".join(quoted(part) for part in table.split("."))


@contextmanager
def _sql_in_words(database: str) -> Iterator[None]:
    from sqlalchemy import exc

    try:
        yield
    except exc.DBAPIError as error:
        reason = _reason(error.orig)
        if any(words in str(error.orig) for words in _TURNED_AWAY):
            raise UserError(
                f"{database}: the user or the password is wrong ({reason}). Set "
                f"{PASSWORD_VARIABLE}."
            ) from None
        if isinstance(error, (exc.OperationalError, exc.InterfaceError)) and (
            not database.startswith("sqlite")
        ):
            raise UnreachableError(f"{database} cannot be asked: {reason}.") from None
        raise UserError(f"{database} refuses the query: {reason}. Correct data.query.") from None
    except exc.SQLAlchemyError as error:
        raise UserError(f"{database}: {_reason(error)}. Correct data.query.") from None
    except OSError as error:
        raise UnreachableError(f"{database} cannot be reached: {error}.") from None


def _reason(error: BaseException | None) -> str:
    """The first line of what a driver says; PostgreSQL's answers a record."""
    said = error.args[0] if error is not None and error.args else error
    if isinstance(said, dict):
        said = said.get("M", said)
    elif error is not None and len(error.args) > 1:
        said = error.args[1]
    return str(said).strip().partition("\n")[0].rstrip(".")


def _array(database: str, name: str, values: Sequence[Any]) -> pa.Array:
    kinds = {type(value) for value in values} - {type(None)}
    for kind in kinds & {bytes, bytearray, memoryview, list, tuple, dict, set}:
        raise UserError(
            f"{database}, column {name!r}: the query gives {kind.__name__} values, expected a "
            "number, text, a boolean or a date in each row. Leave the column out, or select its "
            "parts."
        )
    if kinds & {uuid.UUID, datetime.time, datetime.timedelta}:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if decimal.Decimal in kinds and kinds <= {decimal.Decimal, int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):  # SQLite's columns may hold any mixture.
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _bigquery(database: str, query: str) -> Iterator[pa.RecordBatch]:
    project, _, table = database.removeprefix("bigquery://").partition("/")
    query = table or query
    if _TABLE.fullmatch(query):
        query = f"SELECT * FROM `{query}`"
    with _google_in_words(database):
        client, storage = _clients(project)
        yield from client.query(query).result().to_arrow_iterable(bqstorage_client=storage)


def _clients(project: str) -> tuple[Any, Any]:
    """Those of BigQuery and of its storage, by which rows come faster."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery, bigquery_storage

    if os.environ.get("BIGQUERY_EMULATOR_HOST"):
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return bigquery.Client(project, credentials=nobody), None
    storage = bigquery_storage.BigQueryReadClient()  # type: ignore[no-untyped-call]
    return bigquery.Client(project), storage


@contextmanager
def _google_in_words(database: str) -> Iterator[None]:
    from google.api_core.exceptions import ClientError, GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAuthError as error:
        raise UnreachableError(
            f"{database}: Google's credentials are missing or refused: {_reason(error)}. Log in by "
            "gcloud auth application-default login, or run as a service account."
        ) from None
    except ClientError as error:
        raise UserError(
            f"{database} refuses the query: {error.message.partition(chr(10))[0].rstrip('.')}. "
            "Correct data.query, or have the account granted what it lacks."
        ) from None
    except (GoogleAPICallError, RetryError, OSError) as error:
        raise UnreachableError(f"{database} cannot be asked: {_reason(error)}.") from None
