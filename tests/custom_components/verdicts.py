"""Evaluations made up of numbers, for the rules of the selection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from custom_components.evaluator.verdict import (
    ENSEMBLE,
    LIVE,
    Check,
    Cost,
    Rule,
    Slice,
    Verdict,
)
from custom_components.selection import Candidate, Selection
from custom_components.selector_rules import select
from pipeline.evaluate_config import EvaluateConfig, Metric, SelectConfig

REPLICATES = 1000
GUARDS = EvaluateConfig.model_validate(
    {
        "slices": [["carrier"]],
        "guards": [{"columns": ["carrier"], "metric": "log_loss", "min_rows": 100}],
    }
)

Values = Mapping[str, float | None]


def in_samples(
    values: Values, noise: float = 0.0005, *, replicates: int = REPLICATES
) -> dict[str, NDArray[np.float64]]:
    """Each value with what all models share in a sample, and noise of the model's own."""
    random = np.random.default_rng(0)
    shared = random.normal(0, 0.01, replicates)
    return {
        name: shared + random.normal(value, noise, replicates)
        for name, value in values.items()
        if value is not None
    }


def make_verdict(
    values: Values,
    metric: Metric = Metric.AUC,
    *,
    costs: Mapping[str, tuple[float, float]] | None = None,
    refused: Mapping[str, str] | None = None,
    slices: Mapping[str, tuple[int, Values]] | None = None,
    live_framework: str = "keras",
    groups: str = "date",
) -> Verdict:
    """An evaluation of `values`, in which LIVE is the live model; costs are ms and MB."""
    candidates = [name for name in values if name != LIVE]
    refused = refused or {}
    costs = dict.fromkeys(values, (1.0, 1.0)) | dict(costs or {})
    return Verdict(
        candidates=tuple(candidates),
        blessed={name: name not in refused for name in candidates},
        members=("keras", "xgboost") if ENSEMBLE in values else (),
        live=LIVE if LIVE in values else None,
        live_framework=live_framework if LIVE in values else None,
        rows=1000,
        label_mean=0.25,
        models={name: {metric: value} for name, value in values.items()},
        replicates=REPLICATES,
        groups=groups,
        costs={
            name: Cost(latency_ms=ms, rows_per_second=1000.0, size_bytes=int(mb * 1e6))
            for name, (ms, mb) in costs.items()
        },
        slices=[
            Slice(
                columns={"carrier": carrier},
                rows=rows,
                label_mean=0.25,
                models={name: {metric: value} for name, value in by_model.items()},
            )
            for carrier, (rows, by_model) in (slices or {}).items()
        ],
        checks=[
            Check(
                model=name,
                metric=metric,
                rule=Rule.MIN,
                slice={},
                rows=1000,
                value=0.5,
                bound=0.6,
                judged=True,
                passed=False,
                reason=reason,
            )
            for name, reason in refused.items()
        ],
    )


def choose(values: Values, **asked: object) -> Selection:
    """What is selected where the evaluation found nothing but `values`."""
    config = SelectConfig.model_validate(asked)
    return select(make_verdict(values, config.metric), in_samples(values), config, EvaluateConfig())


def candidate(selection: Selection, name: str) -> Candidate:
    (found,) = [candidate for candidate in selection.candidates if candidate.name == name]
    return found
