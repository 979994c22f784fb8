"""Who ran when: a run's nodes as bars over time, on the terminal and as a picture."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.node import NodeResult

_SHORTEST_SHARE = 0.01
_ROW, _LEFT, _WIDTH, _TOP = 22, 210, 720, 30


@dataclass(frozen=True)
class Bar:
    """One node of a run, or of a backfill that belongs to it. Times are seconds of the run."""

    run: str
    node: str
    state: str
    start: float
    end: float
    cpu: float
    """Seconds of processor time, of all its threads and programs."""
    peak_mb: float
    """The most memory that its process held at once, in MiB."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start

    @classmethod
    def of(cls, run: str, result: NodeResult, *, begin: float) -> Bar:
        """A node's bar; `begin` is when the run began, in seconds since the epoch."""
        start = result.started - begin
        return cls(
            run=run,
            node=result.node_id,
            state=str(result.state),
            start=round(start, 3),
            end=round(start + result.seconds, 3),
            cpu=round(result.cpu_seconds, 3),
            peak_mb=round(result.peak_bytes / 2**20, 1),
        )

    def facts(self) -> dict[str, Any]:
        """Itself as JSON holds it."""
        return asdict(self)


def busy(bars: Sequence[Bar], cores: int) -> float:
    """Which share of the cores' time nodes used, from the first one's start to the last one's end.

    Other work on the machine lowers it; more threads than cores do not raise it above 1.
    """
    wall = max(bar.end for bar in bars) - min(bar.start for bar in bars)
    return min(1.0, sum(bar.cpu for bar in bars) / (wall * cores)) if wall > 0 else 0.0


def table(bars: Sequence[Bar], *, width: int = 48) -> Table:
    """The bars in characters, `width` of them; nodes that take hardly any time share a line."""
    end = max(bar.end for bar in bars)
    shown = [bar for bar in bars if bar.seconds >= end * _SHORTEST_SHARE]
    found = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for bar in sorted(shown, key=lambda bar: bar.start):
        left = round(bar.start / end * width)
        long = max(1, round(bar.seconds / end * width))
        line = Text(" " * left + "█" * long, style="cyan")
        found.add_row(bar.node, line, Text(f"{bar.seconds:.1f} s", justify="right"))
    if rest := len(bars) - len(shown):
        seconds = sum(bar.seconds for bar in bars) - sum(bar.seconds for bar in shown)
        found.add_row(f"{rest} more", "", Text(f"{seconds:.1f} s", justify="right"))
    return found


def picture(bars: Sequence[Bar], title: str) -> str:
    """The bars as an SVG image, which follows the reader's light or dark theme."""
    end = max(bar.end for bar in bars)
    step = _step(end)
    height = _TOP + _ROW * (len(bars) + 1) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 80}" height="{height}" '
        f'viewBox="0 0 {_LEFT + _WIDTH + 80} {height}" role="img">',
        "<style>text{font:12px sans-serif;fill:#222}.bar{fill:#1f77b4}.failed{fill:#d62728}"
        ".cached,.resumed{fill:#9ecae1}line{stroke:#ccc}.page{fill:#fff}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}line{stroke:#444}.page{fill:#1b1b1b}}"
        "</style>",
        f"<title>{html.escape(title)}</title>",
        '<rect class="page" width="100%" height="100%"/>',
        f'<text x="8" y="18">{html.escape(title)}</text>',
    ]
    for tick in range(int(end / step) + 1):
        x = _LEFT + tick * step / end * _WIDTH
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - 24}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 8}">{tick * step:g} s</text>')
    for row, bar in enumerate(sorted(bars, key=lambda bar: bar.start)):
        y = _TOP + row * _ROW
        x, wide = _LEFT + bar.start / end * _WIDTH, max(1.0, bar.seconds / end * _WIDTH)
        tip = f"{bar.run}: {bar.state}, {bar.cpu:.1f} s of processor time, {bar.peak_mb:.0f} MiB"
        parts.append(f"<g><title>{html.escape(tip)}</title>")
        parts.append(f'<text x="8" y="{y + 15}">{html.escape(bar.node)}</text>')
        kind = f"bar {html.escape(bar.state)}"
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y + 3}" width="{wide:.1f}" height="{_ROW - 7}"/>'
        )
        parts.append(f'<text x="{x + wide + 5:.1f}" y="{y + 15}">{bar.seconds:.1f} s</text></g>')
    return "\n".join([*parts, "</svg>", ""])


def _step(end: float) -> float:
    """Seconds between two ticks of an axis: 1, 2 or 5 times a power of ten, some eight of them."""
    rough = max(end, 0.01) / 8
    power: float = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
