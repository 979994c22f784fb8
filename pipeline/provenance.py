"""Where what is being made comes from: the run, the code, and what a person noted about it."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Iterable

from pydantic import Field

from pipeline.config import PROJECT
from pipeline.sections import Section

COMMIT_VARIABLE = "PIPELINE_COMMIT"
"""The commit of the code that runs, with + behind it if files were changed since; an image, which
has no repository, sets it."""
NOTE_VARIABLE = "PIPELINE_NOTE"
"""A person's words about the run."""

_LIBRARIES = (
    "keras",
    "numpy",
    "scikit-learn",
    "tensorflow",
    "tensorflow-transform",
    "tfx",
    "torch",
    "xgboost",
    "xgboost-cpu",
)


class Provenance(Section):
    """Where a model comes from."""

    pipeline: str | None = None
    """The pipeline's name."""
    run: str | None = None
    """The run's id; None outside a pipeline."""
    node: str | None = None
    """The id of the node that made it."""
    execution: int | None = None
    """The id of its execution in the metadata store."""
    spans: tuple[int, ...] = ()
    """The spans that it was trained on."""
    commit: str | None = None
    """The commit of the code; None where that is not known."""
    clean: bool | None = None
    """Whether the code was as in that commit."""
    note: str = ""
    """A person's words about the run."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries that decide what it says."""


def of_node(
    *,
    pipeline: str | None = None,
    run: str | None = None,
    node: str | None = None,
    execution: int | None = None,
    spans: Iterable[int] = (),
) -> Provenance:
    """The provenance of what a node makes now, with the code, the note and the versions here."""
    commit, clean = commit_and_clean()
    return Provenance(
        pipeline=pipeline,
        run=run,
        node=node,
        execution=execution,
        spans=tuple(sorted(spans)),
        commit=commit,
        clean=clean,
        note=os.environ.get(NOTE_VARIABLE, ""),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """The versions of the installed libraries that decide what a model says."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def share(*, note: str) -> None:
    """Tells the processes that are started from here of the code and the note."""
    os.environ[NOTE_VARIABLE] = note
    commit_and_clean()


def commit_and_clean() -> tuple[str | None, bool | None]:
    """The commit of the code, and whether the files are as in it; None where nobody knows.

    Asks git once, and leaves the answer in the environment.
    """
    known = os.environ.get(COMMIT_VARIABLE)
    if known is None:
        known = os.environ[COMMIT_VARIABLE] = _ask_git()
    return (known.removesuffix("+"), not known.endswith("+")) if known else (None, None)


def _ask_git() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")
