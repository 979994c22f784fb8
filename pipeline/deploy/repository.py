"""What git knows: which commit this is, which of two is the newer, and who is at work."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from pipeline.config import PROJECT
from pipeline.errors import UserError

CHANGED = "+"
"""Stands behind a commit whose files were changed since."""
_SECONDS = 120
_SHORT = 9
_IDENTITY = re.compile(r"(?P<name>.*?) ?<(?P<address>.*)> \d+ [+-]\d+")


class Order(Enum):
    """What a commit is to another one."""

    SAME = "same"
    NEWER = "newer"
    OLDER = "older"
    APART = "apart"
    """Neither is an ancestor of the other."""


class NoHistoryError(UserError):
    """The history that two commits have in common is not in this clone, nor to be had."""


class Repository:
    """The git repository of the project, or of another folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Takes a folder of it; asks nothing yet."""
        self._folder = folder or PROJECT

    def head(self) -> str:
        """The commit that is checked out, with + behind it if files were changed since.

        Raises:
          UserError: there is none.
        """
        done = self._git("rev-parse", "--verify", "HEAD")
        changed = self._git("status", "--porcelain", "--untracked-files=no")
        if done.returncode or changed.returncode:
            said = _last_line(done.stderr or changed.stderr)
            raise UserError(
                f"{self._folder}: git knows no commit here ({said}), and a deployment is named by "
                "its commit: work in a clone, with git installed"
            )
        return done.stdout.strip() + (CHANGED if changed.stdout.strip() else "")

    def order(self, commit: str, other: str) -> Order:
        """What `commit` is to `other`; what is not in this clone yet is fetched.

        Raises:
          UserError: it cannot be told; a `NoHistoryError` if the remote gave nothing.
        """
        commit, other = commit.removesuffix(CHANGED), other.removesuffix(CHANGED)
        found = self._order(commit, other)
        # A commit that was pushed later than this clone was made, or one that it was cut off from.
        if found is None or (found is Order.APART and self._is_shallow()):
            said = self._fetch()
            found = self._order(commit, other)
            if found is None or (found is Order.APART and self._is_shallow()):
                raise (NoHistoryError if said else UserError)(
                    f"which of {short(commit)} and {short(other)} is the newer commit cannot be "
                    f"told: this clone does not have their whole history{said}; `git fetch "
                    "--unshallow origin` gets it, and --force deploys all the same"
                )
        return found

    def _order(self, commit: str, other: str) -> Order | None:
        if commit == other:
            return Order.SAME
        for one, two, order in ((other, commit, Order.NEWER), (commit, other, Order.OLDER)):
            code = self._git("merge-base", "--is-ancestor", one, two).returncode
            if code == 0:
                return order
            if code != 1:  # It does not know one of them.
                return None
        return Order.APART

    def _is_shallow(self) -> bool:
        return self._git("rev-parse", "--is-shallow-repository").stdout.strip() == "true"

    def _fetch(self) -> str:
        """Gets the rest of the history; what git complained of, in brackets."""
        whole = ["--unshallow"] if self._is_shallow() else []
        done = self._git("fetch", "--quiet", *whole, "origin")
        return f" ({_last_line(done.stderr)})" if done.returncode else ""

    def committed(self, commit: str) -> str:
        """When a commit was made, as ISO 8601 in UTC; empty where git does not know it."""
        found = self._git("rev-list", "--max-count=1", "--timestamp", commit.removesuffix(CHANGED))
        if found.returncode:
            return ""
        return datetime.fromtimestamp(int(found.stdout.split()[0]), UTC).isoformat()

    def person(self) -> str:
        """The name of whoever is at work here; the e-mail address only where git knows no name."""
        identity = _IDENTITY.match(self._git("var", "GIT_COMMITTER_IDENT").stdout)
        if identity is None:
            return getpass.getuser()
        return identity["name"] or identity["address"]

    def _git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(self._folder), *arguments]
        # It asks nobody for a password: there may be nobody.
        silent = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": ""}
        environment = os.environ | silent | {"LC_ALL": "C"}
        try:
            return subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                env=environment,
            )
        except FileNotFoundError:
            raise UserError(
                "git is not installed, and a deployment is named by its commit"
            ) from None
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 128, "", f"no answer in {_SECONDS} s")


def order_in_time(committed: str, other: str) -> Order | None:
    """The order of two commits by the times at which they were made; None if it tells nothing.

    Args:
      committed: as `Repository.committed` has it.
      other: as well.
    """
    if not committed or not other or committed == other:
        return None
    return Order.NEWER if committed > other else Order.OLDER


def who(repository: Repository) -> str:
    """Who deploys: the one whom CI names, with its run, or the person at work here."""
    known = os.environ.get
    if actor := known("GITHUB_ACTOR"):
        return f"{actor} (GitHub run {known('GITHUB_RUN_ID', '?')})"
    if login := known("GITLAB_USER_LOGIN"):
        return f"{login} (GitLab job {known('CI_JOB_ID', '?')})"
    if build := known("BUILD_ID"):
        trigger = known("TRIGGER_NAME")
        return f"Cloud Build {build}" + (f" (trigger {trigger})" if trigger else "")
    return repository.person()


def short(commit: str) -> str:
    """A commit as people read it, with + behind it if it has one."""
    return commit[:_SHORT] + (CHANGED if commit.endswith(CHANGED) else "")


def label(commit: str) -> str:
    """A commit as a part of a version's name."""
    return commit[:_SHORT] + ("-dirty" if commit.endswith(CHANGED) else "")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
