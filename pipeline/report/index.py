"""The page of all runs: what each one came to, and how the models' main metric went."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.lineage import Artifact, Run, Store
from pipeline.report.decision import Decision, decision
from pipeline.report.evidence import Evidence
from pipeline.report.page import environment, styles
from pipeline.report.pages import PAGE_FILE

if TYPE_CHECKING:
    from pipeline.evaluate_config import Metric
    from pipeline.report.drawing import Chart


@dataclass(frozen=True)
class Line:
    """What the table says of a run."""

    run: Run
    decision: Decision
    champion: str | None
    """The model that it chose; None where it chose none."""
    metric: Metric | None
    """By which it chose; None where it did not come to that, or nobody knows any more."""
    best: str | None
    """The candidate that it chose, or else the best one."""
    value: float | None
    """The metric of that."""
    live_value: float | None
    """The metric of the model that was live then, on the same rows."""


def render(store: Store, pages: Collection[str]) -> str:
    """The page of all runs of a store; those in `pages`, by their ids, are linked to theirs."""
    runs = store.runs()
    store.read_ahead(runs)
    lines = [line_of(run) for run in runs]
    metric = next((line.metric for line in lines if line.metric), None)
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            styles=styles(),
            pipeline=runs[0].pipeline if runs else "",
            lines=lines,
            pages=frozenset(pages),
            page_file=PAGE_FILE,
            live=_live(store),
            monitored=bool(store.decisions()),
            metric=metric,
            trend=_trend(lines, metric) if metric else None,
            bounds=_bounds(lines, metric) if metric else {},
        )
    )


def line_of(run: Run) -> Line:
    """What the table says of a run."""
    found = Evidence(run)
    selection = found.selection.content
    model = found.champion
    champion = str(model.properties.get("framework", "a model")) if model else None
    if selection is None:
        return Line(run, decision(found), champion, None, None, None, None)
    values = {candidate.name: candidate.value for candidate in selection.candidates}
    best = found.best
    value = values.get(best) if best else None
    return Line(run, decision(found), champion, selection.metric, best, value, selection.live_value)


def _live(store: Store) -> Artifact | None:
    try:
        return store.live_model()
    except UserError:
        return None


def _trend(lines: Sequence[Line], metric: Metric) -> Chart | None:
    """The metric over the runs that chose by it, oldest first; None where only one did."""
    from pipeline.report import charts

    told = [line for line in reversed(lines) if line.metric == metric]
    if len(told) < 2:
        return None
    curves = {
        "the run's best": [line.value for line in told],
        "the live model then": [line.live_value for line in told],
    }
    moments = [line.run.begun for line in told]
    return charts.trend(metric, moments, curves, list(_bounds(lines, metric).values()))


def _bounds(lines: Sequence[Line], metric: str) -> dict[str, float]:
    """What the newest run that is in the table allowed: "at least" and "at most"."""
    newest = next(line.run for line in lines if line.metric == metric)
    threshold: dict[str, Any] = (
        newest.config.get("evaluate", {}).get("thresholds", {}).get(metric, {})
    )
    named = {"at least": threshold.get("min"), "at most": threshold.get("max")}
    return {words: bound for words, bound in named.items() if bound is not None}
