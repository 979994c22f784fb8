import json
from pathlib import Path

from benchmarks import report, report_predict, results
from tests.benchmarks import figures


def measured() -> results.Results:
    return {name: results.section(getattr(figures, name)()) for name in results.SECTIONS}


def test_sections_that_are_not_measured_anew_are_kept(tmp_path: Path) -> None:
    before = measured()
    before["taxi"]["date"] = "2001-02-03"
    results.save(before, tmp_path)

    now = results.load(tmp_path / "results.json")
    now["ingest"] = results.section(figures.ingest(rows_per_second=99_999))
    results.save(now, tmp_path)

    text = (tmp_path / "RESULTS.md").read_text()
    assert "99,999" in text
    assert "40,000" not in text
    assert "Measured on 2001-02-03 by `python -m benchmarks.taxi`" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## {title}" for title, _ in results.SECTIONS.values()
    ]
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["growth"]["figures"] == figures.growth()


def test_the_first_section_needs_no_file_of_before(tmp_path: Path) -> None:
    assert results.load(tmp_path / "results.json") == {}
    results.save({"startup": measured()["startup"]}, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "## Start-up" in text
    assert "## Growth" not in text


def test_sections_of_two_machines_say_which_is_which() -> None:
    two = measured()
    assert results.render(two).count("- Machine:") == 1
    two["growth"]["machine"] = "another one"
    text = results.render(two)
    assert "- Machine (Growth): another one" in text
    others = [title for name, (title, _) in results.SECTIONS.items() if name != "growth"]
    assert f"- Machine ({', '.join(others)}): " in text


def test_taxi_ratios_are_ours_by_theirs() -> None:
    rows = cells(report.taxi(figures.taxi()))
    assert rows["first run, to a pushed model"][-3:] == ["0.50", "0.70", "-"]
    assert rows["nothing changed, cache on"][-3:] == ["0.50", "0.50", "0.10"]
    assert rows["CsvExampleGen / ExampleGen"] == ["5.00", "0.30"]
    assert rows["DataGate"] == ["-", "0.10"]


def test_growth_gives_the_ratios_or_says_that_a_size_failed() -> None:
    text = report.growth(figures.growth())
    assert "time of 1,500,000 rows to 15,000: 10.00 (target: 30 at most)" in text
    assert "peak memory of 5,000,000 rows to 150,000: unknown: a size failed" in text
    assert "5,000,000 rows failed: ExampleGen failed" in text
    assert cells(text)["Trainer.keras"][0] == "9.0 s, - MB"


def test_batch_inference_tells_rows_a_second_and_how_far_the_target_is() -> None:
    text = report_predict.predict(figures.predict())
    assert cells(text)["xgboost"] == ["4.00", "250,000", "8.00", "900"]
    assert "250,000 rows/s (target: 200,000 at least)" in text


def test_startup_shows_the_command_that_failed() -> None:
    rows = cells(report.startup(figures.startup()))
    assert rows["`local_runner.py --help`"][-1] == "0.02"
    assert rows["`python -m pipeline lineage`"][0] == "failed"


def cells(markdown: str) -> dict[str, list[str]]:
    """The rows of all tables, by their first cell."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in split}
