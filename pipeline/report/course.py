"""What the page says of the run's course: trainings, and which node ran when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.lineage import Node, Run
from pipeline.report import charts
from pipeline.report.drawing import Chart
from pipeline.report.evidence import Evidence

_RESOLVER = ".Resolver"
"""A node that looks artifacts up anew, which takes no time."""


@dataclass(frozen=True)
class Training:
    """How one model was trained."""

    name: str
    step: str
    steps: int
    seconds: float
    begun: str
    """From which model it went on, or why it began anew; empty without a warm start."""
    chart: Chart


def trainings(found: Evidence) -> tuple[Training, ...]:
    """Each framework's training whose history can be read."""
    return tuple(
        Training(
            name,
            step=history.attrs["step"],
            steps=history.attrs["steps"],
            seconds=history.attrs["seconds"],
            begun=history.attrs["begun"],
            chart=charts.training(history),
        )
        for name, reading in sorted(found.histories.items())
        if (history := reading.content) is not None
    )


@dataclass(frozen=True)
class Course:
    """Which node ran when."""

    nodes: tuple[Node, ...]
    seconds: float | None
    without_backfills: bool
    """Whether there are backfills that the seconds leave out."""
    slowest: Node | None
    cached: int
    """How many nodes took their outputs from the cache."""
    chart: Chart


def course(run: Run) -> Course | None:
    """The run's nodes over time, and its backfills; None where the store knows no node."""
    bars = list(_bars(run))
    if not bars:
        return None
    begin = min(bar.start for bar in bars)
    shifted = [bar._replace(start=bar.start - begin) for bar in sorted(bars, key=lambda b: b.start)]
    nodes = run.nodes or tuple(node for one in run.backfills for node in one.nodes)
    done = [node for node in nodes if node.seconds is not None]
    return Course(
        nodes=nodes,
        seconds=run.seconds,
        without_backfills=bool(run.backfills and run.tries),
        slowest=max(done, key=lambda node: node.seconds or 0.0, default=None),
        cached=sum(node.cached for node in nodes),
        chart=charts.timeline(shifted),
    )


def _bars(run: Run) -> Iterator[charts.Bar]:
    """A bar for each node, and one for each backfill that went well."""
    for backfill in run.backfills:
        if backfill.state == "complete":
            begun = min(node.begun for node in backfill.nodes).timestamp()
            ended = max(node.changed for node in backfill.nodes).timestamp()
            cached = all(node.cached or node.type.endswith(_RESOLVER) for node in backfill.nodes)
            state = "cached" if cached else "complete"
            yield charts.Bar(f"span {backfill.span}, before", begun, ended - begun, state)
        else:
            yield from (_bar(node, f" (span {backfill.span})") for node in backfill.nodes)
    yield from (_bar(node) for node in run.nodes)


def _bar(node: Node, more: str = "") -> charts.Bar:
    seconds = (node.changed - node.begun).total_seconds()
    return charts.Bar(f"{node.name}{more}", node.begun.timestamp(), seconds, node.state)
