"""The charts of the report, which notebooks show too: each is an SVG image, as text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.report.axes import BOUND, draw_curves, height_of, name_rows, say
from pipeline.report.drawing import Chart, drawing
from pipeline.report.theme import LIGHT

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from matplotlib.axes import Axes

    from custom_components.gate_report import Drift
    from pipeline.evaluate_config import Metric

_NUMBER = 0.2
"""The width of a number, as a share of the axis."""
_STATES = {"cached": "line", "failed": "bad", "running": "warn"}


class Estimate(NamedTuple):
    """A value and where it lies with some certainty."""

    name: str
    value: float
    low: float
    high: float
    passed: bool | None = None
    """None where it is not judged, as the live model is not."""

    def words(self, metric: Metric) -> str:
        """Its value and its interval."""
        low, high = metric.words(self.low), metric.words(self.high)
        return f"{metric.words(self.value)} ({low} to {high})"


class Bar(NamedTuple):
    """A node of a run over time, in seconds from the run's begin."""

    name: str
    start: float
    seconds: float
    state: str
    """As `lineage.Node` has it."""


def intervals(metric: Metric, estimates: Sequence[Estimate], bounds: Sequence[float] = ()) -> Chart:
    """A line with a point for each model, and dashes at the values that are the bounds."""
    said = "; ".join(f"{e.name} {e.words(metric)}" for e in estimates)
    looks = {None: ("s6", "D"), True: ("good", "o"), False: ("bad", "X")}
    with drawing("", f"{metric} with its interval: {said}", height=height_of(estimates)) as made:
        axes = made.axes
        for row, estimate in enumerate(estimates):
            key, marker = looks[estimate.passed]
            axes.plot([estimate.low, estimate.high], [row] * 2, color=LIGHT[key], linewidth=2.5)
            axes.plot(estimate.value, row, marker, color=LIGHT[key], markersize=7)
        for bound in bounds:
            axes.axvline(bound, **BOUND)
            say(axes, metric.bound_words(bound), (bound, -0.75), va="baseline")
        name_rows(axes, [estimate.name for estimate in estimates])
        axes.set_ylim(top=-0.9)
        axes.set_xlabel(metric)
    return made.chart


def drift(measure: str, found: Sequence[Drift]) -> Chart:
    """A bar for each column, with a mark at its threshold; the order is kept."""
    said = "; ".join(f"{d.feature} {d.value:.3f} of {d.threshold:g}" for d in found)
    with drawing(measure, f"Drift by {measure}: {said}", height=height_of(found)) as made:
        axes = made.axes
        end = max((max(d.value, d.threshold) for d in found), default=1.0) or 1.0
        for row, one in enumerate(found):
            axes.barh(row, one.value, 0.66, color=LIGHT["bad" if one.is_finding else "s1"])
            axes.plot([one.threshold] * 2, [row - 0.5, row + 0.5], color=LIGHT["ink"])
            # The number is beside the bar; or beside the mark, if that would cross it.
            crosses = one.value <= one.threshold < one.value + end * _NUMBER
            words = f"{one.value:.3f}{' too far' if one.is_finding else ''}"
            place = one.threshold if crosses else one.value
            say(axes, words, (place, row), key="bad" if one.is_finding else "muted")
        name_rows(axes, [one.feature for one in found])
        axes.set_xlim(0, end * (1 + 1.5 * _NUMBER))
    return made.chart


def training(history: pd.DataFrame) -> Chart:
    """The loss after each step, with the number of steps that was chosen.

    Args:
      history: as `Artifact.history` gives it.
    """
    names = {"learned": "all rows", "search_learned": "search", "search_held_out": "held out"}
    losses = {name: history[key].dropna().tolist() for key, name in names.items()}
    framework, step, steps, loss = (
        history.attrs[key] for key in ("framework", "step", "steps", "loss")
    )
    said = "; ".join(f"{n} from {c[0]:,.5g} to {c[-1]:,.5g}" for n, c in losses.items() if c)
    about = f"Training of {framework}: {loss} by {step}; {said}; {steps} chosen"
    with drawing(framework, about) as made:
        axes = made.axes
        curves = {name: list(enumerate(curve, start=1)) for name, curve in losses.items()}
        draw_curves(axes, curves, marker="o" if len(history) == 1 else "")
        axes.axvline(steps, **BOUND)
        axes.set(xlabel=f"{step} ({steps} chosen)", ylabel=loss)
        axes.locator_params(axis="x", integer=True)
    return made.chart


