import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import project
from benchmarks.measure import CommandFailed


def node(name: str, start: float, end: float, cpu: float | None) -> project.Node:
    return {"run": "r", "node": name, "state": "complete", "start": start, "end": end, "cpu": cpu}


def write_run(root: Path, run_id: str, facts: dict[str, object]) -> None:
    folder = root / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(facts))


def test_the_nodes_are_those_of_the_newest_run_by_their_start(tmp_path: Path) -> None:
    write_run(tmp_path, "20260101-000000", {"nodes": [node("Old", 0, 1, 1)]})
    newest = [node("B", 3.0, 5.0, 1.0), node("A", 1.0, 3.5, 4.0)]
    write_run(tmp_path, "20260101-000001", {"finished": True, "nodes": newest})
    found = project.nodes(tmp_path)
    assert project.node_seconds(found) == {"A": 2.5, "B": 2.0}
    assert project.utilisation(found, cores=2) == pytest.approx(5.0 / 8.0, abs=0.01)


def test_a_run_that_tells_nothing_of_its_nodes_has_no_utilisation(tmp_path: Path) -> None:
    write_run(tmp_path, "20260101-000000", {"finished": True})
    assert project.nodes(tmp_path) == []
    assert project.utilisation([], cores=2) is None
    assert project.utilisation([node("A", 0, 1, None)], cores=2) is None


def test_the_copy_holds_new_files_and_edits_and_nothing_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "output").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    (tree / ".gitignore").write_text("/output/\n")
    (tree / "gone.py").write_text("")
    (tree / "kept.py").write_text("1")
    subprocess.run(["git", "add", "."], cwd=tree, check=True)
    (tree / "gone.py").unlink()
    (tree / "kept.py").write_text("2")
    (tree / "new").mkdir()
    (tree / "new" / "file.py").write_text("3")
    (tree / "output" / "made").write_text("")
    monkeypatch.setattr(project, "PROJECT", tree)

    copied = project.copy(tmp_path / "copy")
    files = {str(f.relative_to(copied)): f.read_text() for f in copied.rglob("*") if f.is_file()}
    assert files == {".gitignore": "/output/\n", "kept.py": "2", "new/file.py": "3"}


def test_the_newest_verdict_and_the_pushed_models_are_read(tmp_path: Path) -> None:
    for number, accuracy in ((9, 0.7), (10, 0.8)):
        folder = tmp_path / "Evaluator" / "evaluation" / str(number)
        folder.mkdir(parents=True)
        models = {"keras": {"accuracy": accuracy}, "live": {"accuracy": 0.1}}
        (folder / "verdict.json").write_text(
            json.dumps({"candidates": ["keras"], "models": models})
        )
    (tmp_path / "serving" / "1795").mkdir(parents=True)
    (tmp_path / "serving" / ".lock").mkdir()
    assert project.accuracy(tmp_path) == 0.8
    assert project.pushed(tmp_path) == 1


def test_a_failure_is_told_in_one_line_without_the_place_of_the_project() -> None:
    log = f"x\nended with code 1\n\nTrainer failed: no {project.PROJECT}/a\nGo on:\n  --resume"
    assert project.reason(CommandFailed(log)) == "Trainer failed: no a"
    assert project.reason(CommandFailed("x\ninvalid choice: 'y'")) == "invalid choice: 'y'"
