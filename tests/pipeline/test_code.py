"""The digest of a node's code: what changes it, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import code


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose models.fit imports models.arrays, and whose models.other stands alone."""
    files = {
        "models/__init__.py": "",
        "models/fit.py": "from models.arrays import read\nPROBE = 'models.probe'\n",
        "models/arrays.py": "import models.deep\n",
        "models/deep.py": "x = 1\n",
        "models/probe.py": "y = 1\n",
        "models/other.py": "z = 1\n",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(code, "PROJECT", tmp_path)
    code._imports.cache_clear()
    code._names.cache_clear()
    return tmp_path


@pytest.mark.parametrize("name", ["fit", "arrays", "deep", "probe", "__init__"])
def test_an_edit_of_what_the_node_runs_changes_the_digest(project: Path, name: str) -> None:
    before = code.digest(["models.fit.run_fn"])
    (project / f"models/{name}.py").open("a").write("# edited\n")
    code._imports.cache_clear()
    code._names.cache_clear()
    assert code.digest(["models.fit.run_fn"]) != before


def test_an_edit_elsewhere_leaves_the_digest(project: Path) -> None:
    before = code.digest(["models.fit.run_fn"])
    (project / "models/other.py").write_text("z = 2\n")
    assert code.digest(["models.fit.run_fn"]) == before


def test_a_file_that_a_parameter_names_counts_by_what_it_holds(project: Path) -> None:
    schema = project / "schema.pbtxt"
    schema.write_text("feature {}")
    before = code.digest([str(schema)])
    schema.write_text("feature { }")
    assert code.digest([str(schema)]) != before


def test_names_of_no_module_are_only_text(project: Path) -> None:
    assert code.digest(["models.nowhere.f", "no models here"]) != code.digest(["models.nowhere"])