def timeline(bars: Sequence[Bar]) -> Chart:
    """When each node ran; one that was taken from the cache says so, as does one that failed."""
    said = "; ".join(f"{b.name} at {b.start:.1f} s for {b.seconds:.1f} s, {b.state}" for b in bars)
    with drawing("", f"Timeline: {said}", height=height_of(bars)) as made:
        axes = made.axes
        end = max((bar.start + bar.seconds for bar in bars), default=1.0) or 1.0
        for row, bar in enumerate(bars):
            wide = max(bar.seconds, end / 200)
            axes.barh(row, wide, 0.66, bar.start, color=LIGHT[_STATES.get(bar.state, "s1")])
            words = f"{bar.seconds:.1f} s" if bar.state == "complete" else bar.state
            key = "bad" if bar.state == "failed" else "muted"
            say(axes, words, (bar.start + wide, row), key=key)
        name_rows(axes, [bar.name for bar in bars])
        axes.set_xlim(0, end * (1 + _NUMBER))
        axes.set_xlabel("seconds")
    return made.chart


def trend(
    metric: Metric,
    moments: Sequence[datetime],
    curves: Mapping[str, Sequence[float | None]],
    bounds: Sequence[float] = (),
) -> Chart:
    """A metric over the runs, a curve for each name.

    Args:
      metric: which one.
      moments: when each run began, in their order.
      curves: by name, a value for each run; None where it has none.
      bounds: the values that are the least, or the most, allowed.
    """
    said = []
    for name, values in curves.items():
        known = [value for value in values if value is not None]
        ends = f"from {metric.words(known[0])} to {metric.words(known[-1])}" if known else "none"
        said.append(f"{name}: {ends}")
    with drawing("", f"{metric} over {len(moments)} runs: {'; '.join(said)}") as made:
        axes = made.axes
        draw_curves(axes, {name: list(enumerate(c)) for name, c in curves.items()}, marker="o")
        for bound in bounds:
            axes.axhline(bound, **BOUND)
        axes.set(ylabel=metric)
        shown = range(0, len(moments), max(1, len(moments) // 4))
        of_one_day = len({moment.date() for moment in moments}) == 1
        form = "%H:%M" if of_one_day else "%d %b"
        axes.set_xticks(list(shown), [f"{moments[place]:{form}}" for place in shown])
    return made.chart


def live_scores(
    metric: Metric,
    scores: Mapping[int, Estimate],
    challengers: Mapping[int, float],
    pushed: Collection[int],
) -> Chart:
    """A metric of the models that were live, on spans that they had not learned from.

    Args:
      metric: which one.
      scores: by span, with its interval and the live model's name; a line joins those of a model.
      challengers: by span, of the model that was compared with the live one.
      pushed: the spans after which another model went live.
    """
    said = "; ".join(f"{span}: {one.words(metric)}" for span, one in scores.items())
    after = f"; another model went live after {', '.join(map(str, pushed))}" if pushed else ""
    with drawing("", f"Live model's {metric} by span: {said or 'none'}{after}") as made:
        axes = made.axes
        for _, spans in groupby(scores, lambda span: scores[span].name):
            found = {span: scores[span] for span in spans}
            ends = [
                [e.value - e.low for e in found.values()],
                [e.high - e.value for e in found.values()],
            ]
            values = [e.value for e in found.values()]
            axes.errorbar(
                list(found), values, ends, color=LIGHT["s1"], marker="o", markersize=4, elinewidth=1
            )
        if challengers:
            style: dict[str, Any] = {"marker": "D", "markersize": 5, "linestyle": ""}
            of = (list(challengers), list(challengers.values()))
            axes.plot(*of, color=LIGHT["s2"], label="challenger", **style)
        for number, span in enumerate(pushed):
            axes.axvline(span + 0.5, label="another model went live" if not number else "", **BOUND)
        _by_span(axes, {*scores, *pushed})
        axes.set_ylabel(metric)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
    return made.chart


def rows_by_span(rows: Mapping[int, int]) -> Chart:
    """A bar for each span."""
    said = "; ".join(f"{span}: {count:,}" for span, count in rows.items())
    with drawing("", f"Rows by span: {said or 'none'}") as made:
        made.axes.bar(list(rows), list(rows.values()), 0.7, color=LIGHT["s1"])
        _by_span(made.axes, rows)
        made.axes.set_ylabel("rows")
        made.axes.yaxis.set_major_formatter("{x:,.0f}")
    return made.chart


def _by_span(axes: Axes, spans: Collection[int]) -> None:
    """An axis of spans, as wide as they are far apart."""
    axes.set_xlabel("span")
    axes.locator_params(axis="x", integer=True)
    if spans:
        axes.set_xlim(min(spans) - 0.7, max(spans) + 0.7)
