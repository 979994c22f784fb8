"""What the page says of predictions beside what came true, by the kind of problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.features_config import Problem
from pipeline.report import prediction_charts as charts
from pipeline.report.drawing import Chart
from pipeline.report.evidence import Evidence, Reading

if TYPE_CHECKING:
    from custom_components.evaluator.confusion import Confusion
    from custom_components.evaluator.curves import ThresholdPoint
    from custom_components.evaluator.verdict import ClassMetrics, Errors, Verdict

_MATRIX = 30
"""Up to so many classes a matrix of them can be read."""
_MISTAKES = 10


@dataclass(frozen=True)
class Flags:
    """Two classes: calibration and thresholds of the best candidate and of the live model."""

    charts: tuple[Chart, ...]
    positive: str
    """What is predicted of a flagged row."""
    chosen: float
    """The decision threshold that is configured."""
    points: dict[str, ThresholdPoint]
    """What each model does at it."""


@dataclass(frozen=True)
class Mistake:
    """Rows of a class that are predicted to be of another one."""

    actual: str
    predicted: str
    rows: int
    share: float
    """Of the rows of the class."""


@dataclass(frozen=True)
class Classes:
    """Several classes: how the best candidate does on each of them, and the live model."""

    charts: tuple[Chart, ...]
    repeats: int
    """How often each row was judged."""
    model: str
    names: tuple[str, ...]
    """The models."""
    rows: tuple[tuple[str, tuple[ClassMetrics, ...]], ...]
    """By class, its name and how each model does on it."""
    mistakes: tuple[Mistake, ...]
    """The commonest of the best candidate."""
    matrix: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]
    """By class, its name, and the rows that are predicted to be of each class, with their share of
    the class; empty where there are too many classes."""


@dataclass(frozen=True)
class Values:
    """A regression: how far the best candidate is off, and the live model."""

    charts: tuple[Chart, ...]
    errors: dict[str, Errors]
    """By model."""


def predictions(found: Evidence) -> Flags | Classes | Values | None:
    """Of the best candidate and of the live model; None where it cannot be read."""
    verdict, best = found.verdict.content, found.best
    if verdict is None or best is None:
        return None
    names = [name for name in (best, verdict.live) if name in verdict.models]
    of_problem = {
        Problem.BINARY: _flags,
        Problem.MULTICLASS: _classes,
        Problem.REGRESSION: _values,
    }
    return of_problem[verdict.problem](found, verdict, names) if names else None


def why_none(found: Evidence) -> str:
    """Why there is nothing to show of them."""
    verdict = found.verdict.content
    if verdict is None:
        return "It cannot be shown, for the reason that is given for the metrics."
    read: dict[Problem, Reading[Any]] = {
        Problem.BINARY: found.curves,
        Problem.MULTICLASS: found.confusion,
        Problem.REGRESSION: found.points,
    }
    return read[verdict.problem].why


def _flags(found: Evidence, verdict: Verdict, names: list[str]) -> Flags | None:
    read = found.curves.content
    if read is None:
        return None
    chosen = float(found.run.config.get("evaluate", {}).get("decision_threshold", 0.5))
    points = {
        found.shown(name): min(
            read.thresholds(name, charts.POINTS), key=lambda point: abs(point.threshold - chosen)
        )
        for name in names
    }
    drawn = charts.of_flags(read, _shown(found, names), verdict.label_mean, chosen)
    return Flags(drawn, f"{found.label} is {verdict.classes[1]}", chosen, points)


def _shown(found: Evidence, names: list[str]) -> dict[str, str]:
    return {name: found.shown(name) for name in names}


def _classes(found: Evidence, verdict: Verdict, names: list[str]) -> Classes | None:
    confusion, curves = found.confusion.content, found.curves.content
    if confusion is None:
        return None
    by_class = zip(*(verdict.by_class[name] for name in names), strict=True)
    return Classes(
        charts=charts.of_classes(curves, _shown(found, names)) if curves else (),
        repeats=verdict.cross_validation.repeats if verdict.cross_validation else 1,
        model=names[0],
        names=tuple(map(found.shown, names)),
        rows=tuple(zip(verdict.classes, by_class, strict=True)),
        mistakes=_mistakes(confusion, names[0]),
        matrix=_matrix(confusion, names[0]) if len(confusion.classes) <= _MATRIX else (),
    )


def _mistakes(confusion: Confusion, model: str) -> tuple[Mistake, ...]:
    found = [
        Mistake(actual, predicted, rows, share)
        for actual, line in _matrix(confusion, model)
        for predicted, (rows, share) in zip(confusion.classes, line, strict=True)
        if rows and actual != predicted
    ]
    return tuple(sorted(found, key=lambda mistake: -mistake.rows)[:_MISTAKES])


def _matrix(
    confusion: Confusion, model: str
) -> tuple[tuple[str, tuple[tuple[int, float], ...]], ...]:
    lines = zip(confusion.classes, confusion.matrix(model).tolist(), strict=True)
    return tuple(
        (actual, tuple((rows, rows / max(sum(line), 1)) for rows in line)) for actual, line in lines
    )


def _values(found: Evidence, verdict: Verdict, names: list[str]) -> Values | None:
    read = found.points.content
    if read is None:
        return None
    drawn = charts.of_values(read, _shown(found, names))
    return Values(drawn, {found.shown(name): verdict.errors[name] for name in names})
