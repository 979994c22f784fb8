"""Transformed examples as arrays: the one way in which every framework reads its training data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.features import FOLD, FOLDS, LABEL, ModelInputs
from pipeline.errors import UserError
from pipeline.train_config import TrainConfig

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Rows:
    """Rows as a model learns from them."""

    numbers: NDArray[np.float32]
    """[rows, numbers], in the order of `ModelInputs.numbers`, a vector's beside one another."""
    categories: NDArray[np.int32]
    """[rows, categories], in the order of `ModelInputs.categories`."""
    labels: NDArray[np.float32]
    """[rows], the number of the class, from 0, or the value."""
    folds: NDArray[np.int32]
    """[rows], 0 to FOLDS - 1; rows of one group (a day, say) have the same; FOLDS more for those
    that are never held out."""
    weights: NDArray[np.float32]
    """[rows], how much each counts in training, where one of the newest span counts 1."""
    classes: int = 2
    """How many there are; 0 where a value is predicted."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any] | slice) -> Rows:
        """The rows at some positions, or where a mask [rows] is true."""
        return Rows(
            self.numbers[rows],
            self.categories[rows],
            self.labels[rows],
            self.folds[rows],
            self.weights[rows],
            self.classes,
        )

    def hold_out(self, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the rows to learn from, and of those to stop by.

        About `share` of the groups are held out whole, since rows of one group resemble one
        another: a row is no test of a model that has learned from its neighbours. Those that are
        never held out are, where there is no other group.

        Raises:
            UserError: If one of the two is empty.
        """
        held_out = self.folds < share * FOLDS
        if not held_out.any():
            held_out = self.folds % FOLDS < share * FOLDS
        if held_out.all() or not held_out.any():
            groups = len(np.unique(self.folds % FOLDS))
            raise UserError(
                f"train.validation_share = {share} leaves no rows to "
                f"{'learn from' if held_out.all() else 'stop by'}: whole groups are held out, and "
                f"the train split has {groups}. Take more data, or another share."
            )
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def batches(
        self, size: int, *, among: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> Iterator[Rows]:
        """The rows at the positions `among` in batches, the last one smaller; shuffled by `rng`."""
        order = among if rng is None else rng.permutation(among)
        for start in range(0, len(order), size):
            yield self.take(order[start : start + size])


def row_weights(rows: Rows, settings: TrainConfig) -> NDArray[np.float32]:
    """What each of the rows [rows] weighs in training: by its age and, if so set, by its class."""
    if settings.class_weight == "none" or not rows.classes:
        return rows.weights
    labels = rows.labels.astype(int)
    mass = np.bincount(labels, weights=rows.weights, minlength=rows.classes)
    mass[mass == 0] = np.inf  # A class without rows weighs on none.
    by_class = np.asarray(rows.weights.sum() / (np.isfinite(mass).sum() * mass), np.float32)
    return np.asarray(rows.weights * by_class[labels])


def weights_by_age(spans: Sequence[int], half_life: float | None) -> list[float]:
    """What a row of each span weighs: half of what one weighs that is `half_life` spans newer."""
    if half_life is None:
        return [1.0] * len(spans)
    return [0.5 ** ((max(spans) - span) / half_life) for span in spans]


def read(
    file_patterns: Sequence[str],
    inputs: ModelInputs,
    *,
    classes: int = 2,
    weights: Sequence[float] = (),
    never_held_out: Sequence[bool] = (),
    memory_budget: float = 1.0,
) -> Rows:
    """Reads gzipped TFRecords of transformed examples, decoding them once, 4 bytes a value.

    Args:
        file_patterns: The files.
        inputs: The columns.
        classes: How many the label has; 0 where it is a number.
        weights: What a row of the files of each pattern weighs; by default 1.
        never_held_out: Whether `Rows.hold_out` keeps to the rows of the other patterns' files; by
            default it takes from all.
        memory_budget: GiB that the rows may take in memory; with more they are kept in a temporary
            file, and mapped into memory from there as they are needed.

    Raises:
        UserError: If there are no rows, or a label is none of the classes.
    """
    weights = weights or [1.0] * len(file_patterns)
    never_held_out = never_held_out or [False] * len(file_patterns)
    files = sorted(
        (file, weight, FOLDS * never)
        for pattern, weight, never in zip(file_patterns, weights, never_held_out, strict=True)
        for file in tf.io.gfile.glob(pattern)
    )
    label_type = tf.int64 if classes else tf.float32
    spec = {
        **dict.fromkeys(inputs.numbers, tf.io.FixedLenFeature([], tf.float32)),
        **{name: tf.io.FixedLenFeature([n], tf.float32) for name, n in inputs.vectors.items()},
        **dict.fromkeys((*inputs.categories, FOLD), tf.io.FixedLenFeature([], tf.int64)),
        LABEL: tf.io.FixedLenFeature([], label_type),
    }

    def examples_of(file: tf.Tensor, weight: tf.Tensor, fold: tf.Tensor) -> tf.data.Dataset:
        examples = tf.data.TFRecordDataset(file, "GZIP").batch(_ROWS_AT_ONCE)
        return examples.map(lambda some: (some, tf.fill(tf.shape(some), weight), fold))

    def decode(examples: tf.Tensor, weight: tf.Tensor, fold: tf.Tensor) -> tuple[tf.Tensor, ...]:
        columns = tf.io.parse_example(examples, spec)
        labels, folds = tf.cast(columns[LABEL], tf.float32), tf.cast(columns[FOLD], tf.int32)
        return *matrices(columns, inputs), labels, fold + folds, weight

    batches = (
        tf.data.Dataset.from_tensor_slices(
            (
                tf.constant([file for file, _, _ in files], tf.string),
                tf.constant([weight for _, weight, _ in files], tf.float32),
                tf.constant([fold for _, _, fold in files], tf.int32),
            )
        )
        .flat_map(examples_of)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(1)
    )
    numbers, categories, labels, folds, weighs = _gathered(
        batches.as_numpy_iterator(), memory_budget * 2**30
    )
    rows = Rows(numbers, categories, labels, folds, weighs, classes)
    if not len(rows):
        raise UserError(f"There are no rows to learn from in {', '.join(file_patterns)}.")
    if classes and not ((rows.labels >= 0) & (rows.labels < classes)).all():
        raise UserError(
            f"{', '.join(file_patterns)} has rows whose label is none of the {classes} classes: "
            "name all of the label's values in features.classes."
        )
    return rows


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
    return tuple(np.concatenate(arrays) for arrays in zip(*kept, strict=True)) or (np.empty(0),) * 5


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
    """Transformed columns [rows] or [rows, n] as `Rows.numbers` and `Rows.categories`."""
    rows = tf.shape(next(iter(columns.values())))[0]
    numbers = [columns[name] for name in inputs.numbers]
    categories = [columns[name] for name in inputs.categories]
    return (
        _matrix(numbers, inputs.widths, rows, tf.float32),
        _matrix(categories, [1] * len(categories), rows, tf.int32),
    )


def _matrix(
    columns: list[tf.Tensor], widths: Sequence[int], rows: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """[rows, sum of the widths], of no columns too."""
    if not columns:
        return tf.zeros([rows, 0], dtype)
    parts = [tf.reshape(column, [rows, n]) for column, n in zip(columns, widths, strict=True)]
    return tf.cast(tf.concat(parts, axis=1), dtype)


def _mapped(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    file.flush()
    return np.memmap(file, dtype, "r", shape=shape) if np.prod(shape) else np.zeros(shape, dtype)
