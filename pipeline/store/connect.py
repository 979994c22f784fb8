"""Where the metadata store is, and its connection: told from a URL, without TFX."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from google.protobuf.message import Message
from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.cluster import packed
from pipeline.config import PipelineConfig
from pipeline.errors import UnreachableError, UserError
from pipeline.store import database

PASSWORD_VARIABLE = "PIPELINE_STORE_PASSWORD"
"""The environment variable that holds the store's password."""
PASSWORD_FILE_VARIABLE = "PIPELINE_STORE_PASSWORD_FILE"
"""The one that names a file that holds it, such as a mounted secret."""

READ_ONLY = pb.SqliteMetadataSourceConfig.READONLY
READ_WRITE = pb.SqliteMetadataSourceConfig.READWRITE
_CREATE = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
PAUSES = (1.0, 3.0)
"""Seconds between the tries to reach a server."""
_VERSION_TABLE = "MLMDEnv"
_BACKSLASH = "\uf05c"
_AWAY = (
    errors.DataLossError,
    errors.DeadlineExceededError,
    errors.InternalError,
    errors.ResourceExhaustedError,
    errors.UnavailableError,
    errors.UnknownError,
)
"""What ML Metadata raises once the store, or the disk that it is on, has failed."""
_PORTS = {"postgresql": 5432, "mysql": 3306}


def connection_to(url: str, *, mode: int = _CREATE) -> pb.ConnectionConfig:
    """The connection to the store at `url`; a server's password comes from the environment.

    The URL of a MySQL or MariaDB server may go on with its TLS options, as in `?ca=FILE`: then the
    connection is encrypted; that the server is the right one ML Metadata does not check. With
    PostgreSQL it speaks no TLS: there a proxy beside it has to do that.

    Args:
      url: sqlite:///FILE, or postgresql:// or mysql:// with USER@HOST:PORT/DATABASE.
      mode: how an sqlite file is opened; nothing to a server.

    Raises:
      UserError: the password's file cannot be read, or an option is unknown or of no use.
    """
    connection = pb.ConnectionConfig()
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        connection.sqlite.filename_uri = f"/{rest.lstrip('/')}"
        connection.sqlite.connection_mode = mode
        return connection
    parts = urlsplit(url)
    user, name = unquote(parts.username or ""), parts.path.strip("/")
    host, port = parts.hostname or "", parts.port or _PORTS[scheme]
    password = _password()
    if scheme == "postgresql":
        postgresql = connection.postgresql
        postgresql.host, postgresql.port = host, str(port)
        postgresql.dbname, postgresql.user = database.quoted(name), database.quoted(user)
        postgresql.password = database.quoted(password)
        postgresql.skip_db_creation = True
        if parts.query:
            raise UserError(
                "store.url: ML Metadata's client speaks no TLS with PostgreSQL, and there are no "
                "other options; let a proxy beside it do that, or use mysql://"
            )
        # libpq reads it from here alone; it would wait for minutes.
        os.environ.setdefault("PGCONNECT_TIMEOUT", f"{database.SECONDS:.0f}")
        return connection
    mysql = connection.mysql
    mysql.host, mysql.port, mysql.database = host, port, name
    mysql.user, mysql.password = user, password
    mysql.skip_db_creation = True
    known = mysql.ssl_options.DESCRIPTOR.fields_by_name
    for option, value in parse_qsl(parts.query, keep_blank_values=True):
        if option not in known:
            raise UserError(f"store.url: unknown option {option}; there are: {', '.join(known)}")
        is_truth = option == "verify_server_cert"
        setattr(mysql.ssl_options, option, value == "true" if is_truth else value)
    return connection


def _password() -> str:
    file = os.environ.get(PASSWORD_FILE_VARIABLE)
    if not file:
        return os.environ.get(PASSWORD_VARIABLE, "")
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise UserError(
            f"{file}: the store's password cannot be read from there "
            f"({PASSWORD_FILE_VARIABLE}, store.password_file): {error.strerror}"
        ) from None


def share_password_file(config: PipelineConfig) -> None:
    """Tells this process and those it starts where the store's password lies."""
    if config.store.password_file:
        os.environ[PASSWORD_FILE_VARIABLE] = config.store.password_file


def writable(config: PipelineConfig) -> pb.ConnectionConfig:
    """How to reach the store of a pipeline, be it there or not; the folder of a file is made."""
    share_password_file(config)
    connection = connection_to(config.store_url)
    if connection.HasField("sqlite"):
        # ML Metadata makes the file, but not the folder around it.
        Path(connection.sqlite.filename_uri).parent.mkdir(parents=True, exist_ok=True)
    return connection


