"""What an executor does before its turn, while others are at work."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable


def gently(work: Callable[[], None]) -> None:
    """Does `work` in a thread of low priority, so that what runs meanwhile goes first."""

    def lowered() -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        work()

    thread = threading.Thread(target=lowered)
    thread.start()
    thread.join()
