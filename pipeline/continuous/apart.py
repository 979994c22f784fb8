"""Work in a process of its own, so that what it imports does not stay in a loop that goes on."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from pipeline.continuous.runs import RunFailed

T = TypeVar("T")


def apart(work: Callable[..., T], *given: Any, doing: str) -> T:
    """What `work` makes of what is given; all of it can be pickled.

    Raises:
      RunFailed: the process was ended; `doing` says what it did, as in "looked at span 4".
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        try:
            return pool.submit(work, *given).result()
        except BrokenProcessPool:
            raise RunFailed(
                f"the process that {doing} was ended; the machine may be short of memory"
            ) from None
