"""The page of a pipeline that retrains by itself, as HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from pipeline.continuous_config import DriftRule
from pipeline.evaluate_config import Metric
from pipeline.lineage.decision import RetrainDecision
from pipeline.lineage.observed import Distance
from pipeline.monitoring import replay
from pipeline.monitoring.history import History, Line
from pipeline.report import charts
from pipeline.report.drawing import Chart
from pipeline.report.page import environment, styles
from pipeline.store import decisions

SPANS = 24
"""The newest spans, of which the tables tell; the charts tell of all."""
_TONES = {decisions.RETRAIN: "good", decisions.WAIT: "muted", decisions.REFUSED: "warn"}
_UNENDED = {decisions.RUNNING: "warn", decisions.FAILED: "bad"}


@dataclass(frozen=True)
class Cell:
    """How far a column of a span is, beside what is allowed."""

    distance: Distance
    share: float
    """Of its threshold, at most 1."""


def render(history: History, pages: Mapping[str, str]) -> str:
    """The page; the runs in `pages`, by their ids, are linked to what that says."""
    lines = history.lines
    shown = lines[-SPANS:]
    return (
        environment()
        .get_template("monitoring.html.j2")
        .render(
            styles=styles(),
            history=history,
            lines=shown[::-1],
            left_out=len(lines) - len(shown),
            pages=pages,
            tone=tone,
            coming=replay.coming(history, datetime.now(UTC)),
            scores=[trend(metric, lines) for metric in history.metrics],
            rows=charts.rows_by_span({one.span: one.seen.rows for one in lines if one.seen}),
            drift=_heat(shown, history.config.continuous.drift),
            written=datetime.now(UTC),
        )
    )


def tone(one: RetrainDecision) -> str:
    """How good what came of a decision is, as the style sheet calls it."""
    return _UNENDED.get(one.state) or _TONES.get(one.verdict, "good")


def trend(metric: Metric, lines: list[Line]) -> Chart:
    """How the live model did on each span, its challenger, and when another model went live."""
    scores = {
        line.span: charts.Estimate(line.seen.live_version, score.value, score.low, score.high)
        for line in lines
        if line.seen and (score := line.scores.get(metric))
    }
    challengers = {
        line.span: score.value for line in lines if (score := line.challenger_scores.get(metric))
    }
    versions = [(None, None), *((line.span, line.live_after) for line in lines)]
    pushed = [span for (_, old), (span, new) in pairwise(versions) if new != old and span]
    return charts.live_scores(metric, scores, challengers, pushed)


def _heat(lines: list[Line], rule: DriftRule) -> dict[str, list[Cell | None]]:
    """By column, a cell for each span; the columns first that went farthest."""
    of_each = [{d.column: d for d in line.seen.distances} if line.seen else {} for line in lines]
    farthest: dict[str, float] = {}
    for found in of_each:
        for name, distance in found.items():
            farthest[name] = max(farthest.get(name, 0.0), distance.distance)
    columns = sorted(farthest, key=lambda name: -farthest[name])
    return {name: [_cell(found.get(name), rule) for found in of_each] for name in columns}


def _cell(found: Distance | None, rule: DriftRule) -> Cell | None:
    if found is None:
        return None
    default = rule.max_js_divergence if found.is_numeric else rule.max_l_infinity
    threshold = rule.thresholds.get(found.column, default)
    return Cell(found, min(1.0, found.distance / threshold) if threshold else 1.0)
