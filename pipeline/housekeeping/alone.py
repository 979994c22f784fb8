"""Keeps runs and other commands away from a root while it is put in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline import runs
from pipeline.errors import UserError


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Holds a root of this machine.

    Raises:
      UserError: a run or another command holds it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(runs.only_one(root))
        except UserError:
            raise UserError(
                f"a run, or another command, is at work in {root}; wait for its end and try again"
            ) from None
        yield
