"""`python -m pipeline cloudbuild`: check and run, on a small repository of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline import config
from pipeline.__main__ import main

BUILD = {
    "steps": [
        {"name": "python:3.12", "id": "a", "args": ["sh", "-c", "cat file; echo $COMMIT_SHA $_A"]},
        {
            "name": "python:3.12",
            "id": "b",
            "script": "touch made; exit ${CODE}",
            "env": ["CODE=$_B"],
        },
    ],
    "substitutions": {"_A": "one", "_B": "0"},
}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A Person", "-c", "user.email=person@example.com")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit and a build, in which the commands work."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "file").write_text("committed\n")
    (folder / "build.yaml").write_text(yaml.safe_dump(BUILD))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "one")
    monkeypatch.setattr(config, "PROJECT", folder)
    monkeypatch.chdir(folder)
    return folder


def test_a_build_runs_in_a_clone_of_the_last_commit_which_goes_again(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (project / "file").write_text("changed since\n")
    assert main(["cloudbuild", "run", "build.yaml"]) == 0
    said = capsys.readouterr().out
    assert 'Step #0 - "a": committed\n' in said
    assert f'Step #0 - "a": {git(project, "rev-parse", "HEAD")} one\n' in said
    assert [line.split()[3:5] for line in said.splitlines() if "succeeded  " in line] == [
        ['"a"', "succeeded"],
        ['"b"', "succeeded"],
    ]
    assert not (project / "made").exists()
    assert not list(tmp_path.glob("cloudbuild-*"))
    logs = sorted(log.name for log in project.glob("build/cloudbuild/*/*.log"))
    assert logs == ["00-a.log", "01-b.log"]


def test_a_build_runs_from_a_git_hook(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert main(["cloudbuild", "run", "build.yaml"]) == 0


def test_a_failed_step_is_1_and_told_in_the_table(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = "_B=3,COMMIT_SHA=0123456789"
    assert main(["cloudbuild", "run", "build.yaml", "--substitutions", given]) == 1
    said = capsys.readouterr().out
    assert 'Step #0 - "a": 0123456789 one\n' in said
    assert "ended with exit code 3" in said
    assert 'failed: Step #1 - "b" ended with exit code 3' in said


def test_a_workspace_that_is_named_stays(project: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "mine"
    git(project, "clone", "--quiet", str(project), str(workspace))
    assert main(["cloudbuild", "run", "build.yaml", "--workspace", str(workspace)]) == 0
    assert (workspace / "made").exists()


def test_a_step_and_an_image_can_be_passed_over(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cloudbuild", "run", "build.yaml", "--skip", "a", "--map", "python=skip"]) == 0
    said = capsys.readouterr().out
    assert 'Step #0 - "a": skipped: as asked' in said
    assert 'Step #1 - "b": skipped: --map python=skip' in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--substitutions", "_C=1"], "build.yaml: has no substitution _C"),
        (["--map", "python"], "expected IMAGE=COMMAND-PREFIX"),
        (["--skip", "c"], "there is no step c"),
        (["--workspace", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_command_is_2_and_runs_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["cloudbuild", "run", "build.yaml", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (project / "build").exists()


def test_all_files_are_checked_and_each_mistake_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "bad.yaml").write_text("steps: []")
    (project / "worse.yaml").write_text("stepz: []")
    assert main(["cloudbuild", "check", "bad.yaml", "build.yaml", "worse.yaml"]) == 2
    said = capsys.readouterr()
    assert "build.yaml: 2 steps, nothing wrong" in said.out
    assert "bad.yaml: has no steps." in said.err
    assert "worse.yaml: is not what Cloud Build takes: Message type" in said.err
