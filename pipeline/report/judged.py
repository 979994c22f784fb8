"""What the page says of the candidates: metrics, the choice among them, slices, curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from custom_components.evaluator.judge import how_much_worse
from custom_components.evaluator.verdict import Check, Rule, Verdict
from pipeline.evaluate_config import Metric
from pipeline.report import charts
from pipeline.report.drawing import Chart
from pipeline.report.evidence import Evidence
from pipeline.report.figures import percents

if TYPE_CHECKING:
    from custom_components.evaluator.curves import ThresholdPoint
    from custom_components.evaluator.verdict import Cost, Slice
    from custom_components.selection import Interval

MEANINGS = {
    Metric.AUC: "how well it ranks: the chance that a row of label 1 gets a higher probability "
    "than one of label 0. 0.5 is guessing, 1 is perfect",
    Metric.LOG_LOSS: "how far its probabilities are from what happened; 0 is perfect, "
    "more is worse",
    Metric.CALIBRATION: "the sum of its probabilities beside the number of ones; 1 is right, "
    "above 1 it says too much",
    Metric.ACCURACY: "the share of rows that it gets right at the decision threshold",
    Metric.PRECISION: "of the rows that it flags at the decision threshold, the share that are 1",
    Metric.RECALL: "of the rows that are 1, the share that it flags at the decision threshold",
}
_SLICES = 8
_BOUNDS = {
    Rule.MIN: "at least {:g}",
    Rule.MAX: "at most {:g}",
    Rule.MAX_REGRESSION: "at most {:g} worse than the live model",
}
_CURVES = 1000
"""Thresholds, so that the one that was configured is among them."""


@dataclass(frozen=True)
class Cell:
    """A metric of a model."""

    value: float | None
    interval: tuple[float, float] | None
    passed: bool | None
    """None where nothing was asked."""


@dataclass(frozen=True)
class MetricRow:
    """A metric of all models."""

    metric: Metric
    meaning: str
    bounds: tuple[str, ...]
    """What is asked, in words."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Metrics:
    """The metrics over all rows."""

    verdict: Verdict
    names: tuple[str, ...]
    rows: tuple[MetricRow, ...]
    chart: Chart | None


def metrics(found: Evidence) -> Metrics | None:
    """Each candidate's metrics, against the bounds and beside the live model's."""
    verdict = found.verdict.content
    if verdict is None:
        return None
    rows = tuple(_metric_rows(verdict))
    return Metrics(
        verdict=verdict,
        names=tuple(_shown(found, name) for name in _names(verdict)),
        rows=rows,
        chart=_intervals(found, verdict, rows),
    )


def main_metric(found: Evidence) -> Metric | None:
    """The metric by which models are chosen."""
    if found.selection.content:
        return found.selection.content.metric
    asked = found.run.config.get("select", {}).get("metric")
    return Metric(asked) if asked in list(Metric) else None


def _names(verdict: Verdict) -> tuple[str, ...]:
    return (*verdict.candidates, *([verdict.live] if verdict.live else []))


def _shown(found: Evidence, name: str) -> str:
    verdict = found.verdict.content
    is_live = verdict is not None and name == verdict.live
    return found.live_name or name if is_live else name


def _metric_rows(verdict: Verdict) -> Iterator[MetricRow]:
    overall = [check for check in verdict.checks if check.rule is not Rule.GUARD]
    for metric in verdict.models[verdict.candidates[0]]:
        checks = [check for check in overall if check.metric is metric]
        said = dict.fromkeys(_BOUNDS[check.rule].format(check.bound) for check in checks)
        yield MetricRow(
            metric=metric,
            meaning=MEANINGS[metric],
            bounds=tuple(said),
            cells=tuple(_cell(verdict, name, metric, checks) for name in _names(verdict)),
        )


def _cell(verdict: Verdict, name: str, metric: Metric, checks: Sequence[Check]) -> Cell:
    judged = [check.passed for check in checks if check.model == name and check.judged]
    return Cell(
        value=verdict.models[name].get(metric),
        interval=verdict.intervals.get(name, {}).get(metric),
        passed=all(judged) if judged else None,
    )


def _intervals(found: Evidence, verdict: Verdict, rows: Sequence[MetricRow]) -> Chart | None:
    metric = main_metric(found)
    row = next((row for row in rows if row.metric is metric), None)
    if row is None:
        return None
    estimates = [
        charts.Estimate(_shown(found, name), cell.value, *cell.interval, cell.passed)
        for name, cell in zip(_names(verdict), row.cells, strict=True)
        if cell.value is not None and cell.interval is not None
    ]
    bounds = {
        check.bound
        for check in verdict.checks
        if check.metric is metric and check.rule in (Rule.MIN, Rule.MAX)
    }
    return charts.intervals(str(metric), estimates, sorted(bounds)) if estimates else None


