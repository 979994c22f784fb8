"""What is told of a year of retraining; that a year can be played is tested on a few rows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import report_year, year
from pipeline.config import PROJECT
from tests.benchmarks import figures
from tests.benchmarks.test_results import cells


def kept(**changes: Any) -> list[bool]:
    return [promise.kept for promise in report_year.promises(figures.year(**changes))]


def test_the_promises_are_of_loss_trainings_and_pushes() -> None:
    assert kept() == [True, True, True]
    assert kept(policy=0.5051) == [False, True, True]
    assert kept(trainings=3) == [True, False, True]
    assert kept(candidate=0.69) == [True, True, False]


def test_the_summary_has_a_row_for_each_rule_with_its_cost() -> None:
    rows = cells(report_year.summary(figures.year()))
    assert rows["frozen"] == ["0.5200", "0.7000", "10.0%", "1", "0.5", "-"]
    assert rows["each month"] == ["0.5000", "0.7000", "10.0%", "5", "2.5", "4 of 4"]


def test_the_months_show_who_trained_and_the_policys_trainings_what_they_brought() -> None:
    text = report_year.year(figures.year())
    assert "0.5000 ↑" in text
    assert cells(text)["after April"] == [
        "0.7000 → 0.7100",
        "0.5100 → 0.5000",
        "goes live",
        "0.5100 → 0.5200",
    ]


def test_the_picture_is_drawn_and_says_in_words_what_it_shows() -> None:
    drawn = ElementTree.fromstring(report_year.picture(figures.year())._repr_svg_())
    assert "the policy: mean log loss 0.5050 for 2 trainings" in drawn.attrib["aria-label"]


def test_what_is_told_replaces_what_was_told_before_and_nothing_else() -> None:
    page = f"before\n{year._BEGIN}old\n{year._END}after\n"
    once = year.told(page, "new")
    assert once == f"before\n{year._BEGIN}\nnew\n\n{year._END}after\n"
    assert year.told(once, "new") == once
    with pytest.raises(ValueError, match="no <!-- year"):
        year.told("a page", "new")


def test_the_policy_that_ships_keeps_its_promises_in_the_year_that_is_told() -> None:
    measured = json.loads(year.FILE.read_text())["figures"]
    assert [str(p) for p in report_year.promises(measured) if not p.kept] == []
    for page, words in year.PAGES.items():
        assert year.told(page.read_text(), words(measured)) == page.read_text()
    assert year.PICTURE.read_text() == report_year.picture(measured)._repr_svg_() + "\n"


@pytest.mark.e2e
def test_a_year_can_be_played(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.year", "--quick", "--folder", tmp_path / "year"]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    months = cells(done.stdout)
    assert months["April"][0].endswith(" ↑")  # the fixed rule trains each month
    assert months["each month, on the last month"][-1].endswith(" of 1")
    assert months["the policy as shipped"][3] in ("1", "2", "3")
