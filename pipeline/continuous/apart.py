"""Work in a process of its own, so that what it imports does not stay in a loop that goes on."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from pipeline.continuous.runs import RunFailed
from pipeline.errors import UserError

T = TypeVar("T")


def apart(work: Callable[..., T], *given: Any, doing: str) -> T:
    """What `work` makes of what is given; all of it can be pickled.

    Who is interrupted meanwhile ends the process at once.

    Raises:
      RunFailed: the process was ended; `doing` says what it did, as in "looked at span 4".
    """
    spawn = multiprocessing.get_context("spawn")
    answers, answer = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_work, args=(answer, work, given), daemon=True)
    try:
        process.start()
        answer.close()  # So that its end is noticed, however it comes.
        made, error = answers.recv()
    except EOFError:
        raise RunFailed(
            f"the process that {doing} was ended; the machine may be short of memory"
        ) from None
    finally:
        answers.close()
        if process.pid:
            process.kill()
            process.join()
    if error is not None:
        raise error
    return made  # type: ignore[no-any-return]  # what `work` made, by way of a pipe


def _work(answer: Connection, work: Callable[..., T], given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The terminal's is for who waits.
    try:
        found: tuple[T | None, Exception | None] = work(*given), None
    except Exception as error:
        if not isinstance(error, UserError):
            error.add_note(traceback.format_exc())
        found = None, error
    with suppress(BrokenPipeError):  # Who waited for it may be gone.
        answer.send(found)