@dataclass(frozen=True)
class CandidateRow:
    """A candidate, or the live model."""

    name: str
    members: tuple[str, ...]
    chosen: bool
    value: float | None
    interval: tuple[float, float] | None
    ahead: Interval | None
    """How much better than the live model."""
    cost: Cost | None
    training_seconds: float | None
    eligible: bool | None
    """None for the live model."""
    reason: str


def candidates(found: Evidence) -> tuple[CandidateRow, ...]:
    """All candidates, the best first, and the live model."""
    selection, verdict = found.selection.content, found.verdict.content
    if selection is None:
        return ()
    metric = selection.metric
    intervals = verdict.intervals if verdict else {}
    costs = verdict.costs if verdict else {}
    rows = [
        CandidateRow(
            name=one.name,
            members=one.members,
            chosen=one.name == selection.winner,
            value=one.value,
            interval=intervals.get(one.name, {}).get(metric),
            ahead=one.better_than_live,
            cost=costs.get(one.name),
            training_seconds=_seconds(found, one.name),
            eligible=one.eligible,
            reason=percents(one.reason),
        )
        for one in selection.candidates
    ]
    if selection.live and verdict and verdict.live:
        live = CandidateRow(
            name=f"live {selection.live}",
            members=(),
            chosen=False,
            value=selection.live_value,
            interval=intervals.get(verdict.live, {}).get(metric),
            ahead=None,
            cost=costs.get(verdict.live),
            training_seconds=None,
            eligible=None,
            reason="",
        )
        rows.append(live)
    return tuple(rows)


def _seconds(found: Evidence, name: str) -> float | None:
    history = found.histories.get(name)
    return history.content.attrs["seconds"] if history and history.content is not None else None


@dataclass(frozen=True)
class Guarded:
    """A slice of one candidate, beside the live model."""

    check: Check
    name: str
    change: float | None
    """Above 0 it is better than the live model."""


@dataclass(frozen=True)
class Slices:
    """How the best candidate does on parts of the rows."""

    model: str
    shown: tuple[Guarded, ...]
    """The worst of those that are guarded."""
    folded: tuple[Guarded, ...]
    """The rest of them."""
    metric: Metric
    names: tuple[str, ...]
    """The models, live last."""
    keys: tuple[str, ...]
    """The same as the slices have them."""
    others: tuple[Slice, ...]
    """All slices, guarded or not."""


def slices(found: Evidence) -> Slices | None:
    """The slices of the best candidate, the worst first."""
    verdict, best = found.verdict.content, found.best
    if verdict is None or best is None:
        return None
    guarded = [
        Guarded(check, ", ".join(f"{c} {v}" for c, v in check.slice.items()), _change(check))
        for check in verdict.checks
        if check.model == best and check.rule is Rule.GUARD and check.slice
    ]
    guarded.sort(key=lambda g: (g.check.passed, not g.check.judged, g.change or 0.0))
    shown = max(_SLICES, sum(not one.check.passed for one in guarded))
    return Slices(
        model=best,
        shown=tuple(guarded[:shown]),
        folded=tuple(guarded[shown:]),
        metric=main_metric(found) or next(iter(verdict.models[best])),
        names=tuple(_shown(found, name) for name in _names(verdict)),
        keys=_names(verdict),
        others=tuple(verdict.slices),
    )


def _change(check: Check) -> float | None:
    if check.value is None or check.live is None:
        return None
    return -how_much_worse(check.metric, check.value, check.live)


@dataclass(frozen=True)
class Curves:
    """Calibration and thresholds of the best candidate and of the live model."""

    charts: tuple[Chart, ...]
    chosen: float
    """The decision threshold that is configured."""
    points: dict[str, ThresholdPoint]
    """What each model does at it."""


def curves(found: Evidence) -> Curves | None:
    """Curves of the best candidate and of the live model."""
    read, verdict, best = found.curves.content, found.verdict.content, found.best
    if read is None or verdict is None or best is None:
        return None
    names = [name for name in (best, verdict.live) if name in read.models]
    if not names:
        return None
    chosen = float(found.run.config.get("evaluate", {}).get("decision_threshold", 0.5))
    shown = {name: _shown(found, name) for name in names}
    drawn = [charts.calibration({shown[name]: read.calibration(name) for name in names})]
    points = {}
    for name in names:
        thresholds = read.thresholds(name, _CURVES)
        points[shown[name]] = min(thresholds, key=lambda point: abs(point.threshold - chosen))
        drawn.append(charts.thresholds(shown[name], thresholds[::10], chosen))
    return Curves(tuple(drawn), chosen, points)
