import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.environment import ROOT


def run(folder: Path, programs: dict[str, str], **environment: str) -> tuple[str, str]:
    """What `tools/python.sh -m x` prints where PATH has just these programs."""
    for name, script in programs.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    result = subprocess.run(
        [shutil.which("sh") or "sh", "tools/python.sh", "-m", "x"],
        cwd=ROOT,
        env={"PATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode == 0) == (result.stderr == "")
    return result.stdout, result.stderr


FITS = 'case "$1" in -c) echo fits ;; *) echo "${0##*/} $*" ;; esac'
SHIM = "echo no such version >&2; exit 127"


def test_the_first_python_that_fits_is_taken_past_shims_that_fail(tmp_path: Path) -> None:
    programs = {"python3": "echo Python 3.10", "python3.13": SHIM, "python3.12": FITS}
    assert run(tmp_path, {**programs, "python3.11": FITS})[0] == "python3.12 -EsB -m x\n"
    assert run(tmp_path, {"python3": FITS})[0] == "python3 -EsB -m x\n"


def test_the_python_that_is_named_is_the_only_one_tried(tmp_path: Path) -> None:
    named = tmp_path / "a folder"
    named.mkdir()
    programs = {"python3": FITS, "a folder/python": FITS}
    assert run(tmp_path, programs, PYTHON=str(named / "python"))[0] == "python -EsB -m x\n"
    assert "/nowhere/python cannot be run" in run(tmp_path, programs, PYTHON="/nowhere/python")[1]


@pytest.mark.parametrize(
    ("programs", "told"),
    [
        ({}, "Python cannot be run"),
        ({"python3": SHIM}, "Python cannot be run"),
        ({"python3": "echo Python 3.8"}, "Python 3.8 is here, and 3.11, 3.12 or 3.13 is needed"),
        ({"python3": "echo no venv for Python 3.12"}, "python3.12-venv"),
        (
            {"python3": "echo Python 3.14", "python3.13": "echo no venv for Python 3.13"},
            "3.13-venv",
        ),
    ],
)
def test_what_is_missing_is_told_in_one_line(
    tmp_path: Path, programs: dict[str, str], told: str
) -> None:
    message = run(tmp_path, programs)[1]
    assert told in message
    assert message.count("\n") == 1


def test_a_python_that_is_real_fits() -> None:
    result = subprocess.run(
        ["sh", "tools/python.sh", "-c", "import sys; print(*sys.version_info[:2])"],
        cwd=ROOT,
        env={**os.environ, "PYTHON": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() in (["3", "11"], ["3", "12"], ["3", "13"])
