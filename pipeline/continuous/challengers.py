"""What becomes of challengers: models that were registered, and are tried before they go live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.continuous.observe import live_model, waiting_challenger
from pipeline.registry import live


class Challengers(Protocol):
    """Who carries out what came of a trial; what was done already is not done twice."""

    def promote(self, version: str) -> str:
        """Has a version go live; as which one in the serving folder.

        Raises:
          UserError: it may not, or MLflow does not answer; another try may.
        """

    def drop(self, version: str) -> None:
        """Has a version wait no longer; nothing where it does not.

        Raises:
          UserError: MLflow does not answer.
        """

    def unopposed(self) -> int | None:
        """The newest span that a challenger knows which waits while no model is live.

        Raises:
          UserError: MLflow does not answer.
        """


@dataclass(frozen=True)
class Registered:
    """The challengers of the registry."""

    config: PipelineConfig

    def promote(self, version: str) -> str:
        """As `pipeline registry approve` does; what a crash left half done is ended."""
        return live.approve(self.config, version, again=True).push.version

    def drop(self, version: str) -> None:
        """As `pipeline registry reject` does."""
        waits = live.challenger(self.config)
        if waits is not None and str(waits.number) == version:
            live.reject(self.config, version)

    def unopposed(self) -> int | None:
        """As the metadata store and MLflow have it."""
        if self.config.registration.approval != "shadow":
            return None
        store = lineage.open(self.config)
        waits = waiting_challenger(self.config) if live_model(store) is None else None
        return max(store.artifact(waits.artifact).data_spans()) if waits else None
