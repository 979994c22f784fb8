"""Bars over time."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from rich.console import Console

from pipeline import timeline
from pipeline.node import NodeResult, State
from pipeline.timeline import Bar


def bar(node: str, start: float, end: float, *, cpu: float = 0.0, state: str = "complete") -> Bar:
    return Bar("run", node, state, start, end, cpu, 100.0)


BARS = [bar("A", 2, 6, cpu=4), bar("B<C>", 6, 10, cpu=6), bar("D", 10, 10.01, state="cached")]


def test_a_bar_is_told_in_seconds_of_the_run():
    result = NodeResult(
        "A", State.COMPLETE, 1.5, started=1000.25, cpu_seconds=2.0, peak_bytes=3 * 2**20
    )
    assert Bar.of("run", result, begin=1000) == Bar("run", "A", "complete", 0.25, 1.75, 2.0, 3.0)


def test_cores_are_busy_between_the_first_start_and_the_last_end():
    assert timeline.busy(BARS, 2) == pytest.approx(10 / (8.01 * 2))
    assert timeline.busy([bar("A", 0, 1, cpu=9)], 2) == 1
    assert timeline.busy([bar("A", 1, 1)], 2) == 0


def test_the_table_draws_long_nodes_and_counts_short_ones():
    console = Console(width=100, record=True)
    console.print(timeline.table(BARS, width=10))
    lines = console.export_text().splitlines()
    assert lines[0].split() == ["A", "████", "4.0", "s"]
    assert lines[0].index("█") + 4 == lines[1].index("█")
    assert lines[2].split() == ["1", "more", "0.0", "s"]


def test_the_picture_is_svg_with_every_node():
    root = ElementTree.fromstring(timeline.picture(BARS, "flights & co"))
    names = {"svg": "http://www.w3.org/2000/svg"}
    words = [text.text for text in root.iterfind(".//svg:text", names)]
    assert {"A", "B<C>", "D", "flights & co", "4.0 s"} <= set(words)
    kinds = [rect.get("class") for rect in root.iterfind(".//svg:g/svg:rect", names)]
    assert kinds == ["bar complete", "bar complete", "bar cached"]
