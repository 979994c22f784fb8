"""Transformed examples as arrays: the one way in which every framework reads its training data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.features import FOLD, FOLDS, LABEL, ModelInputs
from pipeline.errors import UserError

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Rows:
    """Rows as a model learns from them."""

    numbers: NDArray[np.float32]
    """[rows, numbers], in the order of `ModelInputs.numbers`."""
    categories: NDArray[np.int32]
    """[rows, categories], in the order of `ModelInputs.categories`."""
    labels: NDArray[np.float32]
    """[rows], 0 or 1."""
    folds: NDArray[np.int32]
    """[rows], 0 to FOLDS - 1; rows of one group (a day, say) have the same."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any] | slice) -> Rows:
        """The rows at some positions, or where a mask [rows] is true."""
        return Rows(self.numbers[rows], self.categories[rows], self.labels[rows], self.folds[rows])

    def hold_out(self, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the rows to learn from, and of those to stop by.

        About `share` of the groups are held out whole, since rows of one group resemble one
        another: a row is no test of a model that has learned from its neighbours.

        Raises:
            UserError: If one of the two is empty.
        """
        held_out = self.folds < share * FOLDS
        if held_out.all() or not held_out.any():
            raise UserError(
                f"train.validation_share = {share} leaves no rows to "
                f"{'learn from' if held_out.all() else 'stop by'}: whole groups are held out, and "
                f"the train split has {len(np.unique(self.folds))}. Take more data, or another "
                "share."
            )
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def batches(
        self, size: int, *, among: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> Iterator[Rows]:
        """The rows at the positions `among` in batches, the last one smaller; shuffled by `rng`."""
        order = among if rng is None else rng.permutation(among)
        for start in range(0, len(order), size):
            yield self.take(order[start : start + size])


def class_weights(
    labels: NDArray[np.float32], mode: Literal["none", "balanced"]
) -> NDArray[np.float32]:
    """What a row of label 0 and of label 1 weighs."""
    if mode == "none":
        return np.ones(2, np.float32)
    counts = np.bincount(labels.astype(int), minlength=2)
    return np.asarray(len(labels) / (2 * counts), np.float32)


def read(file_patterns: Sequence[str], inputs: ModelInputs, *, memory_budget: float = 1.0) -> Rows:
    """Reads gzipped TFRecords of transformed examples, decoding them once, 4 bytes a value.

    Args:
        file_patterns: The files.
        inputs: The columns.
        memory_budget: GiB that the rows may take in memory; with more they are kept in a temporary
            file, and mapped into memory from there as they are needed.

    Raises:
        UserError: If there are no rows.
    """
    files = sorted(file for pattern in file_patterns for file in tf.io.gfile.glob(pattern))
    spec = {
        **dict.fromkeys(inputs.numbers, tf.io.FixedLenFeature([], tf.float32)),
        **dict.fromkeys((*inputs.categories, LABEL, FOLD), tf.io.FixedLenFeature([], tf.int64)),
    }

    def decode(examples: tf.Tensor) -> tuple[tf.Tensor, ...]:
        columns = tf.io.parse_example(examples, spec)
        labels, folds = tf.cast(columns[LABEL], tf.float32), tf.cast(columns[FOLD], tf.int32)
        return *matrices(columns, inputs), labels, folds

    batches = (
        tf.data.TFRecordDataset(files, "GZIP")
        .batch(_ROWS_AT_ONCE)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(1)
    )
    numbers, categories, labels, folds = _gathered(
        batches.as_numpy_iterator(), memory_budget * 2**30
    )
    if not len(labels):
        raise UserError(f"There are no rows to learn from in {', '.join(file_patterns)}.")
    return Rows(numbers, categories, labels, folds)


def _gathered(
    batches: Iterator[tuple[NDArray[Any], ...]], budget: float
) -> tuple[NDArray[Any], ...]:
    """The columns of `batches` end to end; in a file if they take more bytes than `budget`."""
    kept: list[tuple[NDArray[Any], ...]] = []
    size = 0
    for batch in batches:
        kept.append(batch)
        size += sum(array.nbytes for array in batch)
        # Putting them together takes the room twice for a moment.
        if 2 * size > budget:
            return _on_disk(chain(kept, batches))
    return tuple(np.concatenate(arrays) for arrays in zip(*kept, strict=True)) or (np.empty(0),) * 4


def _on_disk(batches: Iterable[tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
    files: list[Any] = []
    rows = 0
    for batch in batches:
        files = files or [tempfile.TemporaryFile() for _ in batch]  # noqa: SIM115
        rows += len(batch[-1])
        for file, array in zip(files, batch, strict=True):
            file.write(array)
    return tuple(
        _mapped(file, array.dtype, (rows, *array.shape[1:]))
        for file, array in zip(files, batch, strict=True)
    )


def matrices(columns: Mapping[str, tf.Tensor], inputs: ModelInputs) -> tuple[tf.Tensor, tf.Tensor]:
    """Transformed columns [rows] as `Rows.numbers` and `Rows.categories`."""
    rows = tf.shape(next(iter(columns.values())))[0]
    return (
        _matrix([columns[name] for name in inputs.numbers], rows, tf.float32),
        _matrix([columns[name] for name in inputs.categories], rows, tf.int32),
    )


def _matrix(columns: list[tf.Tensor], rows: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """[rows, columns], of no columns too."""
    if not columns:
        return tf.zeros([rows, 0], dtype)
    return tf.cast(tf.stack(columns, axis=1), dtype)


def _mapped(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    file.flush()
    return np.memmap(file, dtype, "r", shape=shape) if np.prod(shape) else np.zeros(shape, dtype)
