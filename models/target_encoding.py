"""Target encoding without leakage: a category as what the label is, on average, in other rows.

Of each value of a column the label's mean over the rows that have it is learned, or each class's
share. A row is in one of FOLDS parts by a hash of what it holds, and is encoded by the rows of the
other parts: never by its own label, nor by that of a row that equals it. A served row is in a part
as well, so it is encoded in the same way, by the same share of the data.

The mean of n rows is drawn to the mean of all, as it counts n / (n + m) (Micci-Barreca 2001, A
preprocessing scheme for high-cardinality categorical attributes). m is the variance of the label
within values over that between them, both estimated from the data (the method of moments of a
one-way analysis of variance): values that say nothing about the label all become its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_transform import analyzer_nodes, analyzers

FOLDS = 5
_MOST_NUMBERS = 2_000_000
"""That the graph holds of one column; values beyond are the rarest, and become the mean."""
_MOST_DEVIATIONS = 5.0
_NO_HASH = 2**63 - 1
_CELL = np.dtype(
    [("value", "<i8"), ("place", "<i4"), ("rows", "<f8"), ("sum", "<f8"), ("squares", "<f8")]
)
"""What is known of the rows with one value, in one part and of one class."""

_Cells: TypeAlias = NDArray[Any]
_Accumulator: TypeAlias = list[_Cells]
"""Of the first the values are distinct; the others wait to be put in."""


def encode(values: tf.Tensor, *, fold: tf.Tensor, labels: tf.Tensor, classes: int) -> tf.Tensor:
    """The label's mean in other rows, with mean 0 and variance 1: float32 [rows].

    Args:
        values: The column, as strings [rows]; a missing one is a value as any other.
        fold: The part of each row, int64 [rows].
        labels: The class's number, int64 [rows], or the value, float32 [rows].
        classes: How many there are; with more than two, each has a share: [rows, classes]; 0 where
            the label is a number.
    """
    hashes = hashed(values)
    combiner = Statistics(classes)
    with tf.compat.v1.name_scope(None, "target_encoding"):  # What analyzers are told apart by.
        known, table = analyzers._apply_cacheable_combiner(combiner, hashes, fold, labels)
    place = tf.searchsorted(known, hashes, out_type=tf.int64)
    unseen = tf.size(known, tf.int64) - 1
    place = tf.where(tf.gather(known, place) == hashes, place, unseen)
    encoded = tf.gather(table, place * FOLDS + fold)
    shape = [-1, combiner.width] if combiner.width > 1 else [-1]
    return tf.reshape(encoded, shape)


def anew(
    hashes: NDArray[np.int64],
    *,
    fold: NDArray[np.int64],
    labels: NDArray[Any],
    classes: int,
    learn: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """What `encode` would give if only some rows were there to learn from: [rows, numbers].

    Args:
        hashes: Of the values [rows], as `hashed` gives them.
        fold: The part of each row [rows].
        labels: The class's number [rows], or the value.
        classes: As in `encode`.
        learn: Which rows [rows] are learned from.
    """
    statistics = Statistics(classes)
    rows = [hashes[learn], fold[learn], labels[learn]]
    known, table = statistics.extract_output(statistics.add_input([], rows))
    place = np.searchsorted(known, hashes)
    place = np.where(known[place] == hashes, place, len(known) - 1)
    encoded: NDArray[np.float32] = table[place * FOLDS + fold]
    return encoded


def hashed(values: tf.Tensor) -> tf.Tensor:
    """What statistics know values [rows] by: int64 [rows]."""
    return tf.strings.to_hash_bucket_fast(values, _NO_HASH)


class Statistics(analyzer_nodes.Combiner):
    """Learns the table that rows are encoded by, from hashes of values, parts and labels."""

    def __init__(self, classes: int) -> None:
        """Takes how many classes there are; 0 where the label is a number."""
        self._classes = classes
        self.width = classes if classes > 2 else 1

    def __repr__(self) -> str:
        """What a cache's key is made of."""
        return f"<{type(self).__name__} of {self._classes} classes>"

    def create_accumulator(self) -> _Accumulator:
        """No rows yet."""
        return []

    def add_input(
        self, accumulator: _Accumulator, batch_values: Sequence[NDArray[Any]]
    ) -> _Accumulator:
        """Adds the rows of a batch, but those whose label is no class or no number."""
        hashes, folds, labels = batch_values
        counts = labels >= 0 if self._classes else np.isfinite(labels)
        cells = np.zeros(np.count_nonzero(counts), _CELL)
        number = labels[counts]
        cells["value"] = hashes[counts]
        cells["place"] = folds[counts] * self._classes + number if self._classes else folds[counts]
        cells["rows"] = 1
        cells["sum"] = 1 if self._classes else number
        cells["squares"] = cells["sum"] ** 2
        return self._tidied([*accumulator, _summed(cells)])

    def merge_accumulators(self, accumulators: Sequence[_Accumulator | None]) -> _Accumulator:
        """All rows of several; one that is None has none."""
        return self._tidied([cells for some in accumulators for cells in some or ()])

    def compact(self, accumulator: _Accumulator) -> _Accumulator:
        """The rows of each value, part and class summed."""
        return [_summed(np.concatenate(accumulator))] if accumulator else []

    def extract_output(self, accumulator: _Accumulator) -> list[NDArray[Any]]:
        """The hashes of the values that are known, and a row for each of them and each part.

        The hashes [values + 1] are in order, and the last is none. The rows [(values + 1) * FOLDS,
        numbers] are as the hashes are, those of unseen values last.
        """
        (cells,) = self.compact(accumulator) or [np.zeros(0, _CELL)]
        of_class = max(self._classes, 1)
        hashes, value = np.unique(cells["value"], return_inverse=True)
        place = value * FOLDS + cells["place"] // of_class
        rows = _totals(place, cells["rows"], len(hashes))
        kept = _kept(rows.sum(axis=1), _MOST_NUMBERS // (FOLDS * self.width))
        encoded = np.zeros((len(kept) + 1, FOLDS, self.width), np.float32)
        for number in range(self.width):
            ones = self._classes == 2
            of = cells["place"] % of_class == (1 if ones else number)
            sums = _totals(place[of], cells["sum"][of], len(hashes))
            squares = float(cells["squares"][of].sum())
            encoded[..., number] = _encoded(rows, sums, squares, kept)
        known = np.append(hashes[kept], _NO_HASH).astype(np.int64)
        return [known, encoded.reshape(-1, self.width)]

    def output_tensor_infos(self) -> list[analyzer_nodes.TensorInfo]:
        """Types and shapes of the outputs."""
        return [
            analyzer_nodes.TensorInfo(tf.int64, [None], None),
            analyzer_nodes.TensorInfo(tf.float32, [None, self.width], None),
        ]

    @property
    def accumulator_coder(self) -> analyzer_nodes.CacheCoder:
        """Makes bytes of an accumulator, and no pickle."""
        return _Coder()

    def _tidied(self, accumulator: _Accumulator) -> _Accumulator:
        """As it is, or summed once more waits than is summed: so a row is sorted a few times."""
        summed, waiting = map(len, accumulator[:1]), map(len, accumulator[1:])
        return self.compact(accumulator) if sum(waiting) > sum(summed) else accumulator


class _Coder(analyzer_nodes.CacheCoder):
    def encode_cache(self, cache: _Accumulator) -> bytes:
        return b"".join(cells.tobytes() for cells in cache)

    def decode_cache(self, encoded_cache: bytes) -> _Accumulator:
        return [np.frombuffer(encoded_cache, _CELL)]


def _summed(cells: _Cells) -> _Cells:
    """One cell for each value and place, in their order."""
    if not len(cells):
        return cells
    cells = cells[np.lexsort((cells["place"], cells["value"]))]
    is_new = np.diff(cells["value"], prepend=cells["value"][0] - 1) != 0
    is_new |= np.diff(cells["place"], prepend=-1) != 0
    starts = np.flatnonzero(is_new)
    summed = cells[starts]
    for name in ("rows", "sum", "squares"):
        summed[name] = np.add.reduceat(cells[name], starts)
    return summed


def _totals(
    place: NDArray[np.int64], weights: NDArray[np.float64], values: int
) -> NDArray[np.float64]:
    """By value and part, [values, FOLDS]."""
    totals = np.bincount(place, weights, values * FOLDS)
    return np.asarray(totals, np.float64).reshape(values, FOLDS)


def _kept(rows: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Places of the values [values] that are encoded: of those in several rows the commonest."""
    commonest = np.argsort(-rows, kind="stable")[:most]
    return np.sort(commonest[rows[commonest] > 1])


def _encoded(
    rows: NDArray[np.float64], sums: NDArray[np.float64], squares: float, kept: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Of the values at the places `kept` and an unseen one [kept + 1, FOLDS], scaled over all rows.

    Takes rows and the label's sum by value and part, [values, FOLDS], and the sum of its squares.
    """
    total = rows.sum()
    mean = sums.sum() / max(total, 1)
    strength = _prior_rows(rows.sum(axis=1), sums.sum(axis=1), squares)
    # Of the other parts.
    others = rows[kept].sum(axis=1, keepdims=True) - rows[kept]
    sums_of_others = sums[kept].sum(axis=1, keepdims=True) - sums[kept]
    away = (sums_of_others - others * mean) / (others + strength)
    centre = (rows[kept] * away).sum() / max(total, 1)
    variance = (rows[kept] * away**2).sum() / max(total, 1) - centre**2
    away = np.append(away, np.zeros((1, FOLDS)), axis=0) - centre
    if variance <= 1e-12 * max(squares / max(total, 1) - mean**2, 0):
        return np.zeros_like(away)
    clipped: NDArray[np.float64] = np.clip(
        away / np.sqrt(variance), -_MOST_DEVIATIONS, _MOST_DEVIATIONS
    )
    return clipped


def _prior_rows(rows: NDArray[np.float64], sums: NDArray[np.float64], squares: float) -> float:
    """m, how many rows the mean of all counts for beside a value's own: at least 1."""
    total, values = rows.sum(), len(rows)
    if values < 2 or total <= values:
        return np.inf
    mean = sums.sum() / total
    between = (sums**2 / rows).sum() - total * mean**2
    within = max(squares - (sums**2 / rows).sum(), 0) / (total - values)
    rows_of_a_value = (total - (rows**2).sum() / total) / (values - 1)
    variance_of_means = (between / (values - 1) - within) / rows_of_a_value
    return float(max(within / variance_of_means, 1)) if variance_of_means > 0 else np.inf
