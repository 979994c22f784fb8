"""Child processes, each a group with what it starts: ended as one, and when this one is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_GRACE_SECONDS = 5.0
_WATCHDOG = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


class Groups:
    """Starts and ends groups of processes; at its end as a context manager none is left.

    A process of its own hears of each group. When this one is gone, even by kill -9, it ends those
    that are left.
    """

    def __init__(self) -> None:
        """Starts the watchdog."""
        self._groups: dict[int, subprocess.Popen[bytes]] = {}
        self._watchdog = subprocess.Popen(
            [sys.executable, "-c", _WATCHDOG], stdin=subprocess.PIPE, start_new_session=True
        )

    def __enter__(self) -> Self:
        """Gives itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends what is left, and the watchdog."""
        self.stop(list(self._groups.values()))
        self._watchdog.communicate()

    def start(
        self,
        command: Sequence[str],
        log: IO[bytes],
        environment: Mapping[str, str],
        *,
        folder: Path,
    ) -> subprocess.Popen[bytes]:
        """Starts `command` in `folder`; what it prints goes into `log`.

        Raises:
          OSError: there is no such program.
        """
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self._groups[process.pid] = process
        self._tell(f"+{process.pid}")
        return process

    def stop(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """Ends the processes, with all that they have started; by force where they do not."""
        for process in processes:
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _signal(process, signal.SIGKILL)
            process.wait()
            self._groups.pop(process.pid, None)
            self._tell(f"-{process.pid}")

    def _tell(self, line: str) -> None:
        assert self._watchdog.stdin is not None
        with suppress(BrokenPipeError):
            self._watchdog.stdin.write(f"{line}\n".encode())
            self._watchdog.stdin.flush()


def _signal(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """To the process and all that it has started: their group is named after it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sign)
