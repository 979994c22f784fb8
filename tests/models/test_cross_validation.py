"""Tests of models.cross_validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models import cross_validation, dataset, manifest, problems, target_encoding, training
from models.bundle import Predict
from models.dataset import Rows
from models.features import ModelInputs
from models.out_of_fold import OutOfFold
from pipeline.errors import UserError
from pipeline.evaluate_config import CrossValidation
from pipeline.train_config import Framework, TrainConfig
from tests.models.conftest import ROWS
from tests.models.transformed import Transformed, examples

TWICE = CrossValidation(folds=3, repeats=2)


def make_rows(labels: NDArray[Any], *, classes: int, groups: NDArray[Any] | None = None) -> Rows:
    """Rows whose only number is their place."""
    rows = len(labels)
    return Rows(
        np.arange(rows, dtype=np.float32)[:, None],
        np.zeros((rows, 0), np.int32),
        labels.astype(np.float32),
        (np.arange(rows) if groups is None else groups).astype(np.int32),
        np.ones(rows, np.float32),
        classes,
    )


def parts(rows: Rows, folds: int = 3, seed: int = 0) -> NDArray[np.int64]:
    return cross_validation.parts(rows, folds, np.random.default_rng(seed))


def test_each_part_has_its_share_of_every_class() -> None:
    rows = make_rows(np.repeat([0, 1, 2], [30, 12, 3]), classes=3)
    part = parts(rows)
    counts = [np.bincount(rows.labels[part == n].astype(int)).tolist() for n in range(3)]
    assert counts == [[10, 4, 1]] * 3


def test_each_part_has_its_share_of_small_and_large_values() -> None:
    labels = np.random.default_rng(0).lognormal(size=300)
    part = parts(make_rows(labels, classes=0))
    assert np.bincount(part).tolist() == [100] * 3
    shares = [np.mean(labels[part == number] > np.quantile(labels, 0.9)) for number in range(3)]
    np.testing.assert_allclose(shares, 0.1, atol=0.011)


def test_groups_are_kept_whole_and_fall_otherwise_each_time() -> None:
    days = np.repeat(np.arange(12), np.arange(1, 13))
    rows = make_rows(days % 2, classes=2, groups=days)
    found = [parts(rows, seed=seed) for seed in range(5)]
    for part in found:
        assert all(len(np.unique(part[days == day])) == 1 for day in range(12))
        assert set(part) == {0, 1, 2}
    assert len({part.tobytes() for part in found}) == 5
    np.testing.assert_array_equal(found[3], parts(rows, seed=3))


def test_fewer_groups_than_parts_are_refused() -> None:
    rows = make_rows(np.arange(9) % 2, classes=2, groups=np.arange(9) // 5)
    with pytest.raises(UserError, match=r"folds = 3, and the rows are of 2 groups"):
        parts(rows)


def test_a_class_that_is_in_one_part_alone_is_refused() -> None:
    rows = make_rows(np.arange(9) == 4, classes=2)
    with pytest.raises(UserError, match="all labels are the same"):
        cross_validation.predict([], rows, TWICE, fit=lambda rows: None, seed=0)  # type: ignore


def test_no_row_is_predicted_by_a_model_that_has_learned_from_it() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 90)
    rows = make_rows(labels, classes=3)

    def fit(learned: Rows) -> Predict:
        """Says class 1 of the rows that were learned from, else class 0."""
        known = learned.numbers[:, 0]
        return lambda numbers, categories: np.eye(3, dtype=np.float32)[
            np.isin(numbers[:, 0], known).astype(int)
        ]

    keys = OutOfFold.keys([str(place).encode() for place in range(90)])
    found, loss = cross_validation.predict(keys, rows, TWICE, fit=fit, seed=0)
    said = found.predictions(keys)
    assert said.shape == (2, 90, 3)
    assert (said[..., 0] == 1).all()
    expected = problems.mean_loss(said[0], rows.labels, rows.weights, 3)
    assert loss == pytest.approx(expected)


def test_target_statistics_do_not_tell_the_labels_that_judge() -> None:
    labels, values = np.random.default_rng(0).integers(0, 2, 600), np.arange(600) // 5
    rows = make_rows(labels, classes=2)
    of_all = target_encoding.anew(
        values, fold=np.arange(600) % 5, labels=labels, classes=2, learn=np.ones(600, bool)
    )
    rows = replace(rows, numbers=np.column_stack([of_all, values]).astype(np.float32))

    def fit(learned: Rows) -> Predict:
        """What is encoded higher than others with its value lacks a lower label: its own."""

        def says(numbers: NDArray[np.float32], categories: NDArray[np.int32]) -> Any:
            alike = learned.numbers[:, 1] == numbers[:, 1:]
            means = (alike * learned.numbers[:, 0]).sum(axis=1) / np.maximum(alike.sum(axis=1), 1)
            return (numbers[:, 0] < means).astype(np.float32)

        return says

    keys = OutOfFold.keys([str(place).encode() for place in range(600)])
    found, _ = cross_validation.predict(
        keys, rows, TWICE, fit=fit, seed=0, target_encoded={0: values}
    )
    assert np.mean(found.predictions(keys) == labels) < 0.6


def test_rows_that_are_the_same_are_kept_once() -> None:
    rows = make_rows(np.arange(12) % 2, classes=2, groups=np.arange(12) // 2)
    keys = OutOfFold.keys([str(place // 2).encode() for place in range(12)])

    def fit(learned: Rows) -> Predict:
        return lambda numbers, categories: np.full(len(numbers), 0.5, np.float32)

    found, _ = cross_validation.predict(keys, rows, TWICE, fit=fit, seed=0)
    assert found.values.shape == (2, 6)


@pytest.fixture(scope="module")
def raw(transformed: Transformed, table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The raw rows in two files, a pattern each."""
    folder = tmp_path_factory.mktemp("raw")
    rows = examples(table, transformed.schema)
    for name, some in (("a", rows[:300]), ("b", rows[300:])):
        with tf.io.TFRecordWriter(str(folder / f"{name}.gz"), "GZIP") as file:
            for row in some:
                file.write(row)
    return rows, [str(folder / "a*"), str(folder / "b*")]


