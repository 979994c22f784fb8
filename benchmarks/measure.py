"""Runs a command as a process of its own and says what it took.

Processor time is that of the process and of all its descendants that were waited for, as the
kernel gives it when the process ends. Memory is the largest sum, seen every half second and more
often at the start, of the proportional set sizes (PSS) of all processes of the tree: a page that
several processes share is counted once, not once for each. A peak between two looks is missed, so
that the figure means little for commands of less than a second, and looking takes up to a tenth of
a core from whatever is measured. (The kernel's own figure, ru_maxrss, knows no sums, and starts at
the size of the process that started the command.) Where the system knows no PSS (outside Linux),
unique set sizes are added up: shared pages are then not counted at all.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.5
_FIRST_PAUSE = 0.05
_LAST_LINES = 15
_MEGABYTE = 1024 * 1024


class CommandFailed(RuntimeError):
    """A command ended with another code than 0; the message names its log and quotes its end."""


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
      wall: seconds from its start to its end.
      cpu: processor seconds, of it and all its descendants.
      peak_mb: most memory of all its processes together, in MiB; 0 if it was never looked at.
      code: its exit code; negative, the signal that ended it.
    """

    wall: float
    cpu: float
    peak_mb: int
    code: int = 0

    def figures(self) -> dict[str, float]:
        """As the JSON files hold it."""
        return {"wall": round(self.wall, 2), "cpu": round(self.cpu, 2), "peak_mb": self.peak_mb}


def measure(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Cost:
    """Runs `command` to its end, its output in `log`; `env` is added to this process's own.

    Raises:
      CommandFailed: it did not end with 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **(env or {})}
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH"):
        environment.pop(name, None)
    with log.open("wb") as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment,
        )
    with _MemorySampler(process.pid) as sampler:
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = Cost(
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_mb=round(sampler.peak / _MEGABYTE),
        code=process.returncode,
    )
    if cost.code:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        shown = shlex.join(str(word) for word in command)
        raise CommandFailed(f"{shown}\nended with code {cost.code}; its log, {log}, ends:\n{end}")
    return cost


def best(costs: Sequence[Cost]) -> Cost:
    """The least of each figure: what disturbs a measurement only ever adds to it."""
    return Cost(
        wall=min(cost.wall for cost in costs),
        cpu=min(cost.cpu for cost in costs),
        peak_mb=min(cost.peak_mb for cost in costs),
    )


class _MemorySampler(threading.Thread):
    """Looks at the memory of a process and its descendants, until the `with` block ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._pid = pid
        self._ended = threading.Event()

    def __enter__(self) -> _MemorySampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._ended.wait(pause):
            pause = min(2 * pause, SAMPLE_SECONDS)
            self.peak = max(self.peak, _memory(self._pid))


def _memory(pid: int) -> int:
    """Bytes that `pid` and its descendants hold now; those that vanish meanwhile count as 0."""
    try:
        parent = psutil.Process(pid)
        processes = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in processes:
        try:
            memory = process.memory_full_info()
        except (psutil.Error, OSError):
            continue
        total += getattr(memory, "pss", memory.uss)
    return total
