"""The versions of the registered model, as MLflow has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custom_components.registrar import tags, tracking
from custom_components.registrar.record import CHALLENGER, CHAMPION, Push
from custom_components.registrar.tell import note_push
from custom_components.registrar.tracking import Destination, Unreachable
from pipeline.config import PipelineConfig
from pipeline.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIASES = (CHAMPION, CHALLENGER)


@dataclass(frozen=True)
class Version:
    """One version of the registered model."""

    number: int
    """Its number."""
    aliases: tuple[str, ...]
    """`champion`, `challenger`, both or none."""
    tags: Mapping[str, str]
    """What it says of itself: `custom_components.registrar.tags`."""
    description: str
    """Why it was selected."""
    created: datetime
    """When it was registered."""
    run: str
    """The id of MLflow's run that made it."""
    source: str
    """Where MLflow keeps it."""

    @property
    def was_live(self) -> bool:
        """Whether it is, or ever was, what the serving folder held."""
        return tags.SERVED_AS in self.tags

    def __str__(self) -> str:
        """As in "version 3 (xgboost)"."""
        return f"version {self.number} ({self.tags.get(tags.FRAMEWORK, 'unknown')})"


class Registry:
    """The registered model of a pipeline."""

    def __init__(self, client: MlflowClient, name: str, destination: Destination) -> None:
        self.client = client
        self.name = name
        self.destination = destination

    @classmethod
    def open(cls, config: PipelineConfig) -> Registry:
        """The registry that the configuration names.

        Raises:
            UserError: If there is none yet, or MLflow does not answer.
        """
        if not config.registration.enabled:
            raise UserError("register.enabled is false: nothing is registered. Set it to true.")
        destination = Destination.of(config)
        database = destination.database
        if database is not None and not database.is_file():
            raise UserError(
                f"{database}: nothing is registered yet; run the pipeline first (make run)"
            )
        with in_words():
            client = tracking.client(destination)
        return cls(client, config.model_name, destination)

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        with self._asked():
            found = self.client.search_registered_models(f"name = '{self.name}'")
            if not found:
                return []
            aliases = found[0].aliases
            versions = self.client.search_model_versions(
                f"name = '{self.name}'", max_results=10_000
            )
        made = [_version(version, aliases) for version in versions]
        return sorted(made, key=lambda version: -version.number)

    def version(self, number: str) -> Version:
        """The version of that number.

        Raises:
            UserError: If there is none.
        """
        versions = self.versions()
        for version in versions:
            if str(version.number) == number:
                return version
        there = ", ".join(str(version.number) for version in versions) or "none"
        raise UserError(f"{self.name} has no version {number!r}; there is: {there}")

    def find(self, named: str) -> Version:
        """The version of that number, or of that alias.

        Raises:
            UserError: If there is none.
        """
        if named not in ALIASES:
            return self.version(named)
        version = self.with_alias(named)
        if version is None:
            raise UserError(f"{self.name} has no {named}; see: python -m pipeline registry list")
        return version

    def with_alias(self, alias: str) -> Version | None:
        """The version of that alias, if there is one."""
        return next((version for version in self.versions() if alias in version.aliases), None)

    def set_alias(self, alias: str, version: Version | None) -> None:
        """Gives the alias to a version, or to none."""
        with self._asked():
            if version is not None:
                self.client.set_registered_model_alias(self.name, alias, str(version.number))
            else:
                self.client.delete_registered_model_alias(self.name, alias)

    def download(self, version: Version, folder: Path) -> Path:
        """The MLflow model of a version, below `folder`."""
        from mlflow.artifacts import download_artifacts

        uri = f"models:/{self.name}/{version.number}"
        with self._asked():
            return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))

    def note_push(self, version: Version, push: Push) -> None:
        """Says of a version where it is live."""
        with self._asked():
            note_push(self.client, self.name, str(version.number), push)

    def measured(self, version: Version) -> tuple[dict[str, float], dict[str, str]]:
        """The metrics and the parameters of the run that made a version."""
        with self._asked():
            data = self.client.get_run(version.run).data
        return dict(data.metrics), dict(data.params)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        with in_words(), tracking.answers(self.destination):
            yield


@contextmanager
def in_words() -> Iterator[None]:
    """Around what needs MLflow: that it does not answer is for whoever asked.

    Raises:
        UserError: If it does not.
    """
    try:
        yield
    except Unreachable as reason:
        raise UserError(f"MLflow at {reason}") from None


def _version(version: Any, aliases: Mapping[str, Any]) -> Version:
    number = int(version.version)
    return Version(
        number=number,
        aliases=tuple(alias for alias in ALIASES if str(aliases.get(alias)) == str(number)),
        tags=dict(version.tags),
        description=version.description or "",
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        run=version.run_id,
        source=version.source,
    )
