"""How the lineage's tables look, in a terminal, in a file and in a notebook."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.console import Console

from pipeline.lineage import html
from pipeline.lineage_tables import fit, pairs, show, table

BEGUN = datetime(2013, 1, 2, tzinfo=UTC)
ROW = {"run": "r" * 30, "begun": BEGUN, "note": "word " * 40}


@pytest.mark.parametrize("width", [100, 54, 40, 20])
def test_a_narrow_terminal_cuts_nothing(width: int) -> None:
    made = table([ROW])
    fit(made, width)
    console = Console(width=width)
    with console.capture() as told:
        console.print(made)
    assert "…" not in told.get()
    letters = "".join(told.get().split())
    assert (letters.count("r") - 2, letters.count("word") + (width < 40)) >= (30, 40)
    assert (html.moment(BEGUN) in told.get()) == (width == 100)
    assert ("r" * 30 in told.get()) == (width >= 54)


def test_a_file_has_whole_lines_without_blanks_behind(capsys: pytest.CaptureFixture[str]) -> None:
    show("First", "", pairs({"a": "short", "b": "x" * 300}), table([ROW, ROW | {"note": ""}]))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert (lines[:2], len(lines)) == (["First", ""], 7)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.712345, "0.7123"),
        (1020.4, "1020"),
        (9_999.9, "10,000"),
        (-61_234.5, "-61,234"),
        (1e30, "1e+30"),
        (float("inf"), "inf"),
    ],
)
def test_a_large_number_is_told_whole(
    value: float, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(pairs({"x": value}))
    assert capsys.readouterr().out == f"x  {words}\n"
    assert f"<td>{words}</td>" in html.table([{"x": value}])


def test_a_notebook_keeps_the_lines_of_a_text() -> None:
    assert "<td>a &lt;b&gt;<br>c</td>" in html.table([{"x": "a <b>\nc"}])
