"""For few rows: every row is predicted by models that have not learned from it.

The rows are put into parts; each part is predicted by a model that is trained on the others just as
the final one is on all, its search for the number of steps included; and that several times, each
time with other parts (repeated k-fold: R. Kohavi, A Study of Cross-Validation and Bootstrap for
Accuracy Estimation and Model Selection, IJCAI 1995). What Transform learned, it learned once, from
all rows: means, vocabularies and the like, which know no label. Target statistics do, and
are made anew for each part, of the rows that its model learns from: those of all rows would tell
the label of a row by what others with its value are encoded as.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from models import features, preprocessing, target_encoding
from models.bundle import Predict
from models.dataset import Rows, matrices
from models.features import FOLD, LABEL, ModelInputs
from models.out_of_fold import OutOfFold
from models.problems import mean_loss
from pipeline import progress
from pipeline.errors import UserError
from pipeline.evaluate_config import CrossValidation

_ROWS_AT_ONCE = 8192
TargetEncoded = Mapping[int, NDArray[np.int64]]
"""By the place of its first number in `Rows.numbers`, the hashes [rows] of a column's values."""
_STRATA = 10
"""Into so many parts of equal size the labels of a regression are put, to be spread evenly."""


def read(
    file_patterns: Sequence[str],
    inputs: ModelInputs,
    transform: tft.TFTransformOutput,
    *,
    classes: int,
    weights: Sequence[float],
    target_encoded: Sequence[str] = (),
) -> tuple[list[bytes], Rows, TargetEncoded]:
    """Raw rows as a model learns from them, what `OutOfFold` calls each, and what `predict` takes.

    Args:
        file_patterns: Gzipped TFRecords of raw tf.Examples.
        inputs: The columns.
        transform: The graph that they go through.
        classes: How many the label has; 0 where it is a number.
        weights: What a row of the files of each pattern weighs; none: 1.
        target_encoded: As in `FeaturesConfig`.

    Raises:
        UserError: If there are no rows.
    """
    weighed = zip(file_patterns, weights or [1.0] * len(file_patterns), strict=True)
    files = sorted((f, weight) for pattern, weight in weighed for f in tf.io.gfile.glob(pattern))
    spec, graph = transform.raw_feature_spec(), SavedModelLoader(transform.transform_savedmodel_dir)
    keys: list[bytes] = []
    batches: list[tuple[NDArray[Any], ...]] = []
    for file, weight in files:
        for examples in tf.data.TFRecordDataset(file, "GZIP").batch(_ROWS_AT_ONCE):
            raw = tf.io.parse_example(examples, spec)
            columns = graph.apply_transform_model(raw)
            values = [preprocessing.strings(raw[column]) for column in target_encoded]
            hashes = tf.stack([*map(target_encoding.hashed, values), columns[FOLD]], axis=1)
            tensors = *matrices(columns, inputs), columns[LABEL], hashes
            weighs = np.full(len(examples), weight, np.float32)
            batches.append((*(tensor.numpy() for tensor in tensors), weighs))
            keys += OutOfFold.keys(examples.numpy())
    if not keys:
        raise UserError(f"There are no rows to learn from in {', '.join(file_patterns)}.")
    numbers, categories, labels, hashes, weighs = map(np.concatenate, zip(*batches, strict=True))
    labels, folds = labels.astype(np.float32), hashes[:, -1].astype(np.int32)
    rows = Rows(numbers, categories, labels, folds, weighs, classes)
    firsts = dict(zip(inputs.numbers, np.cumsum((0, *inputs.widths)).tolist(), strict=False))
    places = [firsts[features.target(column)] for column in target_encoded]
    return keys, rows, dict(zip(places, hashes.T, strict=False))


