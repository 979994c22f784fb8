"""An artifact, what it was made of and what was made of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from custom_components.selection import SOURCE_MODEL_URI
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.lineage import html

if TYPE_CHECKING:
    from custom_components.evaluator.verdict import Verdict
    from pipeline.lineage.reader import Reader
    from pipeline.lineage.run import Node

EXAMPLES, MODEL, PUSHED_MODEL = "Examples", "Model", "PushedModel"
REGISTRATION = "Registration"
EVALUATION = "ModelEvaluation"
_DEEP = 16
"""Generations."""
SELECTOR = "ModelSelector"
_LEARNED_FROM = (EXAMPLES, "TransformGraph", MODEL)
"""The types through which rows reach a model. A model that it was compared with, and statistics to
tell a drift, are among its ancestors too, but nothing was learned from them."""


@dataclass(frozen=True, repr=False)
class Artifact:
    """Something that a node made."""

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
        """What its producer read."""
        return self._reader.parents([self])[self.id]

    def children(self) -> tuple[Artifact, ...]:
        """What was made by those who read it."""
        return self._reader.children([self])[self.id]

    def ancestors(self) -> tuple[Artifact, ...]:
        """Its parents, their parents and so on, each once, the nearest first."""
        return self._all_by(self._reader.parents)

    def descendants(self) -> tuple[Artifact, ...]:
        """Its children, their children and so on, each once, the nearest first."""
        return self._all_by(self._reader.children)

    def models(self) -> tuple[Artifact, ...]:
        """The models that learned from it, and where they were pushed; the nearest first.

        These are fewer than the models among its descendants: for those it may be enough to have
        been compared with one that learned from it.
        """
        if self.type == PUSHED_MODEL:
            return ()
        types = (*_LEARNED_FROM, PUSHED_MODEL)
        found = self._all_by(self._reader.children, through=types, to=PUSHED_MODEL)
        self._reader.producers(found)
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
        found = self._all_by(self._reader.parents, through=_LEARNED_FROM)
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

    def _all_by(
        self,
        step: Callable[[Iterable[Artifact]], Mapping[int, tuple[Artifact, ...]]],
        *,
        through: Collection[str] | None = None,
        to: str = "",
    ) -> tuple[Artifact, ...]:
        found = {self.id: self}
        generation = [self]
        back = step == self._reader.parents
        depth = 0
        while generation:
            depth += 1
            if depth % _DEEP == 0:
                # A long history: as much again at once, since what is near in time is often next.
                step(self._reader.beside(generation, len(found), back=back))
            # A generation at a time, as each question to the store costs more than its answer.
            reached = {a.id: a for near in step(generation).values() for a in near}
            new = [
                a
                for a in reached.values()
                if a.id not in found and (through is None or a.type in through)
            ]
            found |= {a.id: a for a in new}
            generation = [a for a in new if a.type != to]
        del found[self.id]
        return tuple(found.values())

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

    def verdict(self) -> Verdict:
        """What an evaluation found and decided.

        Raises:
          UserError: there is no verdict at its uri, or not one that this code understands.
        """
        from pydantic import ValidationError

        from custom_components.evaluator.verdict import FILE, Verdict  # brings NumPy

        try:
            return Verdict.model_validate_json(self.read(FILE))
        except ValidationError as error:
            raise UserError(
                f"{self.uri}/{FILE}: not a verdict that this code understands: "
                f"{error.errors()[0]['msg']}; it was written by another version"
            ) from None

    def read(self, name: str) -> str:
        """The text of the file of that name below its uri.

        Raises:
          UserError: it is not there, or it is no text.
        """
        try:
            with storage.Copies() as copies:
                return copies.of(f"{self.uri}/{name}").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise UserError(
                f"{self.uri}/{name}: {self.type} {self.id} has no such file that can be read "
                f"({why}); its folder may have been removed or moved since"
            ) from None

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
