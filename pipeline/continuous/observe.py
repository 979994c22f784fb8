"""What is known of a span: from the store, its statistics, and the live model's answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from custom_components.evaluator.verdict import LIVE
from custom_components.registrar import tags
from custom_components.registrar.record import CHALLENGER
from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.continuous.policy import (
    Challenger,
    Drifted,
    Moved,
    Observation,
    Score,
    drifted_columns,
)
from pipeline.continuous.runs import GATE, RunFailed
from pipeline.continuous_config import DriftRule
from pipeline.errors import UnreachableError, UserError
from pipeline.evaluate_config import Metric
from pipeline.lineage.artifact import EXAMPLES, Artifact
from pipeline.lineage.run import CACHED, COMPLETE, FAILED
from pipeline.lineage.store import Store
from pipeline.store.decisions import RETRAIN

STATISTICS = "ExampleStatistics"
_ENDS = (0.05, 0.95)
"""The percentiles of the bootstrap's samples that are kept of a score."""
_DRIFT_SPLIT = "train"
"""The split whose statistics are compared, as the data gate does."""

_SAID = (COMPLETE, CACHED, FAILED)
"""The states in which the data gate has said something."""

Ingest = Callable[[int], None]
"""Has the pipeline ingest a span and look at it, as far as the data gate."""


@dataclass(frozen=True)
class Seen:
    """An observation, and the artifacts that it is of."""

    observation: Observation
    inputs: Mapping[str, int] = field(default_factory=dict)
    """The artifacts' numbers, by what they are: examples, statistics, live_model, challenger."""


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
      RunFailed: MLflow, which knows the challenger, cannot be asked; another try may.
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
    live = live_model(store)
    waits = waiting_challenger(config)
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
        challenger=waits,
    )
    if waits is not None:
        inputs["challenger"] = waits.artifact
    if live is None:
        return Seen(known, inputs)
    learned = live.data()
    spans = live.data_spans()
    newest = max(spans, default=-1)
    since = _passed(store, above=newest, below=span)
    if span > newest:
        since[span] = examples
    tried = max((n for n, one in since.items() if _trained_on(one)), default=-1)
    # Only on what is newer than all that either knows, in whatever delivery.
    models = {LIVE: live} if span > _newest_known(live) else {}
    if waits is not None:
        challenger = store.artifact(waits.artifact)
        if models and span > _newest_known(challenger):
            models[CHALLENGER] = challenger
    scores, unscored = _scores(config, models, examples)
    observation = replace(
        known,
        live_since=live.created,
        live_version=str(live.properties.get("pushed_version", "")),
        learned=spans,
        unlearned=sum(n > tried for n in since),
        drift=_drift(config, learned, since | {span: examples}),
        scores=scores.get(LIVE),
        unscored=unscored,
        challenger=waits and replace(waits, scores=scores.get(CHALLENGER)),
    )
    return Seen(observation, {**inputs, "live_model": live.id})


def observed_json(seen: Seen, rule: DriftRule) -> str:
    """What was seen, as the store keeps it with a decision.

    Returns:
      An object with span, rows, is_new, live (the artifact's id), live_version, live_since (ISO
      8601), learned, unlearned, drift (of each span: its columns, and whether each has moved by
      `rule`), scores (of each metric: value, low, high, and before, before_low, before_high) and
      challenger (version, artifact, scores); null where there is none.
    """
    found = seen.observation
    waits = found.challenger
    return json.dumps(
        {
            "span": found.span,
            "rows": found.rows,
            "is_new": found.is_new,
            "live": seen.inputs.get("live_model"),
            "live_version": found.live_version,
            "live_since": found.live_since and found.live_since.isoformat(),
            "learned": found.learned,
            "unlearned": found.unlearned,
            "drift": [_drift_json(one, rule) for one in found.drift],
            "scores": _scores_json(found.scores),
            "challenger": waits
            and {
                "version": waits.version,
                "artifact": waits.artifact,
                "scores": _scores_json(waits.scores),
            },
        }
    )


def _drift_json(drifted: Drifted, rule: DriftRule) -> dict[str, Any]:
    moved = drifted_columns(rule, drifted)
    columns = [{**asdict(one), "moved": one in moved} for one in drifted.columns]
    return {"span": drifted.span, "columns": columns}