def predict(
    keys: Sequence[bytes],
    rows: Rows,
    settings: CrossValidation,
    *,
    fit: Callable[[Rows], Predict],
    seed: int,
    target_encoded: TargetEncoded | None = None,
) -> tuple[OutOfFold, float]:
    """What models say of the rows that they have not learned from, and the loss of that.

    Args:
        keys: Of the rows. Those with one key are the same, and so in one part.
        rows: All of them.
        settings: How many parts, and how often.
        fit: Trains a model; the same for the same rows.
        seed: Of the parts.
        target_encoded: What target statistics are made of, as `read` gives it.

    Raises:
        UserError: If there are too few groups of rows, or some to learn from have one label.
    """
    repeats: list[NDArray[np.float32]] = []
    fits = settings.folds * settings.repeats
    for part in partings(rows, settings, seed=seed):
        said: dict[int, NDArray[np.float32]] = {}
        for number in range(settings.folds):
            progress.report(len(repeats) * settings.folds + number, fits, "fits")
            encoded = _encoded(rows, target_encoded or {}, part != number)
            learn, judge = encoded.take(part != number), encoded.take(part == number)
            _check(learn, rows.classes)
            with progress.silenced():
                said[number] = fit(learn)(judge.numbers, judge.categories)
        together = np.empty((len(rows), *said[0].shape[1:]), np.float32)
        for number, predictions in said.items():
            together[part == number] = predictions
        repeats.append(together)
    loss = np.mean([mean_loss(p, rows.labels, rows.weights, rows.classes) for p in repeats])
    first = {key: place for place, key in reversed([*enumerate(keys)])}
    values = np.stack(repeats)[:, [*first.values()]]
    return OutOfFold({key: place for place, key in enumerate(first)}, values), float(loss)


def _encoded(rows: Rows, target_encoded: TargetEncoded, learn: NDArray[np.bool_]) -> Rows:
    """The rows with target statistics of those alone that are learned from."""
    numbers = rows.numbers.copy()
    # Rows that equal one another are in one of these parts too, as their groups are in one fold.
    fold = rows.folds.astype(np.int64) % target_encoding.FOLDS
    for first, hashes in target_encoded.items():
        found = target_encoding.anew(
            hashes, fold=fold, labels=rows.labels, classes=rows.classes, learn=learn
        )
        numbers[:, first : first + found.shape[1]] = found
    return replace(rows, numbers=numbers)


def partings(rows: Rows, settings: CrossValidation, *, seed: int) -> Iterator[NDArray[np.int64]]:
    """The parts of each repeat in turn, as `parts` gives them; the same for the same seed."""
    for repeat in range(settings.repeats):
        yield parts(rows, settings.folds, np.random.default_rng([seed % 2**32, repeat]))


def parts(rows: Rows, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The part [rows] of each row, from 0: groups are kept whole, labels are spread evenly.

    Raises:
        UserError: If there are fewer groups than parts.
    """
    groups, group_of = np.unique(rows.folds, return_inverse=True)
    if len(groups) < folds:
        raise UserError(
            f"evaluate.cross_validation.folds = {folds}, and the rows are of {len(groups)} groups "
            "(data.split_by), which are kept whole. Take fewer folds, or split by another column."
        )
    strata = _strata(rows)
    counts = np.zeros((len(groups), strata.max() + 1))
    np.add.at(counts, (group_of, strata), 1)
    filled = np.zeros((folds, counts.shape[1]))
    part_of = np.empty(len(groups), np.int64)
    for group in rng.permutation(len(groups)):
        # Where there is least of what this group brings; of equals, where there is least at all.
        crowd = filled @ (counts[group] / np.maximum(counts.sum(axis=0), 1) ** 2)
        part_of[group] = np.lexsort((filled.sum(axis=1), crowd))[0]
        filled[part_of[group]] += counts[group]
    return part_of[group_of]


def _strata(rows: Rows) -> NDArray[np.int64]:
    """What is spread evenly: the classes, or tenths of the labels of a regression."""
    if rows.classes:
        return rows.labels.astype(np.int64)
    edges = np.quantile(rows.labels, np.arange(1, _STRATA) / _STRATA)
    return np.searchsorted(edges, rows.labels)


def _check(learn: Rows, classes: int) -> None:
    if classes and learn.labels.min() == learn.labels.max():
        raise UserError(
            "Without one part of the rows (evaluate.cross_validation) all labels are the same: "
            "nothing to tell apart. Take more rows, or another data.split_by."
        )
