"""What the page says of the candidates: metrics, the choice among them, slices, curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from custom_components.evaluator.verdict import Check, Rule, Verdict
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.report import charts
from pipeline.report.drawing import Chart
from pipeline.report.evidence import Evidence
from pipeline.report.figures import percents
from pipeline.report.predicted import certainty, crossed, labels

if TYPE_CHECKING:
    from custom_components.evaluator.verdict import Cost, Errors, Slice
    from custom_components.selection import Interval

MEANINGS = {
    Metric.AUC: "how well it ranks: the chance that a positive row gets a higher probability than "
    "another one. 0.5 is guessing, 1 is perfect",
    Metric.PR_AUC: "the mean precision over all recalls (average precision): guessing has the "
    "share of positive rows, 1 is perfect",
    Metric.LOG_LOSS: "how far its probabilities are from what happened; 0 is perfect, "
    "more is worse",
    Metric.CALIBRATION: "the sum of its probabilities beside the number of positive rows; 1 is "
    "right, above 1 it says too much",
    Metric.ACCURACY: "the share of rows whose class it gets right",
    Metric.PRECISION: "of the rows that it flags at the decision threshold, the positive share",
    Metric.RECALL: "of the positive rows, the share that it flags at the decision threshold",
    Metric.F1: "the harmonic mean of precision and recall; 1 is perfect",
    Metric.MACRO_F1: "the mean over the classes of F1, the harmonic mean of precision and recall: "
    "rare classes count as much as common ones. 1 is perfect",
    Metric.TOP_K_ACCURACY: "the share of rows whose class is among the most probable ones "
    "(evaluate.top_k says how many)",
    Metric.RMSE: "the root of the mean squared error, in the label's unit: large errors count "
    "most. 0 is perfect",
    Metric.MAE: "the mean size of the errors, in the label's unit; 0 is perfect",
    Metric.R2: "the share of the label's variance that it explains: 0 is as good as its mean, 1 is "
    "perfect",
    Metric.BIAS: "the mean of predictions less that of labels, in the label's unit; 0 is right, "
    "above 0 it says too much",
}
_SLICES = 8
_BOUNDS = {
    Rule.MIN: "at least {}",
    Rule.MAX: "at most {}",
    Rule.MAX_REGRESSION: "at most {} worse than the live model",
}


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
    labels: str
    """What the labels of the rows are like."""
    crossed: str
    """How a cross-validation judged them; empty without one."""
    certainty: str
    """How sure the metric that decides is, where there are few rows."""


def metrics(found: Evidence) -> Metrics | None:
    """Each candidate's metrics, against the bounds and beside the live model's."""
    verdict = found.verdict.content
    if verdict is None:
        return None
    rows = tuple(_metric_rows(verdict))
    return Metrics(
        verdict=verdict,
        names=tuple(found.shown(name) for name in _names(verdict)),
        rows=rows,
        chart=_intervals(found, verdict, rows),
        labels=labels(verdict, found.label),
        crossed=crossed(verdict),
        certainty=_certainty(found, verdict),
    )


def _certainty(found: Evidence, verdict: Verdict) -> str:
    metric = main_metric(found)
    if metric is None or found.best is None or verdict.cross_validation is None:
        return ""
    return certainty(verdict, found.best, metric)


def main_metric(found: Evidence) -> Metric | None:
    """The metric by which models are chosen."""
    if found.selection.content:
        return found.selection.content.metric
    asked = found.run.config.get("select", {}).get("metric")
    return Metric(asked) if asked in list(Metric) else None


def _names(verdict: Verdict) -> tuple[str, ...]:
    return (*verdict.candidates, *([verdict.live] if verdict.live else []))


def _metric_rows(verdict: Verdict) -> Iterator[MetricRow]:
    overall = [check for check in verdict.checks if check.rule is not Rule.GUARD]
    for metric in verdict.models[verdict.candidates[0]]:
        checks = [check for check in overall if check.metric is metric]
        said = dict.fromkeys(_BOUNDS[check.rule].format(check.bound_words) for check in checks)
        yield MetricRow(
            metric=metric,
            meaning=MEANINGS[metric],
            bounds=tuple(map(percents, said)),
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
        charts.Estimate(found.shown(name), cell.value, *cell.interval, cell.passed)
        for name, cell in zip(_names(verdict), row.cells, strict=True)
        if cell.value is not None and cell.interval is not None
    ]
    bounds = {
        check.bound
        for check in verdict.checks
        if check.metric is metric and check.rule in (Rule.MIN, Rule.MAX)
    }
    return charts.intervals(row.metric, estimates, sorted(bounds)) if estimates else None


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


def margin(found: Evidence) -> str:
    """By how much a candidate had to be better than the live model, in words."""
    selection = found.selection.content
    return percents(selection.metric.setting_words(selection.margin)) if selection else ""


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

    @property
    def allowed(self) -> float | None:
        """The least change that is allowed; None without a live model's value."""
        live = self.check.live
        return None if live is None else -self.check.metric.allowance(self.check.bound, live)


@dataclass(frozen=True)
class Slices:
    """How the best candidate does on parts of the rows."""

    model: str
    shown: tuple[Guarded, ...]
    """The worst of those that are guarded."""
    folded: tuple[Guarded, ...]
    """The rest of them."""
    metric: Metric
    label: tuple[str, str]
    """What is said of the label in each slice, and the form of that number."""
    names: tuple[str, ...]
    """The models, live last."""
    keys: tuple[str, ...]
    """The same as the slices have them."""
    others: tuple[Slice, ...]
    """All slices, guarded or not."""
    errors: tuple[tuple[str, Errors], ...]
    """Of a regression: how far `model` is off on each, by the slice's name."""


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
        label=_label(verdict, found.label),
        names=tuple(found.shown(name) for name in _names(verdict)),
        keys=_names(verdict),
        others=tuple(verdict.slices),
        errors=tuple((s.name, s.errors[best]) for s in verdict.slices if best in s.errors),
    )


def _label(verdict: Verdict, label: str) -> tuple[str, str]:
    if verdict.problem is Problem.REGRESSION:
        return f"Mean of {label}", "general"
    if verdict.problem is Problem.BINARY:
        return f"{label} {verdict.classes[1]}", "share"
    return "Commonest class", "share"


def _change(check: Check) -> float | None:
    if check.value is None or check.live is None:
        return None
    return check.metric.goodness(check.value) - check.metric.goodness(check.live)
