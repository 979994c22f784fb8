"""What is predicted, what the rows that judge are like and how sure that is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.report.figures import words

if TYPE_CHECKING:
    from custom_components.evaluator.verdict import Verdict

_NAMED = 10
"""So many classes are named."""


def predicted(features: Mapping[str, Any]) -> str:
    """What is predicted, by a run's section [features]; empty where that was not kept."""
    label = features.get("label")
    if not label:
        return ""
    problem = Problem(features.get("problem", Problem.BINARY))
    classes = tuple(features.get("classes") or ("0", "1"))
    if problem is Problem.REGRESSION:
        return f"{label}, a number"
    if problem is Problem.BINARY:
        return f"the probability that {label} is {classes[1]}"
    more = len(classes) - _NAMED
    named = [*classes[:_NAMED], *([f"and {more} more"] if more > 0 else [])]
    return f"the probability of each of the {len(classes)} classes of {label}: {', '.join(named)}"


def labels(verdict: Verdict, label: str) -> str:
    """What the labels of the rows that judge are like.

    Args:
      verdict: of an evaluation.
      label: the label's column.
    """
    mean = verdict.label_mean
    if verdict.problem is Problem.REGRESSION:
        return f"the mean of {label} is {words(mean)}"
    if verdict.problem is Problem.BINARY:
        return f"{label} is {verdict.classes[1]} in {words(mean, 'share')} of the rows"
    count = len(verdict.classes)
    return f"{label} has {count} classes, the commonest with {words(mean, 'share')} of the rows"


def certainty(verdict: Verdict, name: str, metric: Metric) -> str:
    """How sure a model's metric is, in a sentence; empty where nothing tells."""
    value = verdict.models.get(name, {}).get(metric)
    ends = verdict.intervals.get(name, {}).get(metric)
    if value is None or ends is None:
        return ""
    low, high = (metric.words(end) for end in ends)
    spread = verdict.spread.get(name, {}).get(metric)
    other = "parted into other folds, it moves by"
    moves = "" if spread is None else f"; {other} {metric.words(spread)} or so"
    return (
        f"the {metric} of {name}, {metric.words(value)}, would with other rows like these lie "
        f"between {low} and {high} ({words(verdict.confidence, 'share')} sure){moves}."
    )


def crossed(verdict: Verdict) -> str:
    """How the rows came to judge, where a cross-validation had them do so; else empty."""
    crossing = verdict.cross_validation
    if crossing is None:
        return ""
    times = "once" if crossing.repeats == 1 else f"{crossing.repeats} times"
    return (
        f"{'Repeated cross' if crossing.repeats > 1 else 'Cross'}-validation on {verdict.rows:,} "
        f"rows: they were parted into {crossing.folds} folds, {times}, and each row was judged "
        f"{times}, by models that learned from the other folds."
    )
