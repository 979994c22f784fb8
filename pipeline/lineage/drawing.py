"""Draws boxes and arrows as one SVG element that needs nothing else."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from pipeline.errors import UserError
from pipeline.lineage import layout
from pipeline.lineage.layout import Edge
from pipeline.report import theme

_LONGEST = 180.0
"""The width at which a text is cut off."""
_NAME, _SMALL = 13, 12
_SMALLEST = 10 / _SMALL
"""The scale below which the small text could not be read."""
_PAD, _LINE, _STRIPE, _MARGIN = 8.0, 17.0, 4.0, 10.0
_ACROSS, _DOWN = 28.0, 14.0
_WIDTHS = {0.33: " ijlI.,:;'|!", 0.43: "ftr-()[]/", 1.0: "mwMW@%…✓✗↺●★"}
"""Of characters, in parts of the text's size, as wide fonts have them."""
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RULES = """\
.lineage-picture text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
.lineage-picture .box { fill: var(--picture-panel); stroke: var(--picture-line); }
.lineage-picture .this { stroke: var(--picture-accent); stroke-width: 2.5; }
.lineage-picture .many { stroke: var(--picture-muted); stroke-dasharray: 4 3; }
.lineage-picture .edge { fill: none; stroke: var(--picture-muted); stroke-opacity: 0.7; }
"""


@dataclass(frozen=True, repr=False)
class Picture:
    """Boxes and arrows, light or dark as where they are shown."""

    svg: str
    """One <svg> element, which as a file stands alone too."""
    title: str
    """What is to be seen, in a sentence."""

    def save(self, path: Path | str) -> None:
        """Writes it to a file, as in "run.svg".

        Raises:
          UserError: it cannot be written there.
        """
        path = Path(path)
        fresh = path.with_name(f"{path.name}.new")
        try:
            fresh.write_text(self.svg, encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise UserError(f"{path}: the picture cannot be written: {error.strerror}") from None

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Picture: {self.title}>"


@dataclass(frozen=True)
class Text:
    """A line in a box."""

    words: str
    color: str = "ink"
    bold: bool = False
    size: int = _SMALL


@dataclass(frozen=True)
class Box:
    """What a box says."""

    lines: Sequence[Text]
    whole: str
    """All that there is to say, for who points at it or hears the picture."""
    stripe: str
    """The colour of its left side, by its key in the theme."""
    style: str = ""
    """ "this" for the one that all is about, "many" for one that stands for more than is drawn."""


def headline(words: str) -> Text:
    """A box's first line."""
    return Text(words, bold=True, size=_NAME)


def drawn(title: str, about: str, boxes: Mapping[str, Box], edges: Iterable[Edge]) -> Picture:
    """The picture of a graph from left to right.

    Args:
      title: what is to be seen, in a sentence.
      about: what its boxes and arrows mean.
      boxes: what each box says, by a name for it.
      edges: the arrows, from a box's name to a box's name.
    """
    sizes = {
        name: (
            max(min(_LONGEST, _width(line)) for line in box.lines) + 2 * _PAD + _STRIPE,
            len(box.lines) * _LINE + 2 * _PAD - 4,
        )
        for name, box in boxes.items()
    }
    placed = layout.layered(sizes, edges, across=_ACROSS, down=_DOWN)
    width, height = placed.width + 2 * _MARGIN, placed.height + 2 * _MARGIN
    targets: dict[str, list[str]] = defaultdict(list)
    for a, b in placed.routes:
        targets[a].append(boxes[b].lines[0].words)
    said = (
        f"{box.whole}{' → ' if targets[name] else ''}{', '.join(targets[name])}"
        for name, box in boxes.items()
    )
    words = " ".join((about, "Arrows that others imply are left out.", *(f"{s}." for s in said)))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lineage-picture" role="img" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="max-width: 100%; min-width: {math.floor(width * _SMALLEST)}px; height: auto">',
        f"<title>{_escape(title)}</title><desc>{_escape(words)}</desc>",
        f"<style>{_style()}</style>",
        f'<rect width="100%" height="100%" {_fill("page")}/>',
        f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">',
        *(_arrow(points) for points in placed.routes.values()),
        *(_drawn_box(boxes[name], at) for name, at in placed.boxes.items()),
        "</g></svg>",
    ]
    return Picture("\n".join(parts), title)


def _style() -> str:
    """The page's colours, or our own where it has none."""

    def own(colors: Mapping[str, str]) -> str:
        names = "; ".join(f"--picture-{key}: var(--{key}, {colors[key]})" for key in colors)
        return f".lineage-picture {{ {names} }}"

    dark = f"@media screen and (prefers-color-scheme: dark) {{ {own(theme.DARK)} }}"
    return f"\n{own(theme.LIGHT)}\n{dark}\n{_RULES}"


def _fill(color: str) -> str:
    return f'style="fill: var(--picture-{color})"'


def _arrow(points: Sequence[layout.Point]) -> str:
    """A smooth line that comes level to each layer, and a head where it ends."""
    (x, y), *others = points
    path = f"M{x:.1f} {y:.1f}"
    for i, (to_x, to_y) in enumerate(others):
        if i % 2:  # Through a layer.
            path += f"H{to_x:.1f}"
        else:
            bend = (x + to_x) / 2
            path += f"C{bend:.1f} {y:.1f} {bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    head = f"M{x:.1f} {y:.1f}l-7 -3.5v7z"
    return f'<path class="edge" d="{path}"/><path d="{head}" {_fill("muted")}/>'


def _drawn_box(box: Box, at: layout.Box) -> str:
    lines = "".join(
        f'<text x="{at.left + _STRIPE + _PAD:.1f}" y="{at.top + _PAD + 11 + i * _LINE:.1f}" '
        f'font-size="{line.size}" font-weight="{600 if line.bold else 400}" '
        f"{_fill(line.color)}>{_escape(_short(line))}</text>"
        for i, line in enumerate(box.lines)
    )
    place = f'x="{at.left:.1f}" y="{at.top:.1f}" height="{at.height:.1f}"'
    return (
        f"<g><title>{_escape(box.whole)}</title>"
        f'<rect class="box {box.style}" {place} width="{at.width:.1f}" rx="3"/>'
        f'<rect {place} width="{_STRIPE:.0f}" rx="2" {_fill(box.stripe)}/>{lines}</g>'
    )


def _short(line: Text) -> str:
    """As much of it as there is room for."""
    words = line.words
    while _width(line) > _LONGEST:
        words = words[:-1]
        line = replace(line, words=f"{words}…")
    return line.words


def _width(line: Text) -> float:
    """About how wide it is."""
    shares = sum(_share(character) for character in line.words)
    return shares * line.size * (1.1 if line.bold else 1.0)


def _share(character: str) -> float:
    for share, characters in _WIDTHS.items():
        if character in characters:
            return share
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return 0.72 if character.isupper() else 0.63


def _escape(text: str) -> str:
    return escape(_NO_XML.sub("\ufffd", text))
