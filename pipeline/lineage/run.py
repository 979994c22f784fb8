"""A run of the pipeline, and what its nodes did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.errors import UserError
from pipeline.lineage import html
from pipeline.lineage.artifact import EXAMPLES, MODEL, SELECTION, Artifact
from pipeline.lineage.decision import RetrainDecision
from pipeline.lineage.deployment import Deployment, of_run
from pipeline.lineage.difference import Difference, difference

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.lineage.drawing import Picture
    from pipeline.lineage.reader import Reader

COMPLETE, CACHED, FAILED, RUNNING = "complete", "cached", "failed", "running"
_DONE, _UNDER_WAY = {COMPLETE, CACHED}, {"new", RUNNING}
_OUTCOMES = {"succeeded": COMPLETE, "failed": FAILED}
_BACKFILL = re.compile(r"(?P<run>.+)-span-\d+")
RESULT = "__execution_result__"


@dataclass(frozen=True, repr=False)
class Node:
    """One time that a node of the pipeline ran."""

    id: int
    """Of its execution."""
    type: str = field(compare=False)
    """The component's type."""
    state: str = field(compare=False)
    """As the store has it, in lower case: "complete", "cached", "failed", "running", …"""
    begun: datetime = field(compare=False)
    changed: datetime = field(compare=False)
    """When the store heard of it last."""
    settings: Mapping[str, Any] = field(compare=False)
    """Its parameters."""
    _result: str = field(compare=False)
    _reader: Reader = field(compare=False)

    @property
    def name(self) -> str:
        """The node's id, as in "Trainer.keras"; the component's type where it belongs to none."""
        return self._reader.place(self)[0] or self.type

    @property
    def run_id(self) -> str:
        """The id of its run; empty where it belongs to none."""
        return self._reader.place(self)[1]

    @property
    def run(self) -> Run:
        """The run, or the backfill, that it belongs to."""
        return self._reader.run(self.run_id)

    @property
    def cached(self) -> bool:
        """Whether it took its outputs from the cache."""
        return self.state == CACHED

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
        if self.state in _UNDER_WAY:
            return None
        return (self.changed - self.begun).total_seconds()

    @property
    def error(self) -> str:
        """Why it failed, as far as the store knows; empty where it did not."""
        if self.state != FAILED:
            return ""
        try:
            return str(json.loads(self._result or "{}").get("resultMessage", ""))
        except ValueError:
            return self._result

    @property
    def inputs(self) -> dict[str, tuple[Artifact, ...]]:
        """What it read, by the inputs' names."""
        return self._reader.inputs([self])[self.id]

    @property
    def outputs(self) -> dict[str, tuple[Artifact, ...]]:
        """What it made, found in the cache or, as a resolver, passed on; by the outputs' names."""
        return self._reader.outputs([self])[self.id]

    def __iter__(self) -> Iterator[Artifact]:
        """The artifacts among its outputs, each once."""
        return iter(dict.fromkeys(a for named in self.outputs.values() for a in named))

    def frame(self) -> pd.DataFrame:
        """What it read and gave as a table, a row for each."""
        import pandas as pd

        columns = ["end", "name", "artifact", "type", "uri"]
        rows = [
            (kind, key, artifact.id, artifact.type, artifact.uri)
            for kind, ends in (("input", self.inputs), ("output", self.outputs))
            for key, artifacts in ends.items()
            for artifact in artifacts
        ]
        return pd.DataFrame(rows, columns=columns)

    def facts(self) -> dict[str, Any]:
        """What a table says of it."""
        return {
            "node": self.name,
            "state": self.state,
            "begun": self.begun,
            "seconds": self.seconds,
            "error": self.error,
            "execution": self.id,
        }

    def __repr__(self) -> str:
        return f"<Node {self.name} in run {self.run_id}, {self.state} (execution {self.id})>"

    def _repr_html_(self) -> str:
        named = {
            f"{kind} {key}": ", ".join(f"{a.type} {a.id}" for a in artifacts)
            for kind, ends in (("input", self.inputs), ("output", self.outputs))
            for key, artifacts in ends.items()
        }
        return html.facts(f"{self.name} in run {self.run_id}", self.facts() | named)


