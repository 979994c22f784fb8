"""The check of Terraform's files, with programs in its place that say how they were called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import terraform


def program(folder: Path, name: str, text: str) -> None:
    """A program of that name in a folder, which writes its words to a file and does `text`."""
    file = folder / name
    file.write_text(f'#!/bin/sh\necho "$*" >> {folder}/{name}.given\n{text}\n')
    file.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder in which programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(terraform, "TOOLS", tmp_path / "none")
    return tmp_path


def test_what_is_not_here_is_said_and_is_no_finding(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert terraform.main() == 0
    told = capsys.readouterr().out
    assert "no terraform on the PATH" in told
    assert "uv is not here" in told


def test_checkov_that_cannot_be_installed_is_no_finding(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(folder, "uv", "exit 2")
    assert terraform.main() == 0
    assert "cannot install checkov" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [("terraform", "exit 3"), ("uv", 'case "$*" in *--directory*) exit 1;; esac')],
)
def test_a_finding_of_either_fails(folder: Path, name: str, text: str) -> None:
    program(folder, name, text)
    assert terraform.main() == 1


def test_both_look_at_all_files_and_checkov_at_a_version_of_its_own(folder: Path) -> None:
    program(folder, "terraform", "")
    program(folder, "uv", "")
    assert terraform.main() == 0
    assert "fmt -check -recursive" in (folder / "terraform.given").read_text()
    _, scanned = (folder / "uv.given").read_text().splitlines()
    assert "checkov==" in scanned and "--directory deploy/terraform" in scanned
