"""An artifact, what it was made of and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from custom_components.selection import SOURCE_MODEL_URI
from pipeline.errors import UserError
from pipeline.lineage import files, html, payload

if TYPE_CHECKING:
    import pandas as pd
    from tensorflow_model_analysis.view import EvalResult
    from tensorflow_transform import TFTransformOutput

    from custom_components.canary.report import CanaryReport
    from custom_components.evaluator.confusion import Confusion
    from custom_components.evaluator.curves import Curves
    from custom_components.evaluator.points import Points
    from custom_components.evaluator.verdict import Verdict
    from custom_components.gate_report import Report
    from custom_components.selection import Selection
    from models.bundle import Bundle
    from pipeline.lineage.described import Anomalies, Schema, Statistics
    from pipeline.lineage.drawing import Picture
    from pipeline.lineage.reader import Reader
    from pipeline.lineage.run import Node

EXAMPLES, MODEL, PUSHED_MODEL = "Examples", "Model", "PushedModel"
REGISTRATION = "Registration"
EVALUATION = "ModelEvaluation"
SELECTION = "ModelSelection"
SELECTOR = "ModelSelector"
_LEARNED_FROM = (EXAMPLES, "TransformGraph", MODEL)
"""The types through which rows reach a model. A model that it was compared with, and statistics to
tell a drift, are among its ancestors too, but nothing was learned from them."""


@dataclass(frozen=True, repr=False)
class Artifact:
    """Something that a node made.

    What lies at its uri is read by `load`, and by the methods after it. They raise UserError if the
    artifact is of another type, or its file is gone or not what it should be.
    """

    id: int
    type: str = field(compare=False)
    uri: str = field(compare=False)
    properties: Mapping[str, Any] = field(compare=False)
    """Its type's properties and its own ones."""
    created: datetime = field(compare=False)
    state: str = field(compare=False)
    """As the store has it, in lower case: "live", "deleted", "pending", …"""
    _reader: Reader = field(compare=False)

    @property
    def producer(self) -> Node | None:
        """The node that made it: not one that found it in the cache, nor a resolver."""
        return self._reader.producers([self])[self.id]

    @property
    def consumers(self) -> tuple[Node, ...]:
        """The nodes that read it, those that then took their output from the cache among them."""
        return self._reader.consumers([self])[self.id]

    def parents(self) -> tuple[Artifact, ...]:
        """What its producer read, but for what only saved it time: an earlier analysis."""
        return self._reader.parents([self])[self.id]

    def children(self) -> tuple[Artifact, ...]:
        """What was made by those who read it."""
        return self._reader.children([self])[self.id]

    def ancestors(self) -> tuple[Artifact, ...]:
        """Its parents, their parents and so on, each once, the nearest first."""
        return self._reader.reached(self, back=True)

    def descendants(self) -> tuple[Artifact, ...]:
        """Its children, their children and so on, each once, the nearest first."""
        return self._reader.reached(self, back=False)

    def picture(self, *, down: bool = False, depth: int | None = None) -> Picture:
        """What it was made of, or what was made of it, as boxes and arrows from left to right.

        It ends at models that were live before, whose own lineage is another one.

        Args:
          down: what was made of it instead.
          depth: how many generations of nodes; None for as many as can be read.
        """
        from pipeline.lineage import picture

        return picture.of_artifact(self, down=down, depth=depth)

    def models(self) -> tuple[Artifact, ...]:
        """The models that learned from it, and where they were pushed; the nearest first.

        These are fewer than the models among its descendants: for those it may be enough to have
        been compared with one that learned from it.
        """
        if self.type == PUSHED_MODEL:
            return ()
        types = (*_LEARNED_FROM, PUSHED_MODEL)
        found = self._reader.reached(self, back=False, through=types, to=PUSHED_MODEL)
        self._reader.parents(found)  # At once, as whoever asks for models asks for these next.
        return tuple(artifact for artifact in found if artifact._is_a_model)

    @property
    def _is_a_model(self) -> bool:
        """Whether there is a model in it: none is where none was chosen, or pushed."""
        if self.type == PUSHED_MODEL:
            return self.properties.get("pushed") == 1
        producer = self.producer
        chosen = producer is not None and producer.type.rpartition(".")[2] == SELECTOR
        return self.type == MODEL and ("digest" in self.properties or not chosen)

    def data(self) -> tuple[Artifact, ...]:
        """The ingested examples that it learned from, in the order of their spans."""
        found = self._reader.reached(self, back=True, through=_LEARNED_FROM)
        parents = self._reader.parents(found)
        ingested = (
            a
            for a in found
            if a.type == EXAMPLES and all(p.type != EXAMPLES for p in parents[a.id])
        )
        return tuple(sorted(ingested, key=lambda a: (a.properties.get("span", -1), a.id)))

    def data_spans(self) -> tuple[int, ...]:
        """The spans that it learned from, in their order."""
        return tuple(sorted({a.properties["span"] for a in self.data() if "span" in a.properties}))

    @property
    def is_live(self) -> bool:
        """Whether it is the live model, or one that the live model is a copy of."""
        live = self._reader.live_model
        if live is None or not self._is_a_model:
            return False
        sources = str(live.properties.get(SOURCE_MODEL_URI, "")).splitlines()
        return self == live or self in live.parents() or self.uri in sources

    def evaluation(self) -> Artifact | None:
        """The evaluation by which a model was judged, or None if it was not."""
        if not self._is_a_model:
            return None
        # A pushed model's is its champion's, which was made by it; a trained model is read by it.
        before = [g for p in self.parents() if p.type == MODEL for g in p.parents()]
        after = self.children() if self.type == MODEL else ()
        near = (*self.parents(), *before, *after)
        return next((a for a in near if a.type == EVALUATION), None)

    def metrics(self) -> dict[str, float | None]:
        """The metrics of a model over all rows, as it was judged; None where one is undefined.

        Raises:
          UserError: it is no model, or was not judged, or its evaluation's file is gone.
        """
        evaluation = self.evaluation()
        if evaluation is None:
            raise UserError(
                f"{self.type} {self.id} has no metrics: only a model has that an evaluator judged"
            )
        found = evaluation.verdict().models
        # A champion is a copy that says so; a trained model is known by its trainer.
        producer = self.producer
        name = self.properties.get("framework") or (producer.name if producer else "")
        metrics = found.get(str(name).rpartition(".")[2])
        if metrics is None:
            raise UserError(
                f"{self.type} {self.id} is not among the models of evaluation {evaluation.id}: "
                f"these are {', '.join(sorted(found))}"
            )
        return {str(metric): value for metric, value in metrics.items()}

    def load(self) -> Any:
        """What suits its type: the same as the method that is named for it, as in `statistics()`.

        Raises:
          UserError: nothing of its type can be loaded, or the file is gone or not understood.
        """
        return payload.load(self)

    def verdict(self) -> Verdict:
        """What an evaluation (ModelEvaluation) found and decided."""
        return payload.verdict(self)

    def selection(self) -> Selection:
        """Which model was chosen, and why (ModelSelection)."""
        return payload.selection(self)

    def canary(self) -> CanaryReport:
        """How the pushed form of a model answered (InfraBlessing)."""
        return payload.canary(self)

    def gate(self) -> Report:
        """What the data gate found in a span (GateReport)."""
        return payload.gate(self)

    def history(self) -> pd.DataFrame:
        """How a training went (ModelRun, or a Model or PushedModel that is no ensemble).

        Has a row for each `step`, numbered from 1, with the mean loss of the rows: `learned` in the
        training on all rows; `search_learned` and `search_held_out` in the one on part of them that
        found how many steps to take; NaN where one was over. Its `attrs` say the `framework`, what
        a `step` is ("epoch", "tree"), how many `steps` were taken, what the `loss` is ("log loss":
        the cross entropy in nats), the `seconds` of both, and how it had `begun`, if it might have
        been with a model before.
        """
        return payload.history(self)

    def statistics(self, split: str | None = None) -> Statistics:
        """The statistics of a split, or of the first one (ExampleStatistics)."""
        return payload.statistics(self, split)

    def schema(self) -> Schema:
        """What data must look like (Schema)."""
        return payload.schema(self)

    def anomalies(self, split: str | None = None) -> Anomalies:
        """Where a split, or any of them, breaks the schema (ExampleAnomalies)."""
        return payload.anomalies(self, split)

    def curves(self) -> Curves:
        """How probabilities and labels of an evaluation went together (ModelEvaluation).

        With two classes calibration, thresholds, ROC; with several the calibration of the most
        probable one. A regression has `points` instead.
        """
        return payload.curves(self)

    def confusion(self) -> Confusion:
        """Which of several classes the models take for which (ModelEvaluation)."""
        return payload.confusion(self)

    def points(self) -> Points:
        """Predictions of a regression beside the labels, of some rows (ModelEvaluation)."""
        return payload.points(self)

    def tfma(self, model: str | None = None) -> EvalResult:
        """The evaluation of a model, or of the first one, for TFMA's views (ModelEvaluation)."""
        return payload.tfma_result(self, model)

    def bundle(self) -> Bundle:
        """A model, loaded to predict with (Model, PushedModel)."""
        return payload.bundle(self)

    def rows(self, split: str | None = None, limit: int | None = None) -> pd.DataFrame:
        """The rows of a split, or of the first one (Examples); at most `limit`, if it is given.

        A missing text is None, a missing number NaN; of several values in a row the first counts.
        """
        return payload.rows(self, split, limit)

    def transform_output(self) -> TFTransformOutput:
        """The graph that makes of raw columns what models learn from (TransformGraph)."""
        return payload.transform_output(self)

    def page(self) -> str:
        """The report of a run, as HTML (Report)."""
        return payload.page(self)

    def read(self, name: str) -> str:
        """The text of the file of that name below its uri.

        Raises:
          UserError: it is not there, or it is no text.
        """
        return files.text(self, name)

    def __repr__(self) -> str:
        made = f" by {self.producer.name} in run {self.producer.run_id}" if self.producer else ""
        return f"<{self.type} {self.id}{made}: {self.uri}>"

    def _repr_html_(self) -> str:
        producer = self.producer
        facts = {
            "made by": f"{producer.name} in run {producer.run_id}" if producer else "",
            "created": html.moment(self.created),
            "uri": self.uri,
            **self.properties,
        }
        return html.facts(f"{self.type} {self.id}", facts)
