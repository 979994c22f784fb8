"""How a node tells whoever runs it how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_INTERVAL_SECONDS = 0.2

_file: Path | None = None
_last_report = 0.0


def write_to(file: Path | None) -> None:
    """Sends the reports of this process to `file`, which holds the newest one; None drops them."""
    global _file
    _file = file


@contextmanager
def silenced() -> Iterator[None]:
    """Drops the reports of a part whose units are not those of the node."""
    file = _file
    write_to(None)
    try:
        yield
    finally:
        write_to(file)


def report(done: int, total: int | None, unit: str) -> None:
    """Says that `done` of `total` (None: unknown) units ("rows", "steps") are done; cheap."""
    global _last_report
    now = time.monotonic()
    if _file is None or (now - _last_report < _INTERVAL_SECONDS and done != total):
        return
    _last_report = now
    fresh = _file.with_suffix(".new")
    fresh.write_text(json.dumps({"done": done, "total": total, "unit": unit, "time": time.time()}))
    fresh.replace(_file)


def latest(file: Path) -> tuple[int, int | None, str] | None:
    """The newest report in `file`, as (done, total, unit), or None if there is none yet."""
    try:
        newest = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return newest["done"], newest["total"], newest["unit"]
