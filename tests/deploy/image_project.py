"""A small project whose images hold a few files, on no base."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pipeline.deploy import image, trainers

METADATA = "Metadata-Version: 2.4\nName: Toy_Package\nVersion: 1.2\nLicense-Expression: MIT\n"
DPKG = """\
Package: libtoy
Status: install ok installed
Architecture: amd64
Version: 2:1.0-1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""


def git(project: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    command = ["git", "-C", str(project), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(project: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Change")
    return git(project, "rev-parse", "HEAD")


def make(folder: Path) -> Path:
    """The project in a new folder, with one commit."""
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "remote", "add", "origin", "https://bot:hidden@git.example.com/flights.git")
    commit(
        folder,
        {
            image.DOCKERFILE: "ARG BASE=scratch\nFROM ${BASE}\nCOPY models /app/models\n"
            "COPY system /\nARG COMMIT=\nARG CREATED=\nARG SOURCE=\n"
            "LABEL revision=${COMMIT} created=${CREATED} source=${SOURCE}\n",
            trainers.DOCKERFILE: "FROM scratch AS all\n# COPY docs /docs\nARG FRAMEWORK\n"
            "COPY locks/${FRAMEWORK}.lock \\\n   /tmp/\nCOPY models /app/models\n"
            "FROM scratch\nCOPY --from=all /app /app\nARG COMMIT=\nLABEL revision=${COMMIT}\n",
            ".dockerignore": "docs\n",
            "models/a.py": "A = 1\n",
            "docs/index.md": "about\n",
            "locks/xgboost.lock": "xgboost==3\n",
            "locks/sklearn.lock": "scikit-learn==1\n",
            "system/etc/os-release": 'ID=debian\nVERSION_ID="13"\nVERSION="13 (trixie)"\n',
            "system/var/lib/dpkg/status": DPKG,
            "system/opt/venv/lib/python3.12/site-packages/toy-1.2.dist-info/METADATA": METADATA,
        },
    )
    return folder
