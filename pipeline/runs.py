"""The runs of a pipeline on this machine: a folder each, with the definition and the logs."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline.errors import UserError

LOCK_VARIABLE = "PIPELINE_ROOT_LOCK"
"""The environment variable that names the descriptor of a root's lock that was handed on."""


@dataclass(frozen=True)
class Run:
    """One run: `id` names it in the metadata store, `folder` holds its files."""

    id: str
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return bool(json.loads((self.folder / "run.json").read_text())["finished"])

    def write(self, *, finished: bool, **facts: object) -> None:
        """Notes down whether the run is at its end, and `facts` about it."""
        fresh = self.folder / "run.json.new"
        fresh.write_text(json.dumps({"finished": finished, **facts}, indent=2, default=str))
        fresh.replace(self.folder / "run.json")

    @property
    def summary_file(self) -> Path:
        """What it came to, as it was shown."""
        return self.folder / "summary.txt"

    @property
    def timeline_file(self) -> Path:
        """The picture of who ran when."""
        return self.folder / "timeline.svg"

    def discard(self) -> None:
        """Removes a run of which nothing has run."""
        shutil.rmtree(self.folder)

    def log_file(self, run_id: str, node_id: str) -> Path:
        """Where `node_id` of this run, or of a backfill that belongs to it, writes its log."""
        below = run_id.removeprefix(self.id).strip("-")
        file = self.folder / "logs" / below / f"{node_id}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


def new(root: Path) -> Run:
    """A run that begins now."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(1, 1000):
        run_id = stamp if attempt == 1 else f"{stamp}.{attempt}"
        folder = root / "runs" / run_id
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            run = Run(run_id, folder)
            run.write(finished=False)
            return run
    raise RuntimeError(f"1,000 runs began within the second {stamp}")


def newest_first(root: Path) -> list[Run]:
    """Every run below `root`."""
    files = sorted((root / "runs").glob("*/run.json"), reverse=True)
    return [Run(file.parent.name, file.parent) for file in files]


def unfinished(root: Path) -> Run:
    """The newest run, which did not come to its end.

    Raises:
      UserError: there is none, or the newest run did.
    """
    runs = newest_first(root)
    if not runs:
        raise UserError(f"there is no run in {root} to resume; start one without --resume")
    if runs[0].finished:
        raise UserError(
            f"the newest run, {runs[0].id}, is finished: there is nothing to resume; start a new "
            "one without --resume: what did not change is taken from the cache"
        )
    return runs[0]


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[TextIO]:
    """Holds `root` for this process, since two runs at once would compete for one live model.

    A process that holds it hands it to one that it starts by the descriptor of the lock that this
    gives, named in LOCK_VARIABLE.

    Raises:
      UserError: another process holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    given = os.environ.pop(LOCK_VARIABLE, None)
    with os.fdopen(int(given), "a") if given else (root / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another run is at work in {root}; wait for its end, or give this one a root of "
                "its own: --set root=output/other"
            ) from None
        yield lock
