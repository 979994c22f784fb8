"""Trains a model for one trial: in this process, or in a process beside it."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipeline import progress
from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.train_config import TrainConfig

if TYPE_CHECKING:
    from models.dataset import Rows
    from models.history import Curve

Report = Callable[[int, float], None]
"""Takes a step, from 1, and the loss of the rows held out after it; raises to end the training."""

WORKER = "models.tuning.worker"
_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)
_GRACE_SECONDS = 5.0


class Search(Protocol):
    """What a model file offers: one training on part of the rows, stopped by the rest."""

    def __call__(
        self, rows: Rows, sizes: Sequence[int], settings: TrainConfig, *, report: Report
    ) -> Curve:
        """The losses of each step."""


class Stopped(Exception):
    """The trial is given up."""


class Trainer(Protocol):
    """One training after another."""

    def __call__(self, settings: TrainConfig, report: Report) -> float:
        """The lowest loss of the rows held out; `report` may raise `Stopped`, which passes on."""

    def close(self) -> None:
        """Ends a training that is under way elsewhere, and all that belongs to it."""


@dataclass(frozen=True)
class Here:
    """Trains in this process."""

    search: Search
    rows: Rows
    sizes: Sequence[int]

    def __call__(self, settings: TrainConfig, report: Report) -> float:
        """See `Trainer`."""
        with progress.silenced():  # Steps of a trial are not trials.
            curve = self.search(self.rows, self.sizes, settings, report=report)
        return min(curve.held_out, default=float("nan"))

    def close(self) -> None:
        """Nothing is under way elsewhere."""


class Beside:
    """Trains in a process of its own: `worker` says in which words the two speak."""

    def __init__(self, search: str, folder: Path, sizes: Sequence[int], *, threads: int) -> None:
        """The rows lie in `folder`, as `save` has written them."""
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        limits = dict.fromkeys(_THREAD_LIMITS, str(threads))
        # Not a fork: TensorFlow has been at work in this process.
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._send({"search": search, "rows": str(folder), "sizes": [*sizes]})

    def __call__(self, settings: TrainConfig, report: Report) -> float:
        """See `Trainer`.

        Raises:
            UserError: If the training does, or the process dies.
        """
        self._send({"settings": settings.model_dump(mode="json")})
        while True:
            match self._receive():
                case {"step": step, "loss": loss}:
                    self._answer(report, step, loss)
                case {"lowest": lowest}:
                    return float(lowest)
                case {"error": message}:
                    raise UserError(message)

    def _answer(self, report: Report, step: int, loss: float) -> None:
        try:
            report(step, loss)
        except Stopped:
            self._send({"stop": True})
            self._receive()  # "stopped"
            raise
        self._send({"stop": False})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
        except (BrokenPipeError, ValueError):
            raise self._death() from None

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        received: dict[str, Any] = json.loads(line)
        return received

    def _death(self) -> Exception:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return UserError(
                "the process of a trial was killed; the machine may be short of memory: set "
                "tune.jobs lower, and run again: the trials that are done are kept"
            )
        return RuntimeError(f"the process of a trial ended with code {code}; see above")

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.terminate()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # What was still to be sent to it.
                if pipe is not None:
                    pipe.close()


@contextmanager
def trainers(count: int, search: str, rows: Rows, sizes: Sequence[int]) -> Iterator[list[Trainer]]:
    """As many as trainings are to be made at once; they are gone at the end.

    Args:
        count: How many. One trains in this process, more of them in a process each.
        search: The dotted name of a `Search`.
        rows: The train split.
        sizes: How many values each categorical column may take.
    """
    if count == 1:
        yield [Here(function(search), rows, sizes)]
        return
    threads = max(1, (os.cpu_count() or 1) // count)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        save(rows, folder)
        yield [
            stack.enter_context(closing(Beside(search, folder, sizes, threads=threads)))
            for _ in range(count)
        ]


def function(name: str) -> Search:
    """What a dotted name stands for."""
    module, _, attribute = name.rpartition(".")
    found: Search = getattr(importlib.import_module(module), attribute)
    return found


def save(rows: Rows, folder: Path) -> None:
    """Writes rows as `load` reads them."""
    for field in fields(rows):
        np.save(folder / f"{field.name}.npy", getattr(rows, field.name))


def load(folder: Path) -> Rows:
    """Rows that stay on disk until they are used, and are shared by all who load them."""
    from models.dataset import Rows

    arrays = {
        field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(Rows)
    }
    return Rows(**{**arrays, "classes": int(arrays["classes"])})
