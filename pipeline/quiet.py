"""Keeps what libraries say while they load out of sight."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def errors_to(file: Path) -> Iterator[None]:
    """Sends to `file` what is written to standard error, by C++ libraries too.

    TensorFlow tells what it finds of the machine, before its own log level is in force.
    """
    saved = os.dup(2)
    with file.open("a") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
