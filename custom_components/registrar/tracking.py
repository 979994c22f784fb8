"""Where MLflow keeps what it is told, and how it is reached."""

from __future__ import annotations

import contextlib
import math
import os
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from pydantic import Field

from pipeline.config import PipelineConfig, absolute
from pipeline.errors import UserError
from pipeline.sections import Section

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_LONGEST_REASON = 300


class Unreachable(Exception):
    """MLflow could not be told now, and may be told later; says why, in a sentence."""


class Destination(Section):
    """Whom to tell."""

    tracking_uri: str
    """The server's address, or a database's."""
    artifacts: str | None
    """Where artifacts go; None: where the server wants them."""
    timeout_seconds: float = Field(gt=0)
    """How long to wait for each answer of a server."""

    @classmethod
    def of(cls, config: PipelineConfig) -> Self:
        """What the configuration says.

        Raises:
            UserError: If the address has a password in it, which would be kept with each run.
        """
        uri = config.tracking_uri
        if urlsplit(uri).username is not None or urlsplit(uri).password is not None:
            raise UserError(
                "register.tracking_uri names a user or a password, which would be kept in the "
                "metadata store and in logs. Take USER:PASSWORD@ out of it and set the environment "
                "variables MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN."
            )
        artifacts = config.registration.artifacts
        if uri.startswith(_SQLITE):
            uri = _SQLITE + absolute(uri.removeprefix(_SQLITE))
            artifacts = artifacts or f"{config.local_root}/mlflow"
        return cls(
            tracking_uri=uri,
            artifacts=absolute(artifacts) if artifacts else None,
            timeout_seconds=config.registration.timeout_seconds,
        )

    @property
    def database(self) -> Path | None:
        """The sqlite file, if it is one."""
        if not self.tracking_uri.startswith(_SQLITE):
            return None
        return Path(self.tracking_uri.removeprefix(_SQLITE))


def client(destination: Destination) -> MlflowClient:
    """A client, which asks once and waits no longer than it should; an sqlite file is made.

    Raises:
        Unreachable: If MLflow does not answer.
    """
    configure(destination)
    import mlflow

    uri = destination.tracking_uri
    # Parts of MLflow ask for these, and not for the client's.
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    with answers(destination):
        if destination.database is not None and destination.artifacts is not None:
            create_database(destination.database, artifacts=destination.artifacts)
        made = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        made.search_experiments(max_results=1)
    return made


def import_mlflow() -> None:
    """Imports what `client` and `tell` take, which is seconds."""
    _set_up()
    import mlflow.pyfunc
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _set_up() -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"


def configure(destination: Destination) -> None:
    """Sets what MLflow takes from the environment; before it is imported."""
    _set_up()
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(math.ceil(destination.timeout_seconds))
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


@contextlib.contextmanager
def answers(destination: Destination) -> Iterator[None]:
    """Around what MLflow is asked.

    Raises:
        Unreachable: If it does not answer, or refuses.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise Unreachable(_in_words(error, destination)) from error


def _in_words(error: Exception, destination: Destination) -> str:
    from requests import exceptions

    causes = [error, *_causes(error)]
    # Without another try requests says ConnectionError of a timeout, too.
    if "timed out" in str(error) or any(isinstance(c, exceptions.Timeout) for c in causes):
        return (
            f"{destination.tracking_uri} did not answer within "
            f"{math.ceil(destination.timeout_seconds)} s (register.timeout_seconds)"
        )
    if any(isinstance(cause, exceptions.ConnectionError) for cause in causes):
        return f"{destination.tracking_uri} cannot be reached (register.tracking_uri)"
    said = textwrap.shorten(str(error).partition("\n")[0], _LONGEST_REASON, placeholder=" …")
    return f"{destination.tracking_uri} refused: {said}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an error came from, and what that came from."""
    cause = error.__cause__ or error.__context__
    if cause is not None:
        yield cause
        yield from _causes(cause)


def create_database(file: Path, *, artifacts: str) -> None:
    """Makes MLflow's tables in a new sqlite file, which is there once it is whole.

    MLflow makes them by all the changes of its history, one after the other, each written through
    to the disk: here that is done once, at the end.
    """
    if file.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def hurry(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    file.parent.mkdir(parents=True, exist_ok=True)
    for leftover in file.parent.glob(f".{file.name}.*"):
        leftover.unlink()
    # MLflow holds on to a database by its name: each attempt has its own.
    unfinished = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    event.listen(Engine, "connect", hurry)
    try:
        SqlAlchemyStore(f"{_SQLITE}{unfinished}", artifacts).engine.dispose()
        with unfinished.open("rb") as whole:
            os.fsync(whole.fileno())
        unfinished.replace(file)
    finally:
        event.remove(Engine, "connect", hurry)
        unfinished.unlink(missing_ok=True)
