"""How models are to be judged, where a flag says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem


@dataclass(frozen=True)
class Judging:
    """What somebody has said; None is left to be guessed."""

    metric: Metric | None = None
    """The best model is best in it."""
    thresholds: Mapping[Metric, float] | None = None
    """What a model has to reach."""
    slices: Sequence[str] | None = None
    """Columns."""
    guards: Sequence[str] | None = None
    """Columns."""
    decision_threshold: float | None = None


def thresholds_of(text: str | None) -> dict[Metric, float] | None:
    """Bounds as --thresholds gives them, "auc=0.7,log_loss=0.5"; none at all in an empty text.

    Raises:
        UserError: A part is no metric with a number.
    """
    if text is None:
        return None
    told: dict[Metric, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            told[Metric(name)] = float(value)
        except ValueError:
            raise UserError(
                f"--thresholds {text}: expected metrics with a number each, as in auc=0.7; metrics "
                f"are {', '.join(Metric)}"
            ) from None
    return told


def check(judging: Judging, problem: Problem) -> None:
    """Sees that what was said suits the problem.

    Raises:
        UserError: A metric is of another problem, or a bound says too little.
    """
    metrics = Metric.of(problem)
    asked = [("--metric", judging.metric)] if judging.metric else []
    asked += [("--thresholds", metric) for metric in judging.thresholds or ()]
    for flag, metric in asked:
        if metric not in metrics:
            raise UserError(
                f"{flag} {metric}: the problem is {problem}; expected one of {', '.join(metrics)}"
            )
    for metric in judging.thresholds or ():
        if metric.ideal is not None:
            raise UserError(
                f"--thresholds {metric}: it is best at {metric.ideal:g}, so one number is no "
                f"bound; write {metric} = {{ min = …, max = … }} into the file"
            )
    chance = judging.decision_threshold
    if chance is not None and (problem is not Problem.BINARY or not 0 < chance < 1):
        raise UserError(
            f"--decision-threshold {chance:g}: expected a probability between 0 and 1, and a label "
            f"of two classes; the problem is {problem}"
        )
