"""The exceptions whose text is written for the person at the keyboard."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class UserError(Exception):
    """A mistake in data, configuration or environment, told to whoever can mend it.

    The text says what is wrong, what was expected and what to do. Runners print it and nothing
    else; any other exception is a defect and shows a traceback.
    """


def nearest(word: str, words: Sequence[str]) -> str:
    """A question whether one of `words` was meant, to append to a text; empty if none is near."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


class UnreachableError(UserError):
    """A server could not be asked: it is away, fails, or does not let in whoever asks.

    What it has may be right or wrong.
    """
