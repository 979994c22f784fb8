"""What is known of a span: from the store, its statistics, and the live model's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.continuous.policy import Drifted, Moved, Observation
from pipeline.errors import UserError
from pipeline.lineage.artifact import EXAMPLES, Artifact
from pipeline.lineage.store import Store
from pipeline.store.decisions import RETRAIN

STATISTICS = "ExampleStatistics"
_DRIFT_SPLIT = "train"
"""The split whose statistics are compared, as the data gate does."""

Ingest = Callable[[int], None]
"""Has the pipeline ingest a span and look at it, as far as the data gate."""


@dataclass(frozen=True)
class Seen:
    """An observation, and the artifacts that it is of."""

    observation: Observation
    inputs: Mapping[str, int] = field(default_factory=dict)
    """The artifacts' numbers, by what they are: examples, statistics, live_model."""


def observe(
    config: PipelineConfig, span: int, *, ingest: Ingest | None = None, now: datetime | None = None
) -> Seen:
    """Looks at a span as a policy does.

    Args:
      config: the pipeline's.
      span: which to look at.
      ingest: called first, so that the store has the span's statistics, of its files as they are
        now; None: what the store has is taken as it is.
      now: the time; by default the clock's.

    Raises:
      UserError: the span is not in the store, or not as it should be.
    """
    if ingest is not None:
        ingest(span)
    store = lineage.open(config)
    examples = store.span(span)[-1]
    statistics = _statistics_of(examples)
    if statistics is None:
        raise UserError(
            f"span {span} has no statistics: its data gate was not reached; run the pipeline with "
            f"--span {span} --to DataGate"
        )
    live = _live_model(store)
    splits = statistics.statistics().splits
    rows = sum(statistics.statistics(split).rows for split in splits)
    started = [one for one in store.decisions() if one.verdict == RETRAIN]
    inputs = {"examples": examples.id, "statistics": statistics.id}
    known = Observation(
        now=now or datetime.now(UTC),
        span=span,
        rows=rows,
        is_new=not _trained_on(examples),
        runs=tuple(one.when for one in started if one.pipeline == config.name),
    )
    if live is None:
        return Seen(known, inputs)
    learned = live.data()
    spans = live.data_spans()
    since = [n for n in _spans_there(store) if n > max(spans, default=-1) and n <= span]
    scores = None
    if examples not in learned:
        from pipeline.continuous.live_scores import score_live  # brings TensorFlow

        scores = score_live(config, live, examples)
    return Seen(
        Observation(
            **{
                **vars(known),
                "live_since": live.created,
                "learned": spans,
                "unlearned": len(since),
                "drift": _drift(config, store, learned, [*since, span], span),
                "scores": scores,
            }
        ),
        {**inputs, "live_model": live.id},
    )


def _live_model(store: Store) -> Artifact | None:
    try:
        return store.live_model()
    except UserError:
        return None


def _spans_there(store: Store) -> list[int]:
    found = store.find(EXAMPLES)
    return sorted({a.properties["span"] for a in found if "span" in a.properties})


def _trained_on(examples: Artifact) -> bool:
    """Whether a trainer has taken the examples in: transformed, they are read by one."""
    return any(one.type == "Model" for one in examples.descendants())


def _statistics_of(examples: Artifact) -> Artifact | None:
    """The statistics that were made of the examples, the newest; None where there are none."""
    found = [
        one for one in examples.children() if one.type == STATISTICS and examples in one.parents()
    ]
    return max(found, key=lambda one: one.id, default=None)


def _drift(
    config: PipelineConfig,
    store: Store,
    learned: tuple[Artifact, ...],
    since: list[int],
    span: int,
) -> tuple[Drifted, ...]:
    """How far the last spans are from the nearest that the live model learned from."""
    from custom_components.drift import measure_drift  # brings TensorFlow
    from custom_components.gate_report import Measure

    window = [s.statistics(_DRIFT_SPLIT).proto for s in map(_statistics_of, learned) if s]
    last = sorted(set(since))[-config.continuous.drift.of :]
    drifted = []
    for number in last if window else []:
        statistics = _statistics_of(store.span(number)[-1])
        if statistics is None:
            continue  # Its data gate was not reached; of `span` itself that was made sure.
        now = statistics.statistics(_DRIFT_SPLIT).proto
        nearest: dict[str, Moved] = {}
        for before in window:
            for found in measure_drift(now, before, features=config.features, gate=config.gate):
                moved = Moved(found.feature, found.measure is Measure.JENSEN_SHANNON, found.value)
                known = nearest.get(found.feature, moved)
                nearest[found.feature] = min(known, moved, key=lambda one: one.distance)
        drifted.append(Drifted(number, tuple(nearest.values())))
    return tuple(drifted)
