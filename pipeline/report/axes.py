"""What the charts of the report have in common: curves, rows of bars, words beside a place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.report.theme import LIGHT, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW = 0.24
"""Inches of a line in a chart of bars."""
_LINES = ("-", "--", "-.", ":")
"""Curves differ in these as well as in colour."""
BOUND: dict[str, Any] = {"color": LIGHT["ink"], "linewidth": 1, "linestyle": (0, (4, 3))}
"""How a line looks that marks a value."""

Curve = Iterable[tuple[float, float | None]]
"""Points; those without a value are left out."""


def draw_curves(axes: Axes, curves: Mapping[str, Curve], marker: str = "") -> None:
    """Draws each curve in a colour and with a line of its own, and what it is called."""
    looks = zip(SERIES, _LINES * 2, strict=False)
    for (name, curve), (key, line) in zip(curves.items(), looks, strict=False):
        found = [(x, y) for x, y in curve if y is not None]
        if found:
            style: dict[str, Any] = {"marker": marker, "markersize": 4, "label": name}
            axes.plot(*zip(*found, strict=True), line, color=LIGHT[key], **style)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def say(
    axes: Axes, words: str, place: tuple[float, float], *, key: str = "ink", va: str = "center"
) -> None:
    """Writes words beside a place of the chart."""
    style: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": va}
    axes.annotate(words, place, color=LIGHT[key], **style)


def height_of(rows: Sequence[object]) -> float:
    """Inches of a chart with a line for each row."""
    return 0.6 + _ROW * max(2, len(rows))


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names each line of a chart of bars, the first at the top."""
    axes.set_yticks(range(len(names)), list(names), color=LIGHT["ink"])
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
