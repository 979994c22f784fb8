"""A decision to retrain or not: why a run happened, or did not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.lineage import html
from pipeline.store import decisions

if TYPE_CHECKING:
    from pipeline.lineage.artifact import Artifact
    from pipeline.lineage.reader import Reader
    from pipeline.lineage.run import Run


@dataclass(frozen=True, repr=False)
class RetrainDecision(decisions.Record):
    """What the policy said of a span, when and why."""

    _reader: Reader = field(compare=False)

    @property
    def run(self) -> Run | None:
        """The run that it started; None where there is none (yet)."""
        return self._reader.known_run(self.run_id) if self.run_id else None

    @property
    def inputs(self) -> dict[str, Artifact]:
        """What was looked at: "examples", "statistics", "live_model", as far as they were there."""
        (node,) = self._reader.nodes([self.id]).values()
        return {name: found[0] for name, found in node.inputs.items()}

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What each rule of the policy found: rule, holds, value, bound and words."""
        found: list[dict[str, Any]] = json.loads(self.numbers or "[]")
        return found

    def facts(self) -> dict[str, Any]:
        """What a table says of it."""
        names = ("span", "verdict", "when", "state", "run_id", "reason", "failure")
        return {"decision": self.id, **{name: getattr(self, name) for name in names}}

    def __repr__(self) -> str:
        return f"<RetrainDecision {self.id}: {self.verdict}, {html.moment(self.when)}>"

    def _repr_html_(self) -> str:
        facts = html.facts(f"RetrainDecision {self.id}", self.facts())
        return facts + html.table(self.findings) if self.findings else facts


def all_of(reader: Reader) -> tuple[RetrainDecision, ...]:
    """Every decision that the store knows, the newest first."""
    return tuple(
        RetrainDecision(**asdict(found), _reader=reader) for found in decisions.read(reader.store)
    )
