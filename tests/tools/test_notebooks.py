"""The notebooks as they are committed, and how they are cleared and rendered."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import notebooks
from tools.environment import ROOT
from tools.notebooks import NOTEBOOKS, RENDERED, clear, main, render

FILES = notebooks.files()
LINES = 8
"""Of a cell: what takes more belongs into the package."""
CHART = (
    '<svg class="chart" viewBox="0 0 300 200" aria-label="AUC [of all] rose" '
    'style="width: 100%; max-width: 450px"><path/></svg>'
)

of_each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def cells(file: Path) -> list[str]:
    """The code of a notebook."""
    found = nbformat.read(file, as_version=4).cells
    return [cell.source for cell in found if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    assert [file.stem for file in FILES] == [
        *("01_data", "02_lineage", "03_models", "04_continuous_training")
    ]


@of_each
def test_a_notebook_is_committed_without_outputs(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path))
    clear(copy)
    assert copy.read_bytes() == file.read_bytes(), f"{sys.executable} -m tools.notebooks --clear"


@of_each
def test_a_notebook_has_no_logic_of_its_own(file: Path) -> None:
    for cell in cells(file):
        assert len(cell.strip().splitlines()) <= LINES, cell
        kinds = {type(node) for node in ast.walk(ast.parse(cell))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.While, ast.Try, ast.If}, cell


@of_each
def test_a_notebook_begins_with_what_it_answers_and_whose_runs_it_shows(file: Path) -> None:
    first, second, *_ = nbformat.read(file, as_version=4).cells
    assert first.cell_type == "markdown" and "?" in first.source
    assert second.metadata["tags"] == [notebooks.PARAMETERS]
    assert second.source.startswith('CONFIG, SET = "configs/flights.toml", []')


@of_each
def test_the_rendered_page_is_of_the_notebook_as_it_is(file: Path) -> None:
    page = (RENDERED / f"{file.stem}.md").read_text()
    shown = [cell.strip() for cell in re.findall(r"^```python\n(.*?)^```$", page, re.S | re.M)]
    assert shown == [cell.strip() for cell in cells(file)], "make notebook ARGS=--render"


@of_each
def test_the_rendered_page_shows_each_picture_and_no_place_of_a_machine(file: Path) -> None:
    page = (RENDERED / f"{file.stem}.md").read_text()
    shown = re.findall(rf"!\[[^\]]+\]\((images/{file.stem}_[\w.]+)\)", page)
    assert shown == re.findall(r"!\[.*?\]\((.*?)\)", page)
    there = {f"images/{path.name}" for path in (RENDERED / "images").glob(f"{file.stem}_*")}
    assert shown and set(shown) == there
    text = page + "".join(
        path.read_text() for path in (RENDERED / "images").glob(f"{file.stem}_*.svg")
    )
    assert not re.search(r"(?<![\w.])/(tmp|home|root|Users|work|builds?)/", text)
    assert "<style" not in page and "Traceback" not in page


def test_the_rendered_pages_are_small() -> None:
    assert sum(path.stat().st_size for path in RENDERED.rglob("*") if path.is_file()) < 1_000_000


@pytest.fixture
def executed() -> Any:
    """A notebook with one output of each kind."""
    frame = (
        "<div><style scoped>\n.x {}\n\n</style>\n<table border=\"1\" class='dataframe'>"
        '<tr style="text-align: right;">\n<th></th>\n<th>mean</th></tr>\n'
        f"<tr><th>feature</th>\n<th></th></tr>\n\n<tr><th>temp</th><td>{ROOT}/data</td></tr>"
        "</table></div>"
    )
    code = new_code_cell(
        'CONFIG, SET = "x", []', execution_count=3, metadata={"tags": ["parameters"]}
    )
    code.metadata["execution"] = {"started": "now"}
    code.outputs = [
        new_output("stream", name="stderr", text="I0000 oneDNN\n"),
        new_output("stream", name="stdout", text="/somewhere/else/runs/7\n"),
        new_output("display_data", {"text/html": frame, "text/plain": "mean"}),
        new_output("display_data", {"image/svg+xml": CHART, "text/html": "x", "text/plain": "y"}),
    ]
    return new_notebook(cells=[new_markdown_cell("# What?"), code], metadata={"widgets": {}})


def test_clear_leaves_the_code_and_its_tags(executed: Any, tmp_path: Path) -> None:
    file = tmp_path / "one.ipynb"
    nbformat.write(executed, file)
    assert main(["--clear", str(file)]) == 0
    words, code = nbformat.read(file, as_version=4).cells
    assert (words.source, code.source) == ("# What?", 'CONFIG, SET = "x", []')
    assert (code.outputs, code.execution_count, code.metadata) == (
        [],
        None,
        {"tags": ["parameters"]},
    )
    assert "widgets" not in json.loads(file.read_text())["metadata"]
    before = file.stat().st_mtime_ns
    clear(file)
    assert file.stat().st_mtime_ns == before


def test_a_page_is_fit_for_github(
    executed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nbconvert", reason="make setup EXTRAS=notebook")
    file = tmp_path / "one.ipynb"
    nbformat.write(executed, file)
    monkeypatch.setattr(notebooks, "execute", lambda *_: executed)
    monkeypatch.setattr(notebooks, "RENDERED", tmp_path / "docs")
    (tmp_path / "docs/images").mkdir(parents=True)
    (tmp_path / "docs/images/one_9_9.svg").write_text("of a cell that is gone")
    page = render(file, "configs/flights.toml", ["root=/somewhere/else"]).read_text()
    assert "oneDNN" not in page
    assert "output/flights/runs/7" in page
    assert "<table><tr><th>feature</th>\n<th>mean</th></tr>" in page
    assert "<td>data</td>" in page
    assert not re.search(
        "style|class=|border=|\n\n<", page.partition("<div>")[2].partition("</div>")[0]
    )
    assert "![AUC (of all) rose](images/one_1_2.svg)" in page
    (picture,) = (tmp_path / "docs/images").iterdir()
    assert ' width="450" height="300">' in picture.read_text()


def test_a_configuration_that_is_not_there_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("nbconvert", reason="make setup EXTRAS=notebook")
    assert main(["--render", "--config", "configs/none.toml"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("notebooks: ") and "none.toml" in told and told.count("\n") == 1


def test_jupyterlab_starts_on_the_notebooks_with_the_packages_in_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    main(["--no-browser", "--port", "9999"])
    ((_, command, environment),) = started
    assert command[1:4] == ["-m", "jupyterlab", f"--notebook-dir={NOTEBOOKS}"]
    assert command[4:] == ["--no-browser", "--port", "9999"]
    code = "from pipeline import lineage; from models.importance import importance"
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=NOTEBOOKS, env=environment, check=False
    )
    assert there.returncode == 0
