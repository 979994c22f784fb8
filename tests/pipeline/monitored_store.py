"""A store in which a policy has decided about spans: it waited, retrained, refused and failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import PipelineConfig
from pipeline.config_file import load
from pipeline.continuous.observe import Seen, observed_json
from pipeline.continuous.policy import (
    Challenger,
    Drifted,
    Moved,
    Observation,
    Policy,
    Score,
)
from pipeline.evaluate_config import Metric
from pipeline.store import decisions
from pipeline.store.decisions import COMPLETE, FAILED, KEEP, REFUSED, RETRAIN, WAIT
from tests.pipeline.written_store import Writer

AUC = {3: 0.70123456789, 4: 0.63987654321, 5: 0.62123456789}
"""The live model's, by span; of spans 1 and 2 it had learned."""
CHALLENGER_AUC = 0.67345678912
DRIFT = {"temp": 0.45678912345, "dewp": 0.41234567891, "pressure": 0.35, "carrier": 0.01234}
"""Of span 4, of which the numeric ones are above their thresholds."""
ROWS = 26_483
HOSTILE = "<script>console.error('decision')</script>"
"""A reason that does something where it is not escaped."""
FIRST, SECOND = "1300000000", "1400000000"
"""The versions that went live, after span 1 and after span 4."""
MISSED = "Trainer.xgboost: out of memory"


def config_of(root: Path) -> PipelineConfig:
    """The configuration of the pipeline whose store is in `root`."""
    return load(
        overrides=[
            f"root={str(root)!r}",
            "continuous.max_age_spans=9",
            "continuous.drift.columns=3",
            "continuous.performance.auc.max_fall=0.04",
            "continuous.performance.log_loss.max_fall=0.05",
            "continuous.cron='0 6 2 * *'",
            "continuous.budget.runs=3",
        ]
    )


def write(root: Path) -> PipelineConfig:
    """Writes it below `root`; the configuration."""
    config = config_of(root)
    writer = Writer(root)
    first = _decide(writer, config, _seen(1, live=None))
    live = _run(writer, first, "run-1", span=1, version=FIRST)
    _decide(writer, config, _seen(2, live=live, learned=True))
    _decide(writer, config, _seen(3, live=live, auc=AUC[3]))
    worse = _seen(4, live=live, auc=AUC[4], drift=DRIFT)
    second = _decide(writer, config, worse)
    live = _run(writer, second, "run-2", span=4, version=SECOND)
    waits = Challenger("7", 99, _scores(CHALLENGER_AUC))
    seen = _seen(5, live=live, auc=AUC[5])
    compared = replace(seen, observation=replace(seen.observation, challenger=waits))
    kept = replace(
        _facts(config, 5, KEEP, "Span 5: the live model stays, version 7 is hardly better."),
        observed=observed_json(compared, config.continuous.drift),
    )
    decisions.ended(writer.store, decisions.write(writer.store, kept, {}), COMPLETE)
    last = _decide(writer, config, seen)
    decisions.ended(writer.store, last, FAILED, failure=MISSED)
    facts = _facts(config, 6, REFUSED, f"Span 6: refused, because {HOSTILE}.")
    decisions.write(writer.store, facts, {})
    return config


def _run(writer: Writer, decision: int, run: str, *, span: int, version: str) -> int:
    """The run that a decision started, and that put a model live; the model's id."""
    writer.facts(run, pipeline="flights", span=str(span), outcome="succeeded")
    decisions.started(writer.store, decision, run)
    decisions.ended(writer.store, decision, COMPLETE)
    examples = writer.artifact("Examples", span=span)
    writer.execution("ExampleGen", [], [examples], run=run)
    model = writer.artifact("Model", framework="xgboost", digest=version)
    writer.execution("Trainer.xgboost", [examples], [model], run=run)
    pushed = writer.artifact("PushedModel", pushed=1, pushed_version=version, framework="xgboost")
    writer.execution("Pusher", [model], [pushed], run=run)
    return pushed


def _seen(
    span: int,
    *,
    live: int | None,
    auc: float | None = None,
    drift: dict[str, float] | None = None,
    learned: bool = False,
) -> Seen:
    now = datetime.now(UTC)
    found = Observation(now=now, span=span, rows=ROWS + span, is_new=not learned)
    if live is None:
        return Seen(found, {})
    distances = drift or {"temp": 0.1, "dewp": 0.05, "pressure": 0.02, "carrier": 0.001}
    moved = tuple(Moved(name, name != "carrier", far) for name, far in distances.items())
    found = replace(
        found,
        live_since=now,
        live_version=FIRST if span < 5 else SECOND,
        learned=(1,) if span < 5 else (1, 4),
        unlearned=span - (1 if span < 5 else 4),
        drift=(Drifted(span, moved),),
        scores=_scores(auc) if auc else None,
    )
    return Seen(found, {"live_model": live})


def _scores(auc: float) -> dict[Metric, Score]:
    around = tuple(auc + step / 1000 for step in range(-10, 11))
    before = tuple(0.7 + step / 1000 for step in range(-10, 11))
    loss = tuple(1.2 - value for value in around)
    return {
        Metric.AUC: Score(auc, around, 0.7, before),
        Metric.LOG_LOSS: Score(1.2 - auc, loss, 0.5),
    }


def _decide(writer: Writer, config: PipelineConfig, seen: Seen) -> int:
    """Has the policy decide, and keeps it; the decision's id."""
    decision = Policy(config.continuous).decide(seen.observation)
    facts = replace(
        _facts(config, decision.span, RETRAIN if decision.retrain else WAIT, decision.reason),
        numbers=decision.numbers(),
        observed=observed_json(seen, config.continuous.drift),
    )
    return decisions.write(writer.store, facts, {})


def _facts(config: PipelineConfig, span: int, verdict: str, reason: str) -> decisions.Facts:
    return decisions.Facts(
        pipeline=config.name,
        span=span,
        content=f"content-{span}",
        listing=f"listing-{span}",
        verdict=verdict,
        reason=reason,
        numbers="[]",
        policy=config.continuous.model_dump_json(),
    )
