"""Where the metadata store is, and its connection: told from a URL, without TFX."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config import PipelineConfig
from pipeline.errors import UserError

PASSWORD_VARIABLE = "PIPELINE_STORE_PASSWORD"
"""The environment variable that holds the store's password."""
PASSWORD_FILE_VARIABLE = "PIPELINE_STORE_PASSWORD_FILE"
"""The one that names a file that holds it, such as a mounted secret."""

READ_ONLY = pb.SqliteMetadataSourceConfig.READONLY
READ_WRITE = pb.SqliteMetadataSourceConfig.READWRITE
_CREATE = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
_PORTS = {"postgresql": 5432, "mysql": 3306}


def connection_to(url: str, *, mode: int = _CREATE) -> pb.ConnectionConfig:
    """The connection to the store at `url`; a server's password comes from the environment.

    A server's URL may go on with its TLS options: `?sslmode=verify-full&sslrootcert=FILE` for
    PostgreSQL, `?ca=FILE&verify_server_cert=true` for MySQL and MariaDB.

    Args:
      url: sqlite:///FILE, or postgresql:// or mysql:// with USER@HOST:PORT/DATABASE.
      mode: how an sqlite file is opened; nothing to a server.

    Raises:
      UserError: the password's file cannot be read, or an option is unknown.
    """
    connection = pb.ConnectionConfig()
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        connection.sqlite.filename_uri = rest
        connection.sqlite.connection_mode = mode
        return connection
    parts = urlsplit(url)
    user, database = unquote(parts.username or ""), parts.path.strip("/")
    host, port = parts.hostname or "", parts.port or _PORTS[scheme]
    password = _password()
    if scheme == "postgresql":
        postgresql = connection.postgresql
        postgresql.host, postgresql.port, postgresql.dbname = host, str(port), database
        postgresql.user, postgresql.password = user, password
        postgresql.skip_db_creation = True
        options = postgresql.ssloption
    else:
        mysql = connection.mysql
        mysql.host, mysql.port, mysql.database = host, port, database
        mysql.user, mysql.password = user, password
        mysql.skip_db_creation = True
        options = mysql.ssl_options
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in options.DESCRIPTOR.fields_by_name:
            known = ", ".join(options.DESCRIPTOR.fields_by_name)
            raise UserError(f"store.url: unknown option {name}; there are: {known}")
        setattr(options, name, value if name != "verify_server_cert" else value == "true")
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


def existing(config: PipelineConfig, *, mode: int = READ_ONLY) -> MetadataStore:
    """The store of the pipeline, which has to be there.

    Raises:
      UserError: there is none, it cannot be reached, or it is something else.
    """
    share_password_file(config)
    url = config.store_url
    connection = connection_to(url, mode=mode)
    file = Path(connection.sqlite.filename_uri)
    if connection.HasField("sqlite") and not file.is_file():
        how = "run the pipeline first (python local_runner.py, with the same --config and --set)"
        raise UserError(f"{file}: there is no metadata store yet; {how}")
    try:
        return MetadataStore(connection)
    except (errors.StatusError, RuntimeError) as error:
        raise UserError(f"{shown(url)}: {reason(error)}") from None


def shown(url: str) -> str:
    """The store as a person knows it: an sqlite file by its path."""
    return url.removeprefix("sqlite://")


def reason(error: Exception) -> str:
    """Why a store cannot be opened, without the query that found out."""
    text = str(error).removeprefix("Error when executing query: ").partition(" query:")[0]
    return f"this is no metadata store that can be read: {text}"
