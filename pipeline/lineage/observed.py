"""What was known of a span when it was decided about, as the store keeps it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Estimate(_Kept):
    """A metric of a model on the rows of a span."""

    value: float
    low: float
    """The bootstrap's 5th percentile; the value itself where there were too few rows to sample."""
    high: float
    """Its 95th."""
    before: float | None = None
    """What the metric was when the model was judged before it was pushed; None if not known."""
    before_low: float | None = None
    before_high: float | None = None


class Distance(_Kept):
    """How far a column of a span is from the nearest span that the live model learned from."""

    column: str
    is_numeric: bool
    """Whether `distance` is a Jensen-Shannon divergence; else an L-infinity distance."""
    distance: float
    """From 0 (the same) to 1 (nothing in common)."""
    moved: bool
    """Whether that was above the column's threshold."""


class Drift(_Kept):
    """The distances of a span's columns."""

    span: int
    columns: tuple[Distance, ...] = ()


class Challenger(_Kept):
    """A model that waited to be compared with the live one."""

    version: str
    """Its number in the registry."""
    artifact: int
    """The id of its Model artifact."""
    scores: dict[str, Estimate] | None = None
    """By metric, on all rows of the span; None if it learned from it, or it has no labels."""


class Observed(_Kept):
    """What was known of a span."""

    span: int
    rows: int
    """Of all splits together."""
    is_new: bool
    """Whether no run had learned from it as it was then."""
    live: int | None = None
    """The id of the live model's PushedModel artifact; None if none was live."""
    live_version: str = ""
    """Its version in the serving folder."""
    live_since: datetime | None = None
    learned: tuple[int, ...] = ()
    """The spans that the live model had learned from."""
    unlearned: int = 0
    """How many spans had come, this one among them, since the newest that a run learned from."""
    drift: tuple[Drift, ...] = ()
    """Of the span and of those before it that the live model had not learned from."""
    scores: dict[str, Estimate] | None = None
    """Of the live model, by metric, on all rows of the span; None if it learned from it."""
    challenger: Challenger | None = None

    @property
    def distances(self) -> tuple[Distance, ...]:
        """How far the span's own columns are, the farthest first; empty if not measured."""
        own = (one.columns for one in self.drift if one.span == self.span)
        return tuple(sorted(next(own, ()), key=lambda one: -one.distance))

    @property
    def moved(self) -> tuple[Distance, ...]:
        """Of these, the ones above their thresholds."""
        return tuple(one for one in self.distances if one.moved)
