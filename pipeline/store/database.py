"""The database server under the metadata store, asked by a driver of its own.

ML Metadata's client does not say why a server turns it away, waits minutes for one that is silent,
and collides with itself where two make the tables at once.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Literal

from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.errors import UnreachableError, UserError

SECONDS = 10.0
"""How long to wait for a server's answer."""
_LOCK_SECONDS = 60.0
_PASSWORD = "user or password is wrong: set PIPELINE_STORE_PASSWORD, or store.password_file"
_DATABASE = "there is no such database: an administrator makes it, its tables come by themselves"
_RIGHTS = "the user has no rights there: an administrator grants it all on the database"
_FULL = "the server has no connection left: raise its limit, or run fewer tasks at once"
_TLS = "the server wants an encrypted connection: see `connection_to` in pipeline/store/connect.py"
_REASONS = {
    "28000": _PASSWORD,
    "28P01": _PASSWORD,
    "3D000": _DATABASE,
    "42501": _RIGHTS,
    "53300": _FULL,
    1040: _FULL,
    1044: f"{_RIGHTS}, or there is no such database",
    1045: _PASSWORD,
    1049: _DATABASE,
    1142: _RIGHTS,
    3159: _TLS,
}
"""By PostgreSQL's SQLSTATE and MySQL's error number."""
_FOR_NOW = {"53300", "57P01", "57P02", "57P03", 1040}
"""The codes of a server that is full, starts or stops: what it answers once it is asked again."""


def place(connection: pb.ConnectionConfig) -> str:
    """The store as a person knows it: an sqlite file by its path, a server by its URL."""
    kind = connection.WhichOneof("config")
    if kind == "sqlite":
        return str(connection.sqlite.filename_uri)
    server = getattr(connection, kind)
    database = server.dbname if kind == "postgresql" else server.database
    return f"{kind}://{_plain(server.user)}@{server.host}:{server.port}/{_plain(database)}"


def greet(connection: pb.ConnectionConfig) -> None:
    """Waits for a MySQL server's first word, since ML Metadata would for minutes.

    Raises:
      OSError: it does not come.
    """
    address = connection.mysql.host, connection.mysql.port
    with socket.create_connection(address, SECONDS) as server:
        server.settimeout(SECONDS)
        if not server.recv(1):
            raise ConnectionResetError("it hung up")


def refusal(connection: pb.ConnectionConfig) -> UserError | None:
    """Why the server turns this user away, and what to do; None where it does not."""
    try:
        with _asked(connection):
            return None
    except UserError as error:
        return error


def has_tables(connection: pb.ConnectionConfig) -> bool:
    """Whether the database holds a metadata store.

    Raises:
      UserError: the server cannot be asked.
    """
    here = "current_schema()" if connection.HasField("postgresql") else "database()"
    with _asked(connection) as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.tables "
            f"WHERE lower(table_name) = 'mlmdenv' AND table_schema = {here}"
        )
        return bool(cursor.fetchone()[0])


@contextmanager
def locked(
    connection: pb.ConnectionConfig,
    name: Literal["store", "deploy"] = "store",
    *,
    seconds: float = _LOCK_SECONDS,
    meanwhile: str = "another run is making its tables",
) -> Iterator[None]:
    """Within it, no other process is within it for the same database.

    Args:
      connection: to a server.
      name: of the lock.
      seconds: how long to wait for another process.
      meanwhile: what that one does.

    Raises:
      UnreachableError: another process does not come to an end.
      UserError: the server cannot be asked.
    """
    if connection.HasField("postgresql"):
        take = f"SELECT pg_try_advisory_lock(hashtext('metadata-{name}'))"
    else:  # A server has one set of names for all of its databases.
        take = f"SELECT GET_LOCK(concat('{name}-', sha1(database())), 0)"
    deadline = time.monotonic() + seconds
    with _asked(connection) as cursor:
        cursor.execute(take)
        while not cursor.fetchone()[0]:
            if time.monotonic() > deadline:
                raise UnreachableError(f"{place(connection)}: {meanwhile}; try again")
            time.sleep(0.1)
            cursor.execute(take)
        yield


def allow_long_texts(connection: pb.ConnectionConfig) -> None:
    """Drops the indexes by which PostgreSQL refuses a property of more than 2,700 bytes.

    They are ML Metadata's, for queries that it no longer has; its own later opening leaves it so.

    Raises:
      UserError: the server cannot be asked, or the tables are somebody else's.
    """
    if not connection.HasField("postgresql"):
        return
    indexes = ", ".join(f"idx_{of}_property_string" for of in ("artifact", "execution", "context"))
    with _asked(connection) as cursor:
        try:
            cursor.execute(f"DROP INDEX IF EXISTS {indexes}")
            cursor.execute("COMMIT")
        except Exception as error:
            raise UserError(f"{place(connection)}: {_in_words(error)}") from None


@contextmanager
def _asked(connection: pb.ConnectionConfig) -> Iterator[Any]:
    """A session; where there is none, a sentence says why.

    Raises:
      UnreachableError: the server is away or busy.
      UserError: it turns this user away.
    """
    with ExitStack() as stack:
        try:
            cursor = stack.enter_context(_session(connection))
        except Exception as error:
            code = _code(error)
            is_away = code is None or code in _FOR_NOW
            kind = UnreachableError if is_away else UserError
            raise kind(f"{place(connection)}: {_in_words(error)}") from None
        yield cursor


@contextmanager
def _session(connection: pb.ConnectionConfig) -> Iterator[Any]:
    """A cursor in a session of its own, at whose end its locks end."""
    if connection.HasField("postgresql"):
        import pg8000.dbapi

        server = connection.postgresql
        opened = pg8000.dbapi.connect(
            _plain(server.user),
            host=server.host,
            port=int(server.port),
            database=_plain(server.dbname),
            password=_plain(server.password),
            timeout=SECONDS,
        )
    else:
        import pymysql

        server, tls = connection.mysql, connection.mysql.ssl_options
        greet(connection)
        opened = pymysql.connect(
            user=server.user,
            host=server.host,
            port=server.port,
            database=server.database,
            password=server.password,
            connect_timeout=int(SECONDS),
            ssl_ca=tls.ca or None,
            ssl_cert=tls.cert or None,
            ssl_key=tls.key or None,
        )
    with closing(opened), closing(opened.cursor()) as cursor:
        yield cursor


def _code(error: BaseException) -> str | int | None:
    """What the server calls the error; None where the server did not answer."""
    first: Any = error.args[0] if error.args else ""
    if isinstance(first, dict):
        return str(first.get("C"))
    # Below 1,000 it is the system's number; from 2,000 to 2,999 that of MySQL's client.
    return first if isinstance(first, int) and first >= 1000 and first // 1000 != 2 else None


def _in_words(error: BaseException) -> str:
    first: Any = error.args[0] if error.args else ""
    code = _code(error)
    if code in _REASONS:
        return _REASONS[code]
    if isinstance(first, dict):
        return str(first.get("M", first))
    cause = error.__cause__ or error
    return f"the server cannot be reached ({cause}): is it up, and may this machine reach it?"


def quoted(value: str) -> str:
    """A value as it may stand in libpq's connection string, of which ML Metadata quotes nothing."""
    if value and not re.search(r"[\s'\\]", value):
        return value
    return "'" + value.replace("\\", r"\\").replace("'", r"\'") + "'"


def _plain(value: str) -> str:
    """What `quoted` was given."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith("'") else value