def _scores_json(
    scores: Mapping[Metric, Score] | None,
) -> dict[str, dict[str, float | None]] | None:
    return {metric: _score_json(score) for metric, score in scores.items()} if scores else None


def _score_json(score: Score) -> dict[str, float | None]:
    low, high = _ends(score.value, score.samples)
    kept = {"value": score.value, "low": low, "high": high, "before": score.before}
    if score.before is not None:
        kept["before_low"], kept["before_high"] = _ends(score.before, score.before_samples)
    return kept


def _ends(value: float, samples: tuple[float, ...]) -> tuple[float, float]:
    drawn = np.asarray(samples, np.float64)
    defined = drawn[np.isfinite(drawn)]
    low, high = np.quantile(defined if defined.size else [value], _ENDS)
    return float(low), float(high)


def _scores(
    config: PipelineConfig, models: Mapping[str, Artifact], examples: Artifact
) -> tuple[dict[str, dict[Metric, Score]], str]:
    """The models' scores, and why there are none where a model or the rows cannot be read."""
    if not models:
        return {}, ""
    from pipeline.continuous.live_scores import score  # brings TensorFlow

    try:
        return score(config, models, examples) or {}, ""
    except UnreachableError:
        raise  # Another try may do.
    except UserError as error:
        return {}, str(error)


def waiting_challenger(config: PipelineConfig) -> Challenger | None:
    """What waits for its trial, where challengers have one.

    Raises:
      RunFailed: MLflow does not answer, or the registry is at work; another try may.
    """
    if config.registration.approval != "shadow":
        return None
    from pipeline.registry.live import challenger  # brings MLflow

    try:
        version = challenger(config)
    except UserError as error:
        raise RunFailed(f"the challenger is not known: {error}") from None
    if version is None:
        return None
    return Challenger(str(version.number), int(version.tags[tags.MODEL]))


def live_model(store: Store) -> Artifact | None:
    """The live model, if there is one."""
    try:
        return store.live_model()
    except UserError:
        return None


def _passed(store: Store, *, above: int, below: int) -> dict[int, Artifact]:
    """Of each span between two, the examples that came last of those that the gate let pass."""
    numbers = {one.properties.get("span", -1) for one in store.find(EXAMPLES)}
    between = sorted(n for n in numbers if above < n < below)
    deliveries = {n: [one for one in store.span(n) if _has_passed(one)] for n in between}
    return {n: passed[-1] for n, passed in deliveries.items() if passed}


def _has_passed(examples: Artifact) -> bool:
    """Whether the gate, as it was asked last of any of their statistics, let them pass."""
    for statistics in (one for one in examples.children() if one.type == STATISTICS):
        asked = [one for one in statistics.consumers if one.name == GATE and one.state in _SAID]
        if asked and max(asked, key=lambda one: one.id).state != FAILED:
            return True
    return False


def _newest_known(model: Artifact) -> int:
    """The newest span that a model learned from, or was judged on when it was chosen."""
    judged = model.evaluation()
    rows = judged.parents() if judged else ()
    spans = [one.properties.get("span", -1) for one in rows if one.type == EXAMPLES]
    return max((*model.data_spans(), *spans), default=-1)


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
    config: PipelineConfig, learned: tuple[Artifact, ...], since: Mapping[int, Artifact]
) -> tuple[Drifted, ...]:
    """How far the last spans are from the nearest that the live model learned from."""
    from custom_components.drift import measure_drift  # brings TensorFlow
    from custom_components.gate_report import Measure

    window = [s.statistics(_DRIFT_SPLIT).proto for s in map(_statistics_of, learned) if s]
    last = sorted(since)[-config.continuous.drift.of :]
    drifted = []
    for number in last if window else []:
        statistics = _statistics_of(since[number])
        assert statistics is not None  # or the gate would not have been asked
        now = statistics.statistics(_DRIFT_SPLIT).proto
        nearest: dict[str, Moved] = {}
        for before in window:
            for found in measure_drift(now, before, features=config.features, gate=config.gate):
                moved = Moved(found.feature, found.measure is Measure.JENSEN_SHANNON, found.value)
                known = nearest.get(found.feature, moved)
                nearest[found.feature] = min(known, moved, key=lambda one: one.distance)
        drifted.append(Drifted(number, tuple(nearest.values())))
    return tuple(drifted)