def existing(config: PipelineConfig, *, mode: int = READ_ONLY) -> MetadataStore:
    """The store of the pipeline, which has to be there.

    Raises:
      UserError: there is none, it cannot be reached, or it is something else.
    """
    share_password_file(config)
    connection = connection_to(config.store_url, mode=mode)
    if not exists(connection):
        how = "run the pipeline first (python local_runner.py, with the same --config and --set)"
        raise UserError(f"{database.place(connection)}: there is no metadata store yet; {how}")
    return opened(connection)


def exists(connection: pb.ConnectionConfig) -> bool:
    """Whether there is a store, or at least a file: ML Metadata makes one where it finds none.

    Raises:
      UserError: the server cannot be asked.
    """
    if connection.HasField("sqlite"):
        return Path(connection.sqlite.filename_uri).is_file()
    return database.has_tables(connection)


def opened(connection: pb.ConnectionConfig) -> MetadataStore:
    """The store; makes its tables where there are none.

    Raises:
      UnreachableError: it is away, in a few tries.
      UserError: it turns this user away, or it is something else.
    """
    tries = iter(() if connection.HasField("sqlite") else PAUSES)
    while True:
        try:
            if connection.HasField("mysql"):
                database.greet(connection)
            kind = _PostgresqlStore if connection.HasField("postgresql") else _OrderedStore
            return kind(connection)
        except (errors.StatusError, RuntimeError, OSError) as error:
            pause = next(tries, None)
            if pause is None:
                is_server = not connection.HasField("sqlite")
                if is_server and (refusal := database.refusal(connection)):
                    raise refusal from None
                raise UserError(
                    f"{database.place(connection)}: {_why(connection, error)}"
                ) from None
            time.sleep(pause)


class _OrderedStore(MetadataStore):
    """A store that gives what it holds by number, and events by their artifact's.

    TFX counts on it: its cache takes the first artifact for the first event, and the order of a
    node's inputs is in its key. An sqlite store nearly does so; a server gives what it holds as it
    lies in the table.
    """

    def __init__(self, connection: pb.ConnectionConfig) -> None:
        super().__init__(connection)
        self._place = database.place(connection)

    def _pywrap_cc_call(self, method: Any, request: Message, response: Message) -> None:
        """As ML Metadata's own.

        Raises:
          UnreachableError: the store does not answer, or not as it should.
        """
        try:
            super()._pywrap_cc_call(method, request, response)
        except _AWAY as error:
            raise UnreachableError(
                f"{self._place}: the store does not answer: {_without_query(error)}; try again"
            ) from error
        if "options" in request.DESCRIPTOR.fields_by_name and request.HasField("options"):
            return  # They may ask for another order.
        for field, value in response.ListFields():
            if field.name in ("artifacts", "executions", "contexts"):
                value.sort(key=lambda found: found.id)
            elif field.name == "events":
                value.sort(key=lambda event: (event.artifact_id, event.execution_id))


class _PostgresqlStore(_OrderedStore):
    r"""A store whose texts may hold a backslash.

    ML Metadata 1.21 quotes a text for PostgreSQL as if it had none: \\ makes the statement invalid.
    So it is kept as another character, the one that Cygwin uses in its place.
    """

    def _pywrap_cc_call(self, method: Any, request: Message, response: Message) -> None:
        if b"\\" in request.SerializeToString():
            given, request = request, type(request)()
            request.CopyFrom(given)
            packed.replace(request, "\\", _BACKSLASH)
        super()._pywrap_cc_call(method, request, response)
        if _BACKSLASH.encode() in response.SerializeToString():
            packed.replace(response, _BACKSLASH, "\\")


def _why(connection: pb.ConnectionConfig, error: Exception) -> str:
    """Why a store cannot be opened, without the query that found out."""
    text = _without_query(error)
    if "denied" in text:
        return f"{text}: an administrator grants the user all on the database"
    if text.startswith("mysql_real_connect failed"):
        return (
            "ML Metadata's client cannot sign in, though others can: its user has to be identified "
            "by mysql_native_password, or by TLS that it speaks"
        )
    if connection.HasField("sqlite") and _is_another_database(connection.sqlite.filename_uri):
        text = "it is an sqlite database, but holds no ML Metadata"
    return f"this is no metadata store that can be read: {text}"


def _without_query(error: Exception) -> str:
    text = str(error).removeprefix("Error when executing query: ").partition(" query:")[0]
    text = text.removeprefix("PostgreSQL metadata source error: ").partition("\n")[0]
    return text.removeprefix("ERROR:  ").removeprefix("FATAL:  ") or "it hung up"


def _is_another_database(file: str) -> bool:
    """Whether an sqlite file has tables, but not ML Metadata's."""
    try:
        with closing(sqlite3.connect(f"{Path(file).as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error:
        return False
    return bool(tables) and _VERSION_TABLE not in tables
