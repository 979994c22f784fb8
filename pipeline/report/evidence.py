"""What a run has left for its report: each thing read once, or the reason why it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pipeline.errors import UserError
from pipeline.lineage import PUSHED_MODEL, REGISTRATION, Artifact, Node, Run

if TYPE_CHECKING:
    import pandas as pd

    from custom_components.canary.report import CanaryReport
    from custom_components.evaluator.confusion import Confusion
    from custom_components.evaluator.curves import Curves
    from custom_components.evaluator.points import Points
    from custom_components.evaluator.verdict import Verdict
    from custom_components.gate_report import Report
    from custom_components.selection import Selection
    from pipeline.lineage.described import Anomalies, Statistics

T = TypeVar("T")
GATE = "DataGate"
"""The node that may stop a run because of its data."""
_ENDINGS = {
    "failed": "the run failed before it came to that",
    "running": "the run has not come to that",
    "complete": "the nodes that make it were not part of this run",
}


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What was read; or None, and why, in a sentence."""

    content: T | None
    artifact: Artifact | None = None
    why: str = ""


class Evidence:
    """A run's artifacts, and what their files say."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def data_run(self) -> Run:
        """The run; or, if it did not come to its own span, the backfill that it came to."""
        backfills = self.run.backfills
        return backfills[-1] if backfills and not self.run.tries else self.run

    def last(self, kind: str) -> Artifact | None:
        """The artifact of a type that the run made, or found in the cache, last."""
        return next(reversed(self.data_run.outputs(kind)), None)

    @property
    def ending(self) -> str:
        """Why the run lacks what it has not made."""
        return _ENDINGS[self.run.state]

    @cached_property
    def selection(self) -> Reading[Selection]:
        """Which candidate was chosen, and why."""
        return self._read("ModelSelection", Artifact.selection, "choice of a model")

    @cached_property
    def verdict(self) -> Reading[Verdict]:
        """The candidates' metrics, judged."""
        return self._read("ModelEvaluation", Artifact.verdict, "evaluation")

    @cached_property
    def curves(self) -> Reading[Curves]:
        """Counts of rows by predicted probability."""
        return self._read("ModelEvaluation", Artifact.curves, "evaluation")

    @cached_property
    def confusion(self) -> Reading[Confusion]:
        """Which of several classes is taken for which."""
        return self._read("ModelEvaluation", Artifact.confusion, "evaluation")

    @cached_property
    def points(self) -> Reading[Points]:
        """What a regression predicts beside what came true."""
        return self._read("ModelEvaluation", Artifact.points, "evaluation")

    @cached_property
    def canary(self) -> Reading[CanaryReport]:
        """What the trial of the pushed form gave."""
        return self._read("InfraBlessing", Artifact.canary, "trial of a model to push")

    @cached_property
    def gate(self) -> Reading[Report]:
        """What the data gate found."""
        failed = failed_node(self.run)
        if failed is not None and failed.name == GATE:
            return Reading(None, None, "What the data gate objects to stands at the top.")
        return self._read("GateReport", Artifact.gate, "report of the data gate")

    @cached_property
    def statistics(self) -> Reading[Statistics]:
        """The statistics of the rows to learn from."""
        return self._read("ExampleStatistics", Artifact.statistics, "statistics")

    @cached_property
    def anomalies(self) -> Reading[Anomalies]:
        """Where the rows break the schema."""
        return self._read("ExampleAnomalies", Artifact.anomalies, "check against the schema")

    @cached_property
    def histories(self) -> dict[str, Reading[pd.DataFrame]]:
        """How each model was trained, by the framework's name."""
        return {
            _suffix(artifact): self._tried(artifact, Artifact.history)
            for artifact in self.run.outputs("ModelRun")
        }

    @cached_property
    def bundle(self) -> dict[str, Any]:
        """What the champion, or else a candidate, says of itself; empty where none can be read."""
        import json

        models: Iterable[Artifact] = (*filter(None, [self.champion]), *self.run.outputs("Model"))
        for model in models:
            try:
                found: dict[str, Any] = json.loads(model.read("Format-Serving/bundle.json"))
            except (UserError, ValueError):
                continue
            return found
        return {}

    @cached_property
    def champion(self) -> Artifact | None:
        """The model that was chosen."""
        return self.run.champion

    @cached_property
    def pushed(self) -> Artifact | None:
        """The model that the run put live, or a person since, who approved it."""
        own = self.last(PUSHED_MODEL)
        if own is not None and own.properties.get("pushed") == 1:
            return own
        children = self.champion.children() if self.champion else ()
        later = (a for a in children if a.type == PUSHED_MODEL and a.properties.get("pushed") == 1)
        return next(later, None)

    @cached_property
    def registration(self) -> Artifact | None:
        """What MLflow was told."""
        return self.last(REGISTRATION)

    @cached_property
    def best(self) -> str | None:
        """The winner; or the best candidate, where none won."""
        if self.champion:
            return str(self.champion.properties.get("framework"))
        selection, verdict = self.selection.content, self.verdict.content
        if selection:
            return next((c.name for c in selection.candidates), None)
        return next(iter(verdict.candidates), None) if verdict else None

    @cached_property
    def live(self) -> Artifact | None:
        """The live model that the candidates were compared with."""
        evaluation = self.verdict.artifact
        parents = evaluation.parents() if evaluation else ()
        return next((a for a in parents if a.type == PUSHED_MODEL), None)

    @property
    def label(self) -> str:
        """The column that is predicted."""
        return str(self.run.config.get("features", {}).get("label", "the label"))

    @cached_property
    def live_name(self) -> str | None:
        """The same in words; None if no model was live."""
        verdict = self.verdict.content
        if verdict is None or verdict.live is None:
            return None
        return f"live {verdict.live_framework}" if verdict.live_framework else "live"

    def shown(self, name: str) -> str:
        """A model of the verdict as the page calls it."""
        verdict = self.verdict.content
        is_live = verdict is not None and name == verdict.live
        return self.live_name or name if is_live else name

    def _read(self, kind: str, read: Callable[[Artifact], T], what: str) -> Reading[T]:
        artifact = self.last(kind)
        if artifact is None:
            return Reading(None, None, f"There is no {what}: {self.ending}.")
        return self._tried(artifact, read)

    @staticmethod
    def _tried(artifact: Artifact, read: Callable[[Artifact], T]) -> Reading[T]:
        try:
            return Reading(read(artifact), artifact)
        except UserError as error:
            return Reading(None, artifact, f"It cannot be shown: {error}.")


def failed_node(run: Run) -> Node | None:
    """The node that failed, of the run or of a backfill in which it failed."""
    nodes = (run.failed_backfill or run).nodes
    return next((node for node in nodes if node.state == "failed"), None)


def _suffix(artifact: Artifact) -> str:
    """The framework of what a trainer made, as in "keras" of "Trainer.keras"."""
    producer = artifact.producer
    return producer.name.rpartition(".")[2] if producer else artifact.uri
