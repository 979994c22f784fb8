"""What images are built from: the files of the commit at HEAD, or the working tree as it is."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import PROJECT
from pipeline.deploy.repository import CHANGED, Repository, short
from pipeline.errors import UserError

_SHOWN = 10
"""Changed files that a refusal names."""


@dataclass(frozen=True)
class Source:
    """The files of an image, and where they come from."""

    folder: Path
    commit: str
    """With + behind it if files differ from those of the commit."""
    time: datetime
    """When the commit was made: the same commit gives the same image."""
    origin: str
    """The address of the repository, without a name or password; empty if there is none."""

    @property
    def changed(self) -> bool:
        """Whether files differ from those of the commit."""
        return self.commit.endswith(CHANGED)

    @property
    def tag(self) -> str:
        """The commit; of changed files, which nobody can name, a tag that is never used again."""
        commit = self.commit.removesuffix(CHANGED)
        return f"{commit}-dirty-{datetime.now(UTC):%Y%m%d%H%M%S}" if self.changed else commit

    @property
    def arguments(self) -> dict[str, str]:
        """The build arguments that say where an image comes from."""
        return {
            "COMMIT": self.commit,
            "CREATED": f"{self.time:%Y-%m-%dT%H:%M:%SZ}",
            "SOURCE": self.origin or "unknown",
        }


@contextmanager
def source(*, allow_dirty: bool = False, project: Path = PROJECT) -> Iterator[Source]:
    """The files of the commit at HEAD, in a temporary folder: no file that git does not know.

    With `allow_dirty`, of a tree with changed files, the tree itself.

    Raises:
      UserError: files were changed since the commit, or this is no git repository.
    """
    commit = Repository(project).head()
    seconds = int(_git(project, "show", "--no-patch", "--format=%ct", "HEAD"))
    time, origin = datetime.fromtimestamp(seconds, UTC), _origin(project)
    if not commit.endswith(CHANGED):
        with tempfile.TemporaryDirectory(prefix="image-") as folder:
            _unpack(project, Path(folder))
            yield Source(Path(folder), commit, time, origin)
    elif allow_dirty:
        yield Source(project, commit, time, origin)
    else:
        changes = _git(project, "status", "--short", "--untracked-files=no").splitlines()
        more = [f"and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
        raise UserError(
            f"files differ from those of commit {short(commit.removesuffix(CHANGED))}:\n"
            + "".join(f"  {line}\n" for line in changes[:_SHOWN] + more)
            + "Commit them; or build what is here, for a try, with --allow-dirty."
        )


def _unpack(project: Path, folder: Path) -> None:
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        _git(project, "archive", f"--output={archive.name}", "HEAD")
        with tarfile.open(archive.name) as files:
            files.extractall(folder, filter="data")


def _origin(project: Path) -> str:
    """As git knows it; a CI's checkout may have put a token in front of the host."""
    try:
        return re.sub(r"//[^/@]*@", "//", _git(project, "remote", "get-url", "origin"))
    except UserError:
        return ""


def _git(project: Path, *arguments: str) -> str:
    command = ["git", "-C", str(project), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise UserError(f"git could not say what {project} holds: {done.stderr.strip()}")
    return done.stdout.rstrip()
