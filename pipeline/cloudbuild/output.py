"""What a step prints: a log and lines for the terminal, with no secret in either."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_LAST_SECONDS = 2.0
_MASK = "***"


class Output:
    """Takes what a process prints, line by line.

    Attributes:
      log: the file that it lies in.
    """

    def __init__(
        self, log: Path, name: str, secrets: Iterable[str], say: Callable[[str], None]
    ) -> None:
        """Opens the log.

        Args:
          log: the file.
          name: is put before each line that `say` is told.
          secrets: texts that are never shown, nor any line of theirs.
          say: is told each line.
        """
        self.log = log
        self._name = name
        lines = {line.strip() for secret in secrets for line in (secret, *secret.splitlines())}
        self._secrets = sorted(filter(None, lines), key=len, reverse=True)
        self._say = say
        reader, self._writer = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(reader,), daemon=True)
        self._thread.start()

    @contextmanager
    def sink(self) -> Iterator[IO[bytes]]:
        """What the process is to print into; closed here, so that its end is seen."""
        with os.fdopen(self._writer, "wb", closefd=False) as file:
            yield file
        os.close(self._writer)
        self._writer = -1

    def close(self) -> None:
        """Waits for the last lines; not for ever, since a process may have run away with them."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        self._thread.join(_LAST_SECONDS)

    def _copy(self, reader: int) -> None:
        with (
            os.fdopen(reader, "r", encoding="utf-8", errors="replace", newline="\n") as lines,
            self.log.open("w", encoding="utf-8") as log,
        ):
            for line in lines:
                shown = self._masked(line.rstrip("\n"))
                print(shown, file=log, flush=True)
                with suppress(BrokenPipeError):  # The log goes on where nobody looks any more.
                    self._say(f"{self._name}: {shown}")

    def _masked(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, _MASK)
        return line
