"""The registry before any run, and what its commands import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.registry.versions import Registry
from tests.custom_components.registrations import configure


def test_nothing_is_registered_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is registered yet; run the pipeline first"):
        Registry.open(configure(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom pipeline.__main__ import parser\nparser()\n"
        "print([m for m in ('mlflow', 'tensorflow', 'tfx', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_entry_point_of_the_project_runs(tmp_path: Path) -> None:
    words = ["-e", "evaluate", "--env-manager", "local", "-P", "config=configs/none.toml"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(PROJECT), *words],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"},
        capture_output=True,
        text=True,
    )
    assert "configs/none.toml: no such configuration file" in done.stdout + done.stderr
