"""A decision to retrain or not: why a run happened, or did not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipeline.lineage import html
from pipeline.lineage.artifact import PUSHED_MODEL
from pipeline.store import decisions

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.lineage.artifact import Artifact
    from pipeline.lineage.observed import Estimate, Observed
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

    @cached_property
    def observation(self) -> Observed | None:
        """What was known of the span; None where it was refused, or nothing was kept of it."""
        from pipeline.lineage.observed import Observed

        return Observed.model_validate_json(self.observed) if self.observed else None

    def facts(self) -> dict[str, Any]:
        """What a table says of it."""
        names = ("span", "verdict", "when", "state", "run_id", "reason", "failure")
        return {"decision": self.id, **{name: getattr(self, name) for name in names}}

    def __repr__(self) -> str:
        return f"<RetrainDecision {self.id}: {self.verdict}, {html.moment(self.when)}>"

    def _repr_html_(self) -> str:
        facts = html.facts(f"RetrainDecision {self.id}", self.facts())
        return facts + html.table(self.findings) if self.findings else facts


class Decisions(tuple[RetrainDecision, ...]):
    """Decisions, the newest first."""

    __slots__ = ()

    def of(self, pipeline: str) -> Decisions:
        """Those about that pipeline."""
        return Decisions(one for one in self if one.pipeline == pipeline)

    def records(self) -> list[dict[str, Any]]:
        """A row for each, all with the same keys; None where something is not known.

        Beside what is known of each: `live_METRIC`, with `_low` and `_high`, and
        `challenger_METRIC` on the rows of the span, and `live_after`, the version that was live
        until the next decision.
        """
        seen = [one.observation for one in self]
        metrics = dict.fromkeys(metric for known in seen if known for metric in known.scores or {})
        return [
            _record(one, known, live, metrics)
            for one, known, live in zip(self, seen, self.live_after(), strict=True)
        ]

    def live_after(self) -> Iterator[str | None]:
        """The version that was live until the next decision, for each."""
        if not self:
            return
        pushes = self[0]._reader.find(PUSHED_MODEL, {"pushed": 1})
        ends = [None, *(one.when for one in self)]
        for end, _ in zip(ends, self, strict=False):
            before = [push for push in pushes if end is None or push.created < end]
            last = max(before, key=lambda push: (push.created, push.id), default=None)
            yield str(last.properties.get("pushed_version", "")) if last else None

    def frame(self) -> pd.DataFrame:
        """The same as a table."""
        import pandas as pd

        return pd.DataFrame(self.records(), columns=None if self else COLUMNS)

    def _repr_html_(self) -> str:
        return html.table([one.facts() for one in self])


COLUMNS = (
    "decision",
    "span",
    "when",
    "verdict",
    "state",
    "reason",
    "rows",
    "drifted_columns",
    "live_version",
    "challenger_version",
    "live_after",
    "run_id",
)
"""What is told of each decision, before the scores."""


def _record(
    one: RetrainDecision, seen: Observed | None, live_after: str | None, metrics: Iterable[str]
) -> dict[str, Any]:
    challenger = seen.challenger if seen else None
    known: dict[str, Any] = {
        "decision": one.id,
        "rows": seen.rows if seen else None,
        "drifted_columns": len(seen.moved) if seen and seen.distances else None,
        "live_version": (seen.live_version or None) if seen else None,
        "challenger_version": challenger.version if challenger else None,
        "live_after": live_after,
    }
    found = {name: known[name] if name in known else getattr(one, name) for name in COLUMNS}
    live = (seen.scores if seen else None) or {}
    other = (challenger.scores if challenger else None) or {}
    for metric in metrics:
        score: Estimate | None = live.get(metric)
        found[f"live_{metric}"] = score.value if score else None
        found[f"live_{metric}_low"] = score.low if score else None
        found[f"live_{metric}_high"] = score.high if score else None
        found[f"challenger_{metric}"] = other[metric].value if metric in other else None
    return found


def all_of(reader: Reader) -> Decisions:
    """Every decision that the store knows, the newest first."""
    return Decisions(
        RetrainDecision(**asdict(found), _reader=reader) for found in decisions.read(reader.store)
    )
