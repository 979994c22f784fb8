"""Turns Matplotlib's figures into SVG that follows a page's colours and fonts."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report import theme

WIDTH, HEIGHT = 4.2, 2.8
"""Inches of a chart; they fill a telephone's width, where its words are to be read, too."""
_LARGEST = 1.5
"""CSS pixels for each of its points, where there is room."""
_FONT = "system-ui, sans-serif"
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": theme.LIGHT["line"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": theme.LIGHT["muted"],
    "axes.labelsize": 9,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": theme.LIGHT["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.color": theme.LIGHT["line"],
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": theme.LIGHT["ink"],
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "text.color": theme.LIGHT["ink"],
    "xtick.color": theme.LIGHT["muted"],
    "xtick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.color": theme.LIGHT["muted"],
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
}
_KEYS = {color: key for key, color in theme.LIGHT.items()}


class Chart(str):
    """An SVG image as text, which a page and a notebook show as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """Itself: what is in it is escaped."""
        return str(self)

    def _repr_svg_(self) -> str:
        """With its colours, as no page defines them there."""
        head, mark, rest = self.partition(">")
        return f"{head}{mark}<style>{theme.style('.chart')}</style>{rest}"


class Drawing:
    """A figure with one pair of axes, and what it becomes."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.axes: Axes = figure.subplots()
        self.chart = Chart()
        """The image, once it is drawn."""


@contextmanager
def drawing(title: str, about: str, *, height: float = HEIGHT) -> Iterator[Drawing]:
    """Draws on what it gives, which has its `chart` when it ends.

    Args:
      title: what the chart says above itself; may be empty.
      about: the same and what there is to see, for those who cannot.
      height: inches.
    """
    with matplotlib.rc_context(_STYLE):
        made = Drawing(Figure(figsize=(WIDTH, height), layout="constrained"))
        yield made
        if title:
            # Above all of the chart, names at its left included: there it has the whole width.
            made.figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        text = io.StringIO()
        none: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        made.figure.savefig(text, format="svg", metadata=none)
        made.chart = _chart(text.getvalue(), about)


def _chart(svg: str, about: str) -> Chart:
    """What Matplotlib wrote, fit to stand in a page beside others."""
    _, head, body = re.split(r"(<svg.*?>)", svg, maxsplit=1, flags=re.DOTALL)
    for foreign in (
        "<style.*?</style>",  # a rule for every element, of the page as well
        "<metadata.*?</metadata>",
        "<!--.*?-->",
        r"<defs>\s*</defs>",
    ):
        body = re.sub(foreign, "", body, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", body))
    own = hashlib.sha256(f"{about}{body}".encode()).hexdigest()[:8]

    def renamed(match: re.Match[str]) -> str:
        return f' id="{own}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r' id="([^"]+)"', renamed, body)
    body = re.sub(r"(url\(|href=\")#", rf"\g<1>#{own}-", body)
    body = re.sub(r"(font: [^;\"]*?[\d.]+px) [^;\"]+", rf"\1 {_FONT}", body)
    body = re.sub(r"#[0-9a-f]{6}\b", _named, body)
    width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)[0])
    return Chart(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'class="chart" viewBox="0 0 {width:g} {height:g}" width="{width * _LARGEST:.0f}" '
        f'height="{height * _LARGEST:.0f}" role="img" aria-label="{escape(about)}" '
        f'style="max-width: 100%; height: auto; stroke-linejoin: round">{body}'
    )


def _named(match: re.Match[str]) -> str:
    key = _KEYS.get(match[0])
    return theme.color(key) if key else match[0]
