"""How many threads a task on rows is worth: trainers run side by side, and share the cores."""

from __future__ import annotations

import os

ROWS_PER_THREAD = 100_000
"""With fewer, boosted trees lose more by threads that wait for one another than they gain; threads
of trainers side by side that contend for the cores can take ten times as long as one each."""


def yielding() -> None:
    """Has threads of OpenMP sleep while they wait, here and in programs started from here.

    They would spin, and take the cores from those who work; to be called before one is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def worth(rows: int) -> int:
    """How many threads so many rows are worth: from 1 to as many as there are cores."""
    return min(os.cpu_count() or 1, 1 + rows // ROWS_PER_THREAD)
