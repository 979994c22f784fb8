"""What became of each span: the decisions about it, what was known of it, what is live since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.lineage.decision import Decisions, RetrainDecision
from pipeline.store.decisions import KEEP, PROMOTE, RETRAIN

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.lineage import Artifact, Store
    from pipeline.lineage.observed import Challenger, Estimate, Observed


@dataclass(frozen=True)
class Line:
    """A span, by the decisions about it."""

    decisions: tuple[RetrainDecision, ...]
    """The newest first; at least one."""
    live_after: str | None
    """The version that was live after the newest of them; None where none was."""

    @property
    def newest(self) -> RetrainDecision:
        """The decision that counts."""
        return self.decisions[0]

    @property
    def span(self) -> int:
        """Its number."""
        return self.newest.span

    @property
    def arrived(self) -> datetime:
        """When it was decided about for the first time."""
        return self.decisions[-1].when

    @property
    def _looks(self) -> list[Observed]:
        """What was known at each decision about the delivery that counts, the oldest first."""
        delivered = (one for one in self.decisions if one.verdict not in (PROMOTE, KEEP))
        counts = next(delivered, self.newest)
        same = [one for one in reversed(self.decisions) if one.content == counts.content]
        return [one.observation for one in same if one.observation]

    @property
    def seen(self) -> Observed | None:
        """What was known when it came: with the live model's scores, if it ever had any."""
        looks = self._looks
        return next((one for one in looks if one.scores), looks[0] if looks else None)

    @property
    def scores(self) -> Mapping[str, Estimate]:
        """The live model's, by metric."""
        return (self.seen.scores if self.seen else None) or {}

    @property
    def challenger(self) -> Challenger | None:
        """The model that was compared with the live one on its rows."""
        found = (one.challenger for one in self._looks)
        return next((one for one in found if one and one.scores), None)

    @property
    def challenger_scores(self) -> Mapping[str, Estimate]:
        """That model's, by metric."""
        return (self.challenger.scores if self.challenger else None) or {}

    def facts(self) -> dict[str, Any]:
        """What a program is told of it; times and versions as text."""
        seen, challenger = self.seen, self.challenger
        return {
            "span": self.span,
            "arrived": self.arrived,
            "rows": seen.rows if seen else None,
            "drift": {one.column: one.distance for one in seen.distances} if seen else {},
            "drifted_columns": [one.column for one in seen.moved] if seen else [],
            "live_version": (seen.live_version or None) if seen else None,
            "live_scores": {name: score.model_dump() for name, score in self.scores.items()},
            "challenger": challenger.model_dump() if challenger else None,
            "live_after": self.live_after,
            "decisions": [one.facts() for one in self.decisions],
        }


@dataclass(frozen=True)
class History:
    """All spans that a pipeline's policy has decided about."""

    config: PipelineConfig
    decisions: Decisions
    store: Store
    live: Artifact | None
    """The live model."""

    @property
    def lines(self) -> list[Line]:
        """A line for each span, in their order."""
        of_span: dict[int, list[tuple[RetrainDecision, str | None]]] = {}
        for one, live_after in zip(self.decisions, self.decisions.live_after(), strict=True):
            of_span.setdefault(one.span, []).append((one, live_after))
        return [
            Line(tuple(one for one, _ in found), found[0][1])
            for _, found in sorted(of_span.items())
        ]

    def frame(self) -> pd.DataFrame:
        """The decisions as a table, the newest first.

        Raises:
          UserError: there is none.
        """
        if not self.decisions:
            raise UserError(
                f"nothing is decided yet about {self.config.name}: call `python -m pipeline "
                "continuous --once` first, with the same --config and --set"
            )
        return self.decisions.frame()

    @property
    def asked(self) -> list[RetrainDecision]:
        """Those for a run, the newest first."""
        return [one for one in self.decisions if one.verdict == RETRAIN]

    @property
    def metrics(self) -> list[Metric]:
        """The metrics that decide: what models are chosen by, and what the policy bounds."""
        bounded = self.config.continuous.performance.model_dump(exclude_none=True)
        return list(dict.fromkeys([self.config.select.metric, *map(Metric, bounded)]))

    @property
    def runs(self) -> list[datetime]:
        """When decisions asked for runs."""
        return [one.when for one in self.asked]

    def has_trained(self, span: int) -> bool:
        """Whether a model was made of the span, as it came last; whoever began the run."""
        try:
            return bool(self.store.span(span)[-1].models())
        except UserError:
            return False  # Nothing is left of it.


def read(config: PipelineConfig) -> History:
    """The history of a pipeline, as it is now.

    Raises:
      UserError: there is no store, or it cannot be reached.
    """
    store = lineage.open(config)
    try:
        live = store.live_model()
    except UserError:
        live = None
    return History(config, store.decisions().of(config.name), store, live)
