"""The command that asks the live model about a row, or about files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models.bundle import Bundle
from pipeline.__main__ import main
from pipeline.config import PROJECT
from pipeline.features_config import Problem
from tests.models import tiny
from tests.models.spoken import spoken

CSV = "id,carrier,temp\n007,AA,0.5\n008,UA,-2.0\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    tiny.save_model(root / "serving" / "7")
    tiny.save_model(root / "serving" / "10", bias=1.0)
    return root


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text(CSV)
    return file


def predict(root: Path, *words: str | Path) -> int:
    return main(["predict", "--set", f"root={json.dumps(str(root))}", *map(str, words)])


def test_a_program_reads_the_rows_and_their_predictions_from_its_output(
    root: Path, file: Path
) -> None:
    command = [sys.executable, "-m", "pipeline", "predict", str(file)]
    command += ["--set", f"root={json.dumps(str(root))}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    header, *rows = (line.split(",") for line in done.stdout.splitlines())
    assert header == ["id", "carrier", "temp", "probability", "model_version"]
    assert [row[:3] for row in rows] == [["007", "AA", "0.5"], ["008", "UA", "-2.0"]]
    assert [float(row[3]) for row in rows] == pytest.approx(tiny.expected(bias=1.0)[:2])
    assert {row[4] for row in rows} == {"10"}


def test_files_go_into_one_and_another_version_may_be_asked(
    root: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "said.parquet"
    assert predict(root, file, file, "--output", output, "--version", "7") == 0
    said = pq.read_table(output)
    assert said["id"].to_pylist() == ["007", "008"] * 2
    assert said["probability"].to_pylist() == pytest.approx(tiny.expected()[:2] * 2)
    assert capsys.readouterr() == ("", f"{output}: 4 rows, predicted by version 7\n")


def test_a_value_that_does_not_fit_ends_it_with_the_row_and_without_a_file(
    root: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(CSV.replace("-2.0", "cold"))
    assert predict(root, file, "--output", tmp_path / "said.csv") == 2
    assert "row 3, column 'temp': 'cold', expected a number" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_a_row_is_asked_by_itself(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(root, "--row", json.dumps(tiny.RAW[0])) == 0
    assert capsys.readouterr().out == f"late: {tiny.expected(1.0)[0]:.4f}  (model version 10)\n"


@pytest.mark.parametrize(
    ("problem", "classes", "said"),
    [
        (Problem.BINARY, ("no", "yes"), "species: yes 0.2500"),
        (Problem.REGRESSION, (), "species: 3"),
        (
            Problem.MULTICLASS,
            ("a", "b", "c"),
            "species: b, b 1.0000, c 0.0000, a 0.0000",
        ),
    ],
)
def test_what_is_said_of_a_row_is_told_by_its_problem(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problem: Problem,
    classes: tuple[str, ...],
    said: str,
) -> None:
    bundle = spoken(problem, classes=classes)
    monkeypatch.setattr(Bundle, "load", classmethod(lambda cls, folder: bundle))
    assert predict(root, "--row", '{"mass": 3, "island": "x", "year": 1}') == 0
    assert capsys.readouterr().out == f"{said}  (model version 10)\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected files of raw rows, or one row"),
        (["rows.csv", "--row", "{}"], "expected files of raw rows, or one row"),
        (["--row", "{"], "--row: not valid JSON"),
        (["--row", "[]"], "--row: expected one JSON object"),
        (["nowhere.csv"], "nowhere.csv: there is no such file"),
        (["nowhere.csv", "--output", "said.json"], "said.json: its name tells no format"),
        (["nowhere.csv", "--version", "8"], "there is no version 8; there is: 10, 7"),
    ],
)
def test_what_cannot_be_asked_is_said_in_words(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert predict(root, *words) == 2
    assert told in capsys.readouterr().err


def test_before_the_first_run_there_is_nobody_to_ask(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(tmp_path, file) == 2
    assert "no model has been pushed there yet" in capsys.readouterr().err
