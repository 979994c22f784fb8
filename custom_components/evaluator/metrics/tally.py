"""What is remembered of rows and a model's predictions for them: tallies that can be added up.

A tally holds sums over rows and how often some keys occur, so that parts of the data can be counted
in any order and on any machine, in memory that does not grow with them. The sums are kept for each
of a fixed number of blocks of rows, which `bootstrap` draws from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCKS = 256
"""Into so many blocks the rows are put, by a hash of what is to stay together."""
ROWS = 0
"""The first of the sums, whatever the problem: how many rows there are."""

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Predictions = NDArray[np.float64]
"""[rows], or [rows, classes] where there are more than two classes."""


@dataclass(frozen=True)
class Histogram:
    """How often each key occurs."""

    keys: Numbers
    """Ascending."""
    counts: Numbers

    @classmethod
    def of(cls, keys: Numbers) -> Histogram:
        """Counts keys."""
        return cls(*np.unique(keys, return_counts=True))

    @classmethod
    def add_up(cls, parts: Iterable[Histogram]) -> Histogram:
        """The histogram of all keys that `parts` count."""
        held = list(parts)
        keys = np.concatenate([part.keys for part in held])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
        counts = np.concatenate([part.counts for part in held])[order]
        return cls(keys[starts], np.add.reduceat(counts, starts))

    def dense(self, *shape: int) -> Numbers:
        """The counts of all keys from 0 on, as an array of a shape."""
        counts = np.zeros(shape, np.int64)
        counts.reshape(-1)[self.keys] = self.counts
        return counts


@dataclass(frozen=True)
class Scores:
    """Rows as one model did on them."""

    blocks: Numbers
    """[rows]: which block each is in, from 0."""
    sums: Floats
    """[rows, n]: what each adds to the sums."""
    keys: Mapping[str, Numbers]
    """[rows] each: one key of every row for each of `Tally.counts`."""
    details: Mapping[str, Numbers] = field(default_factory=dict)
    """The same for what is counted over all rows alone, not for each slice."""


@dataclass(frozen=True)
class Tally:
    """What is remembered of some rows and one model's predictions for them."""

    sums: Floats
    """[BLOCKS, n]: of each block, ROWS and what else the problem's metrics are made of."""
    counts: Mapping[str, Histogram]
    """How often the keys occur, by what they say."""


def tally(scores: Scores, rows: Numbers | slice, *, detailed: bool = False) -> Tally:
    """Counts the rows at some positions."""
    parts = scores.sums[rows]
    width = parts.shape[1]
    places = scores.blocks[rows][:, None] * width + np.arange(width)
    sums = np.bincount(places.ravel(), parts.ravel(), minlength=BLOCKS * width)
    keys = {**scores.keys, **scores.details} if detailed else scores.keys
    return Tally(
        sums=sums.reshape(BLOCKS, width).astype(np.float64),
        counts={name: Histogram.of(of_rows[rows]) for name, of_rows in keys.items()},
    )


def add_up(tallies: Iterable[Tally]) -> Tally:
    """The tally of all rows that `tallies` (at least one) count."""
    parts = list(tallies)
    if len(parts) == 1:
        return parts[0]
    return Tally(
        sums=np.sum([part.sums for part in parts], axis=0),
        counts={
            name: Histogram.add_up(part.counts[name] for part in parts) for name in parts[0].counts
        },
    )


def ratio(above: Any, below: Any) -> Floats:
    """A quotient, NaN where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.asarray(above, np.float64) / below
    return np.where(np.isfinite(found), found, np.nan)
