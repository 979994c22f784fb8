"""How single components and the training are shown, of made-up figures."""

from __future__ import annotations

from benchmarks import report
from tests.benchmarks import figures
from tests.benchmarks.test_results import cells


def lines(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("- ")]


def test_components_show_how_many_times_as_fast_they_are() -> None:
    text = report.components(figures.components())
    rows = cells(text)
    assert rows["Transform"] == ["15,000", "20.0", "4.00", "5.0", "10.0", "4.00", "2.5"]
    assert rows["Evaluator"] == ["15,000", "12.0", "1.00", "12.0", "6.00", "1.00", "6.0"]
    assert "after an untimed run each on 2,000 rows" in text
    assert "each figure is the least of 2" in text


def test_components_that_have_a_target_are_held_to_it_at_every_size() -> None:
    assert lines(report.components(figures.components())) == [
        "- StatisticsGen, 15,000 rows: 10.0 times as fast as TFX's (target: at least 5 times)",
        "- StatisticsGen, 150,000 rows: 7.5 times as fast as TFX's (target: at least 5 times)",
        "- Evaluator, 15,000 rows: 12.0 times as fast as TFX's (target: at least 2 times)",
    ]


def test_components_say_which_tests_hold_the_results_to_be_equal() -> None:
    tests = "tests/custom_components/test_{statistics_gen,transform,evaluator}.py"
    assert tests in report.components(figures.components())


def test_a_cache_is_compared_by_the_analysis_and_by_the_whole_node() -> None:
    rows = cells(report.analyzer_cache(figures.analyzer_cache()))
    assert rows["3 months"] == ["4.00", "2.00", "0.50", "8.00", "6.00", "0.75"]


def test_training_is_compared_by_steps_a_second_however_many_steps_were_measured() -> None:
    text = report.training(figures.training())
    assert "- steps a second: 4.0 times the template's (target: at least 3 times)" in lines(text)
    steps, feeding = (
        {
            name: row
            for name, row in cells(part).items()
            if name in ("TFX's template", "this project")
        }
        for part in text.split("Is it the rows")
    )
    assert steps["TFX's template"] == ["1,000", "4.00", "250"]
    assert steps["this project"] == ["1,004", "1.00", "1,000"]
    assert feeding["TFX's template"] == ["1.00", "4.00", "25%"]
    assert feeding["this project"] == ["0.10", "1.00", "10%"]
