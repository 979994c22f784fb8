"""Transformed examples as arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models import dataset
from models.dataset import Rows
from models.features import FOLDS, ModelInputs
from pipeline.errors import UserError
from pipeline.train_config import TrainConfig

INPUTS = ModelInputs(("x", "y"), ("c",), (5,))


def write(file: Path, numbers: range) -> str:
    """Row n has x = n, y = -n, category n % 5, fold n % 7 and label n % 2."""
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for n in numbers:
            floats = {"x": n, "y": -n}
            ints = {"c": n % 5, "fold": n % 7, "label": n % 2}
            feature = {
                **{k: tf.train.Feature(float_list={"value": [v]}) for k, v in floats.items()},
                **{k: tf.train.Feature(int64_list={"value": [v]}) for k, v in ints.items()},
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return str(file)


def rows(folds: list[int]) -> Rows:
    n = len(folds)
    return Rows(
        np.arange(n, dtype=np.float32)[:, None],
        np.zeros((n, 0), np.int32),
        np.zeros(n, np.float32),
        np.array(folds, np.int32),
        np.ones(n, np.float32),
    )


@pytest.mark.parametrize("memory_budget", [1.0, 1e-6, 1e-12])
def test_rows_are_read_from_all_files_in_order(tmp_path, monkeypatch, memory_budget):
    monkeypatch.setattr(dataset, "_ROWS_AT_ONCE", 8)
    write(tmp_path / "b-1.gz", range(13, 30))
    write(tmp_path / "a-0.gz", range(13))
    read = dataset.read([str(tmp_path / "*")], INPUTS, memory_budget=memory_budget)
    assert isinstance(read.numbers, np.memmap) == (memory_budget < 1)
    n = np.arange(30)
    np.testing.assert_array_equal(read.numbers, np.stack([n, -n], axis=1))
    np.testing.assert_array_equal(read.categories, n[:, None] % 5)
    np.testing.assert_array_equal(read.labels, n % 2)
    np.testing.assert_array_equal(read.folds, n % 7)
    np.testing.assert_array_equal(read.weights, np.ones(30))


@pytest.mark.parametrize("memory_budget", [1.0, 1e-12])
def test_rows_weigh_what_is_said_of_the_files_that_they_are_in(tmp_path, memory_budget):
    newer, older = write(tmp_path / "a.gz", range(3)), write(tmp_path / "b.gz", range(3, 8))
    found = dataset.read([older, newer], INPUTS, weights=[0.25, 1.0], memory_budget=memory_budget)
    np.testing.assert_array_equal(found.numbers[:, 0], np.arange(8))
    np.testing.assert_array_equal(found.weights, [1.0] * 3 + [0.25] * 5)


def test_rows_of_files_that_are_known_already_are_not_held_out(tmp_path):
    newer, older = write(tmp_path / "a.gz", range(7)), write(tmp_path / "b.gz", range(7, 14))
    found = dataset.read([older, newer], INPUTS, never_held_out=[True, False])
    learn, stop = found.hold_out(3 / FOLDS)
    np.testing.assert_array_equal(found.numbers[stop, 0], [0, 1, 2])
    np.testing.assert_array_equal(found.numbers[learn, 0], np.arange(3, 14))


def test_a_row_counts_half_of_one_that_is_a_half_life_newer():
    assert dataset.weights_by_age([3, 5, 7], 2.0) == [0.25, 0.5, 1.0]
    assert dataset.weights_by_age([4, 1], 1.5) == [1.0, 0.25]
    assert dataset.weights_by_age([3, 5], None) == [1.0, 1.0]


def test_balanced_classes_weigh_the_same_in_sum_and_old_rows_less_within_theirs():
    labels = np.array([0] * 30 + [1] * 10, np.float32)
    weights = np.where(np.arange(40) % 2, 1.0, 0.5).astype(np.float32)
    some = replace(rows([0] * 40), labels=labels, weights=weights)
    assert dataset.row_weights(some, TrainConfig()) is weights
    balanced = dataset.row_weights(some, TrainConfig(class_weight="balanced"))
    assert balanced.dtype == np.float32
    assert balanced[labels == 0].sum() == pytest.approx(balanced[labels == 1].sum())
    assert balanced.sum() == pytest.approx(weights.sum())
    np.testing.assert_allclose(balanced[1::2], 2 * balanced[::2])


def test_vectors_lie_beside_numbers_and_labels_may_be_values(tmp_path):
    """Row n has the vector n, n + 1, n + 2, x = -n and the label n / 2."""
    file = str(tmp_path / "a.gz")
    with tf.io.TFRecordWriter(file, "GZIP") as writer:
        for n in range(4):
            floats = {"words": [n, n + 1, n + 2], "x": [-n], "label": [n / 2]}
            feature = {k: tf.train.Feature(float_list={"value": v}) for k, v in floats.items()}
            feature["fold"] = tf.train.Feature(int64_list={"value": [n]})
            row = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(row.SerializeToString())
    inputs = ModelInputs(("words", "x"), (), (), {"words": 3})
    found = dataset.read([file], inputs, classes=0)
    np.testing.assert_array_equal(found.numbers[2], [2, 3, 4, -2])
    np.testing.assert_array_equal(found.labels, [0, 0.5, 1, 1.5])
    assert found.classes == found.take(slice(2)).classes == 0


def test_a_label_that_is_no_class_is_refused(tmp_path):
    with pytest.raises(UserError, match="is none of the 1 classes: name all"):
        dataset.read([write(tmp_path / "a.gz", range(9))], INPUTS, classes=1)


def test_each_of_several_classes_weighs_the_same_and_values_as_they_did():
    labels = np.array([0] * 6 + [2] * 3, np.float32)
    some = replace(rows([0] * 9), labels=labels, classes=3)
    balanced = dataset.row_weights(some, TrainConfig(class_weight="balanced"))
    np.testing.assert_allclose(balanced, [0.75] * 6 + [1.5] * 3)
    values = replace(some, classes=0)
    assert dataset.row_weights(values, TrainConfig(class_weight="balanced")) is values.weights


@pytest.mark.parametrize("memory_budget", [1.0, 1e-12])
def test_a_model_may_have_no_numbers_or_no_categories(tmp_path, memory_budget):
    file, budget = write(tmp_path / "a.gz", range(9)), {"memory_budget": memory_budget}
    assert dataset.read([file], ModelInputs((), ("c",), (5,)), **budget).numbers.shape == (9, 0)
    assert dataset.read([file], ModelInputs(("x",), (), ()), **budget).categories.shape == (9, 0)


def test_no_rows_are_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="no rows to learn from"):
        dataset.read([write(tmp_path / "a.gz", range(0))], INPUTS)


def test_groups_are_held_out_whole():
    folds = np.repeat(np.arange(0, 1000, 10), 20).tolist()
    learn, stop = rows(folds).hold_out(0.25)
    assert sorted([*learn, *stop]) == list(range(2000))
    assert len(stop) == 500
    assert not {folds[i] for i in learn} & {folds[i] for i in stop}


@pytest.mark.parametrize(("fold", "what"), [(3, "learn from"), (999, "stop by")])
def test_one_group_alone_cannot_be_held_out(fold, what):
    with pytest.raises(UserError, match=rf"no rows to {what}.*has 1\."):
        rows([fold] * 10).hold_out(0.1)


def test_an_epoch_has_every_row_once_in_an_order_that_the_seed_decides():
    among = np.arange(3, 100)

    def epoch(seed: int | None) -> list[np.ndarray]:
        rng = None if seed is None else np.random.default_rng(seed)
        return [b.numbers[:, 0] for b in rows([0] * 120).batches(16, among=among, rng=rng)]

    assert [len(batch) for batch in epoch(1)] == [16] * 6 + [1]
    first, again, other, ordered = (np.concatenate(epoch(seed)) for seed in (1, 1, 2, None))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert sorted(first) == list(among) == list(ordered)