def test_raw_rows_become_what_transform_makes_of_them(transformed: Transformed, raw: Any) -> None:
    rows, patterns = raw
    graph = transformed.graph
    inputs = ModelInputs.of(
        transformed.features, graph.transformed_feature_spec(), graph.vocabulary_size_by_name
    )
    keys, found, _ = cross_validation.read(patterns, inputs, graph, classes=2, weights=[0.5, 1])
    expected = dataset.read([transformed.pattern], inputs)
    assert keys == OutOfFold.keys(rows)
    for name in ("numbers", "categories", "labels", "folds"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)
    np.testing.assert_array_equal(found.weights, np.repeat([0.5, 1], [300, 100]))


def test_a_bundle_tells_of_all_its_rows_what_it_would_say_without_them(
    transformed: Transformed, raw: Any, tmp_path: Path
) -> None:
    rows, patterns = raw
    task = training.Task(
        train_files=patterns,
        transform_graph=str(transformed.folder / "transform_graph"),
        features=transformed.features,
        settings=TrainConfig.model_validate({"sklearn": {"trees": 3}}),
        model_folder=tmp_path / "model",
        run_folder=tmp_path / "run",
        cross_validation=TWICE,
    )
    written = training.run(Framework.SKLEARN, task)
    manifest.verify(task.model_folder, written)
    found = OutOfFold.of(task.model_folder)
    assert found is not None
    said = found.predictions(OutOfFold.keys(rows))
    assert said.shape == (2, ROWS)
    assert 0 < said.min() < said.max() < 1
    assert written.held_out_loss is not None and 0.4 < written.held_out_loss < 0.69


def test_a_spent_keras_model_learns_as_a_new_one_does() -> None:
    from models import keras_model

    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(80, 2)).astype(np.float32)
    rows = replace(make_rows(numbers[:, 0] > 0.3, classes=2), numbers=numbers)
    settings = TrainConfig.model_validate({"keras": {"epochs": 2, "members": 1}})
    parts = [rows.take(np.arange(80) % 2 == number) for number in (0, 1)]

    def says(part: Rows) -> NDArray[np.float32]:
        model, *_ = keras_model.train(part, [], settings)
        return np.asarray(keras_model.predicted(model, rows.numbers, rows.categories))

    with keras_model.spent_models():
        spent = [says(part) for part in parts]
    np.testing.assert_array_equal(spent[1], says(parts[1]))
    assert not np.array_equal(*spent)
