from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import PROJECT
from tools.docs import QUIET


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | QUIET, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_without_a_warning_and_with_a_home(site: Path) -> None:
    assert "TFX, end to end" in (site / "index.html").read_text()


def test_the_reference_has_every_setting_and_every_command(site: Path) -> None:
    configuration = (site / "reference/configuration.html").read_text()
    assert "[evaluate.cross_validation]" in configuration
    assert "half_life" in configuration
    commands = (site / "reference/commands.html").read_text()
    for command in ("python -m pipeline init", "kubeflow_runner.py compile", "models.train xgb"):
        assert command in commands


def test_a_docstring_is_a_page_of_the_reference(site: Path) -> None:
    assert "predict_columns" in (site / "reference/python.html").read_text()


def test_a_link_to_a_file_of_the_repository_is_no_dead_end(site: Path) -> None:
    page = (site / "cicd.html").read_text()
    assert 'href="../' not in page
    assert "deploy/cloudbuild/nightly.yaml" in page
