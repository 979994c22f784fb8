"""Target encoding: the label's mean in other rows, and never that of the row itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from models.target_encoding import FOLDS, Statistics


def learned(
    statistics: Statistics,
    values: np.ndarray,
    folds: np.ndarray,
    labels: np.ndarray,
    parts: int = 3,
) -> list[np.ndarray]:
    """What is learned from batches of a data set, and of one that came from a cache."""
    coder = statistics.accumulator_coder
    accumulators = []
    for batch in np.array_split(np.arange(len(values)), parts):
        accumulator = statistics.create_accumulator()
        for rows in np.array_split(batch, 2):
            accumulator = statistics.add_input(
                accumulator, (hashes(values[rows]), folds[rows], labels[rows])
            )
        encoded = coder.encode_cache(statistics.compact(accumulator))
        accumulators.append(coder.decode_cache(encoded))
    return statistics.extract_output(statistics.merge_accumulators([*accumulators, None]))


def hashes(values: np.ndarray) -> np.ndarray:
    return tf.strings.to_hash_bucket_fast(values.astype(str), 2**63 - 1).numpy()


def encoded(values: np.ndarray, folds: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """What rows [rows] become, [rows, numbers]."""
    known, table = learned(Statistics(classes), values, folds, labels)
    place = np.searchsorted(known, hashes(values))
    place = np.where(known[place] == hashes(values), place, len(known) - 1)
    return table[place * FOLDS + folds]


def reference(values: np.ndarray, folds: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The same by pandas, for one number to take the mean of."""
    rows = pd.DataFrame({"value": values, "fold": folds, "y": target.astype(float)})
    grand = rows.y.mean()
    by_value = rows.groupby("value").y
    n, k = len(rows), by_value.ngroups
    within = ((rows.y - by_value.transform("mean")) ** 2).sum() / (n - k)
    between = ((by_value.transform("mean") - grand) ** 2).sum() / (k - 1)
    typical = (n - (by_value.size() ** 2).sum() / n) / (k - 1)
    prior = max(within / ((between - within) / typical), 1)
    of_all = rows.groupby("value").y.agg(["sum", "size"])
    of_fold = rows.groupby(["value", "fold"]).y.agg(["sum", "size"])
    of_all, of_fold = (
        of_all.loc[rows.value].to_numpy(),
        of_fold.loc[list(zip(rows.value, rows.fold, strict=True))].to_numpy(),
    )
    total, count = (of_all - of_fold).T
    smoothed = np.where(of_all[:, 1] > 1, (total + prior * grand) / (count + prior), grand)
    return np.clip((smoothed - smoothed.mean()) / smoothed.std(), -5, 5)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, some in one row alone, their parts, and a number that they say something about."""
    rng = np.random.default_rng(0)
    values = np.floor(rng.exponential(30, 3000)).astype(int)
    signal = rng.normal(size=values.max() + 1)[values]
    return values, rng.integers(0, FOLDS, 3000), signal + rng.normal(size=3000)


def test_a_number_s_mean_is_what_pandas_finds(rows):
    values, folds, signal = rows
    labels = (1e4 + 50 * signal).astype(np.float32)
    found = encoded(values, folds, labels, 0)
    assert found.shape == (3000, 1) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], reference(values, folds, labels), atol=1e-3)


def test_the_share_of_the_second_of_two_classes_is_what_pandas_finds(rows):
    values, folds, signal = rows
    found = encoded(values, folds, (signal > 1).astype(int), 2)
    np.testing.assert_allclose(found[:, 0], reference(values, folds, signal > 1), atol=1e-5)


def test_of_several_classes_each_has_its_share(rows):
    values, folds, signal = rows
    labels = np.digitize(signal, [-1, 0, 1])
    found = encoded(values, folds, labels, 4)
    for number in range(4):
        expected = reference(values, folds, labels == number)
        np.testing.assert_allclose(found[:, number], expected, atol=1e-5)


def test_the_labels_of_its_own_part_do_not_move_a_row():
    """Of values with as many rows each, the order is that of the other parts' labels."""
    rng = np.random.default_rng(2)
    values, folds = np.repeat(np.arange(40), 10 * FOLDS), np.tile(np.arange(FOLDS), 400)
    labels = (rng.random(2000) < rng.random(40)[values]).astype(int)
    others = np.where(folds == 2, rng.permutation(labels), labels)
    orders = [
        rankdata(learned(Statistics(2), values, folds, some)[1].reshape(-1, FOLDS)[:-1], axis=0)
        for some in (labels, others)
    ]
    np.testing.assert_array_equal(orders[0][:, 2], orders[1][:, 2])
    assert (orders[0][:, 1] != orders[1][:, 1]).any()


@pytest.mark.parametrize("values_per_row", [0.9, 0.3])
def test_random_labels_cannot_be_told_from_a_column_of_many_values(values_per_row):
    rng = np.random.default_rng(1)
    values = rng.integers(0, int(20_000 * values_per_row), 20_000)
    labels = rng.integers(0, 2, 20_000)
    found = encoded(values, rng.integers(0, FOLDS, 20_000), labels, 2)[:, 0]
    assert abs(roc_auc_score(labels, found) - 0.5) < 0.02
    # The mean over all rows, its own among them, gives the label away.
    leaking = pd.Series(labels).groupby(values).transform("mean")
    assert roc_auc_score(labels, leaking) > 0.75


def test_values_without_a_row_to_learn_from_become_the_mean_of_all():
    known, table = learned(Statistics(2), np.arange(10), np.arange(10) % FOLDS, np.arange(10) % 2)
    assert known.tolist() == [2**63 - 1]
    assert not table.any() and table.shape == (FOLDS, 1)
    statistics = Statistics(3)
    nobody = [statistics.create_accumulator(), None, statistics.create_accumulator()]
    nothing = statistics.extract_output(statistics.merge_accumulators(nobody))
    assert [part.shape for part in nothing] == [(1,), (FOLDS, 3)]


def test_rows_whose_label_is_none_are_passed_over():
    values, folds = np.array([1, 1, 1, 1]), np.array([0, 1, 2, 3])
    with_others = learned(Statistics(2), values, folds, np.array([0, 1, -1, -1]), parts=1)
    alone = learned(Statistics(2), values[:2], folds[:2], np.array([0, 1]), parts=1)
    for some, same in zip(with_others, alone, strict=True):
        np.testing.assert_array_equal(some, same)


def test_the_rarest_values_are_left_out_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr("models.target_encoding._MOST_NUMBERS", 2 * FOLDS)
    values = np.repeat([1, 2, 3], [2, 30, 20])
    folds, labels = np.arange(52) % FOLDS, (values == 2).astype(int)
    known, table = learned(Statistics(2), values, folds, labels)
    assert set(known[:-1]) == set(hashes(np.array([2, 3])))
    assert len(table) == 3 * FOLDS
