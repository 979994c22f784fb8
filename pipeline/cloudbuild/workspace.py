"""The checkout in which a build's steps run, and what Cloud Build would know of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError

# A git hook's, a Makefile's, an environment's: they speak of the checkout of this process.
_OF_HERE = re.compile(r"GIT_.*|MAKE.*|MFLAGS|PYTHONHOME|PYTHONPATH|VIRTUAL_ENV")


def environment() -> dict[str, str]:
    """This process's environment, without what would be wrong in another checkout."""
    return {name: value for name, value in os.environ.items() if not _OF_HERE.fullmatch(name)}


@contextmanager
def clone(project: Path) -> Iterator[Path]:
    """A clone of the project's last commit, in a temporary folder, removed at the end.

    Raises:
      UserError: the project is no git repository with a commit.
    """
    commit = _git(project, "rev-parse", "--verify", "HEAD")
    folder = Path(tempfile.mkdtemp(prefix="cloudbuild-"))
    try:
        workspace = folder / "workspace"
        _git(project, "clone", "--quiet", "--no-checkout", str(project), str(workspace))
        _git(workspace, "checkout", "--quiet", "--detach", commit)
        yield workspace
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def known(workspace: Path, build_id: str) -> dict[str, str]:
    """The built-in substitutions of a build of what is checked out there.

    Raises:
      UserError: the folder is no git checkout with a commit.
    """
    commit = _git(workspace, "rev-parse", "--verify", "HEAD")
    branch = _git(workspace, "branch", "--show-current")
    return {
        "PROJECT_ID": "local",
        "LOCATION": "local",
        "BUILD_ID": build_id,
        "COMMIT_SHA": commit,
        "REVISION_ID": commit,
        "SHORT_SHA": commit[:7],
        "BRANCH_NAME": branch,
        "REF_NAME": branch,
    }


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment()
        )
    except FileNotFoundError:
        raise UserError("git is not there, and the steps run in a checkout.") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(command)}: {error.stderr.strip()}") from None
    return done.stdout.strip()