@dataclass(frozen=True, repr=False)
class Run:
    """One run of the pipeline, or a backfill of an earlier span."""

    id: str
    facts: Mapping[str, str] = field(compare=False)
    """What the runner has kept of it, as text."""
    begun: datetime = field(compare=False)
    _context: int = field(compare=False)
    _reader: Reader = field(compare=False)

    @property
    def tries(self) -> tuple[Node, ...]:
        """Everything that ran in it, those tries too after which a node was tried again."""
        return self._reader.nodes_of_run(self._context)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Its nodes in the order in which they began; of one that was tried again, the last try."""
        last = {node.name: node for node in self.tries}
        return tuple(sorted(last.values(), key=lambda node: (node.begun, node.id)))

    def node(self, name: str) -> Node | None:
        """The node of that name, or None if it did not begin."""
        return next((node for node in self.nodes if node.name == name), None)

    @property
    def state(self) -> str:
        """Whether it is "complete", "failed" or "running"."""
        if outcome := _OUTCOMES.get(self.facts.get("outcome", "")):
            return outcome
        states = {node.state for node in self.tries}
        if not states <= _DONE:  # Only now is it worth asking which tries are of the same node.
            states = {node.state for node in self.nodes}
        if states - _DONE - _UNDER_WAY:
            return FAILED
        if states & _UNDER_WAY or not states or "started" in self.facts:
            return RUNNING
        return COMPLETE

    @property
    def seconds(self) -> float | None:
        """From its first node's begin to its last one's end; None while it runs.

        Its backfills are not counted, unless it came to no node of its own.
        """
        nodes = self.tries or [node for one in self.backfills for node in one.tries]
        if self.state == RUNNING or not nodes:
            return None
        begun = min(node.begun for node in nodes)
        return (max(node.changed for node in nodes) - begun).total_seconds()

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        nodes = self.tries
        return self.facts.get("pipeline") or (self._reader.place(nodes[0])[2] if nodes else "")

    @property
    def span(self) -> int | None:
        """The span that it ingested, or None if it did not come to that."""
        if known := self.facts.get("span"):
            return int(known)
        spans = [
            artifact.properties["span"]
            for artifact in self.outputs(EXAMPLES)
            if "span" in artifact.properties
        ]
        return max(spans, default=None)

    @property
    def spans(self) -> tuple[int, ...]:
        """The spans that it was on, in their order: its own, and the earlier ones of its window.

        Of these the store had some before: only the others have a backfill.
        """
        earlier = json.loads(self.facts.get("backfill") or "[]")
        of_each = (*earlier, *(run.span for run in (self, *self.backfills)))
        return tuple(sorted({span for span in of_each if span is not None}))

    @property
    def commit(self) -> str:
        """The commit of the code, with + behind it if files were changed since; or empty."""
        return self.facts.get("commit", "")

    @property
    def note(self) -> str:
        """A person's words about it."""
        return self.facts.get("note", "")

    @property
    def runner(self) -> str:
        """Who ran it, as in "kubeflow"; empty where nobody has said."""
        return self.facts.get("runner", "")

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, with its defaults; empty where it was not kept."""
        found: dict[str, Any] = json.loads(self.facts.get("config") or "{}")
        return found

    @property
    def reason(self) -> str:
        """Why it failed; empty where it did not."""
        if self.state != FAILED:
            return ""
        failed = (self.failed_backfill or self)._failed_node
        return self.facts.get("reason") or (f"{failed.name}: {failed.error}" if failed else "")

    @property
    def _failed_node(self) -> Node | None:
        return next((node for node in self.nodes if node.state == FAILED), None)

    @property
    def failed_backfill(self) -> Run | None:
        """The backfill in which it failed; None where it did not, or failed on its own span."""
        if self.state != FAILED or self._failed_node:
            return None
        # The last one: with those before it, which were refused, the run went on.
        return next((one for one in reversed(self.backfills) if one.state == FAILED), None)

    @property
    def champion(self) -> Artifact | None:
        """The model that it chose to go live, or None if it chose none."""
        return next((a for a in self.outputs(MODEL) if "digest" in a.properties), None)

    @property
    def decision(self) -> str:
        """Why it chose its champion, or kept the live model; empty where it did not come to it."""
        return next((str(a.properties.get("reason", "")) for a in self.outputs(SELECTION)), "")

    @property
    def backfills(self) -> tuple[Run, ...]:
        """The runs that ingested earlier spans for this one, in the order of these."""
        return self._reader.backfills(self)

    @property
    def deployment(self) -> Deployment | None:
        """The deployment whose package it ran; None where it was started otherwise."""
        return of_run(self, self._reader)

    @property
    def retrain_decision(self) -> RetrainDecision | None:
        """The decision that started it, which says why; None where a person or a schedule did."""
        return next((one for one in self._reader.decisions if one.run_id == self.id), None)

    def diff(self, other: Run) -> Difference:
        """What is different in `other`, as a later run.

        Raises:
          UserError: that is no run.
        """
        if not isinstance(other, Run):
            raise UserError(f"{other!r} is no run to compare with; store.run(ID) gives one")
        return difference(self, other)

    def picture(self) -> Picture:
        """Its nodes from left to right, with arrows to those that read what they gave."""
        from pipeline.lineage import picture

        return picture.of_run(self)

    def frame(self) -> pd.DataFrame:
        """Its nodes as a table, a row for each."""
        import pandas as pd

        return pd.DataFrame([node.facts() for node in self.nodes])

    def summary(self) -> dict[str, Any]:
        """What a table says of it."""
        champion = self.champion
        return {
            "run": self.id,
            "state": self.state,
            "begun": self.begun,
            "seconds": self.seconds,
            "span": self.span,
            "commit": self.commit,
            "champion": champion.properties.get("framework") if champion else None,
            "note": self.note,
        }

    def outputs(self, kind: str) -> tuple[Artifact, ...]:
        """What its nodes made, or found in the cache, of a type as in "Model"."""
        return self._reader.made_of_type(self.tries, kind)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __repr__(self) -> str:
        return f"<Run {self.id}: {self.state}, span {self.span}, {html.moment(self.begun)}>"

    def _repr_html_(self) -> str:
        facts = html.facts(f"Run {self.id}", self.summary())
        nodes = (self.failed_backfill or self).nodes
        return facts + html.table([node.facts() for node in nodes])


def parent_of(run_id: str) -> str | None:
    """The id of the run that a backfill belongs to, or None if this is no backfill's id."""
    match = _BACKFILL.fullmatch(run_id)
    return match["run"] if match else None


def moment(milliseconds: int) -> datetime:
    """A time as the store has it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def state_of(execution: pb.Execution) -> str:
    """The state in lower case."""
    return str(pb.Execution.State.Name(execution.last_known_state)).lower()
