"""The scan of images, with a program in trivy's place that says how it was called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import scan

REFERENCE = "reg.example.com/flights@sha256:" + "0" * 64


@pytest.fixture
def trivy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trivy that finds something; what it was given is in the file."""
    given = tmp_path / "given"
    program = tmp_path / "bin" / "trivy"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" > {given}\nexport -p > {given}.env\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(scan, "IMAGE", tmp_path / "image.json")
    return given


def built(*, pushed: bool) -> None:
    scan.IMAGE.write_text(json.dumps({"reference": REFERENCE, "pushed": pushed}))


def test_a_pushed_image_is_scanned_by_its_digest_and_a_finding_fails(trivy: Path) -> None:
    built(pushed=True)
    assert scan.main([]) == 1
    words = trivy.read_text().split()
    assert (words[0], words[-1]) == ("image", REFERENCE)
    assert "--ignore-unfixed --exit-code 1" in " ".join(words)


def test_of_an_image_that_is_on_no_registry_the_lock_is_scanned(trivy: Path) -> None:
    built(pushed=False)
    assert scan.main([]) == 1
    words = trivy.read_text().split()
    assert (words[0], words[-1]) == ("fs", "requirements.lock")


def test_without_an_image_nothing_is_scanned(
    trivy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan.main([]) == 2
    assert "there is no" in capsys.readouterr().err
    assert not trivy.exists()


def test_without_trivy_nothing_passes_unless_a_person_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert scan.main([]) == 2
    assert "Not scanned: there is no trivy" in capsys.readouterr().err
    assert scan.main(["--if-there"]) == 0
    assert "Not scanned: there is no trivy" in capsys.readouterr().out


def test_trivy_is_told_no_secret_of_the_pipelines(
    trivy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ["PIPELINE_STORE_PASSWORD", "PIPELINE_WEBHOOK", "KUBEFLOW_TOKEN", "EXPORT_TOKEN"]
    secrets += ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"]
    for name in [*secrets, "TRIVY_PASSWORD"]:
        monkeypatch.setenv(name, "hush")
    built(pushed=True)
    scan.main([])
    told = trivy.with_suffix(".env").read_text()
    assert not [name for name in secrets if name in told]
    assert "TRIVY_PASSWORD" in told  # What trivy signs in to the registry with.


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ({"deployed": {"image": REFERENCE}}, 0, 1),
        ({"deployed": None}, 0, 2),
        ({}, 2, 2),
    ],
)
def test_what_is_deployed_is_asked_for(
    trivy: Path, monkeypatch: pytest.MonkeyPatch, status: object, code: int, expected: int
) -> None:
    asked: list[list[str]] = []
    real = subprocess.run

    def run(command: list[str], **options: object) -> object:
        if command[0] != sys.executable:
            return real(command, **options)  # type: ignore[call-overload]
        asked.append(command)
        return subprocess.CompletedProcess(command, code, stdout=json.dumps(status))

    monkeypatch.setattr(subprocess, "run", run)
    assert scan.main(["--deployed", "--config", "my.toml"]) == expected
    assert asked[0][1:] == ["-m", "pipeline", "deploy", "status", "--json", "--config", "my.toml"]
    assert trivy.exists() is (expected == 1)


def test_options_of_status_are_for_what_is_deployed_alone(trivy: Path) -> None:
    with pytest.raises(SystemExit):
        scan.main(["--config", "my.toml"])
