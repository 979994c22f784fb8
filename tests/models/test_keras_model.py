"""Training and export of the Keras model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models import history, keras_model
from models.bundle import Bundle
from models.dataset import Rows
from pipeline.features_config import FeaturesConfig
from pipeline.train_config import TrainConfig
from tests.models.conftest import SCHEMA, SETTINGS
from tests.models.transformed import Transformed, examples, transform

SIZES = [5]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """600 rows of 30 groups; the first number and the category decide three labels of four."""
    rng = np.random.default_rng(3)
    numbers = rng.normal(size=(600, 3)).astype(np.float32)
    categories = rng.integers(0, 5, (600, 1)).astype(np.int32)
    signal = numbers[:, 0] + (categories[:, 0] == 2) - 1
    labels = np.where(rng.random(600) < 0.75, signal > 0, rng.random(600) < 0.2)
    folds = np.repeat(rng.choice(1000, 30, replace=False), 20).astype(np.int32)
    ones = np.ones(600, np.float32)
    return Rows(numbers, categories, labels.astype(np.float32), folds, ones)


def settings(**changes: object) -> TrainConfig:
    keras = {"hidden_units": (8,), "batch_size": 64, "max_epochs": 3, "learning_rate": 0.02}
    keras |= {"dropout": 0.5} | changes.pop("keras", {})
    return TrainConfig.model_validate({"validation_share": 0.3, "keras": keras, **changes})


def test_one_seed_gives_the_same_weights_and_another_does_not(rows):
    models = [
        keras_model.train(rows, SIZES, settings(seed=seed))[0].get_weights() for seed in (1, 1, 2)
    ]
    first, again, other = models
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_training_goes_on_for_as_many_epochs_as_were_best_on_held_out_groups(rows):
    model, told, held_out_loss = keras_model.train(
        rows, SIZES, settings(keras={"max_epochs": 30, "patience": 2, "learning_rate": 0.1})
    )
    losses = told.search.held_out
    assert told.steps == int(np.argmin(losses)) + 1
    assert held_out_loss == min(losses)
    assert len(losses) == min(30, told.steps + 2)
    losses = told.training.learned
    assert len(losses) == told.steps
    assert losses[-1] < losses[0]
    prediction = np.asarray(model((rows.numbers, rows.categories)))
    assert prediction[rows.labels == 1].mean() > prediction[rows.labels == 0].mean() + 0.1


def test_a_given_number_of_epochs_is_not_searched_for(rows):
    _, told, held_out_loss = keras_model.train(rows, SIZES, settings(keras={"epochs": 2}))
    assert (told.steps, told.search, held_out_loss) == (2, None, None)
    assert len(told.training.learned) == 2


@pytest.mark.parametrize(("size", "at_once"), [(64, 8192), (64, 64), (50, 150), (700, 8192)])
def test_batches_have_every_row_once_and_are_as_large_as_asked_for(
    rows, monkeypatch, size, at_once
):
    monkeypatch.setattr(keras_model, "_ROWS_AT_ONCE", at_once)
    among = np.arange(5, 600)
    rows = replace(rows, weights=1 + 2 * rows.labels)
    mean = rows.weights[among].mean()
    dataset = keras_model.batches(rows, among, size, seed=1)
    for _ in range(2):
        found = [*dataset.as_numpy_iterator()]
        sizes = [len(labels) for _, labels, _ in found]
        assert sizes == [size] * (595 // size) + [595 % size] * (595 % size > 0)
        numbers = np.concatenate([numbers for (numbers, _), _, _ in found])
        assert sorted(numbers[:, 0]) == sorted(rows.numbers[among, 0])
        for (_, categories), labels, weight in found:
            assert categories.shape == (len(labels), 1)
            np.testing.assert_allclose(weight, (1 + 2 * labels[:, 0]) / mean, rtol=1e-6)
    assert len(dataset) == len(sizes)


def test_an_untrained_model_predicts_the_base_rate(rows):
    model = keras_model.build_members(2, rows, SIZES, settings().keras)
    average = float(np.mean(model((np.zeros((1, 3)), np.zeros((1, 1), int)))))
    assert average == pytest.approx(rows.labels.mean(), abs=1e-6)


def test_balanced_classes_raise_the_probability_of_the_rarer_one(rows):
    none, balanced = (
        np.mean(
            keras_model.train(rows, SIZES, settings(class_weight=mode))[0](
                (rows.numbers, rows.categories)
            )
        )
        for mode in ("none", "balanced")
    )
    assert none < balanced - 0.1


def test_a_search_tells_each_epoch_and_may_be_ended_by_whoever_listens(rows):
    told = []

    def report(epoch: int, loss: float) -> None:
        told.append((epoch, loss))
        if epoch == 2:
            raise StopIteration

    with pytest.raises(StopIteration):
        keras_model.search(rows, SIZES, settings(keras={"max_epochs": 9}), report=report)
    assert [epoch for epoch, _ in told] == [1, 2]


def test_the_loss_of_each_epoch_is_written_beside_the_model(model_folder: Path):
    folder = model_folder.parent / "run"
    told = history.read(folder)
    assert len(told.search.learned) == len(told.search.held_out) == SETTINGS.keras.max_epochs
    assert len(told.training.learned) == told.steps
    assert (folder / history.PLOT_FILE).read_text().startswith("<?xml")


def test_both_signatures_give_the_same_probabilities(
    model: Bundle, transformed: Transformed, table: pa.Table
):
    by_example = model.predict_examples(examples(table, transformed.schema))
    by_column = model.predict(table)
    np.testing.assert_allclose(by_example, by_column, atol=1e-6)
    assert by_example.std() > 0.001
    assert ((by_example > 0) & (by_example < 1)).all()


def test_raw_columns_have_the_types_that_say_what_may_be_missing(model: Bundle):
    assert model.inputs == {
        "distance": "int64",
        "wind": "float32",
        "carrier": "string",
        "gate": "float64",
        "hour": "int64",
        "angle": "float32",
    }


def test_a_process_with_tensorflow_alone_can_load_and_ask_the_model(
    model_folder: Path, model: Bundle, table: pa.Table, tmp_path: Path
):
    code = """
import sys, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
row = dict(distance=tf.constant([500], tf.int64), wind=tf.constant([float("nan")]),
           carrier=tf.constant([""]), gate=tf.constant([1.0], tf.float64),
           hour=tf.constant([7], tf.int64), angle=tf.constant([90.0]))
print(model.signatures["serving_raw"](**row)["probability"].numpy().tolist())
ours = ("tfx", "tensorflow_transform", "models", "pipeline")
assert not [name for name in sys.modules if name.split(".")[0] in ours]
"""
    # -I: neither this folder nor PYTHONPATH
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(model_folder)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    row = {"distance": 500, "wind": None, "carrier": None, "gate": 1, "hour": 7, "angle": 90}
    ((probability,),) = json.loads(done.stdout)
    assert probability == pytest.approx(float(model.predict([row])[0]), abs=1e-6)


def test_columns_of_any_name_are_served_and_rows_need_no_group(table: pa.Table, tmp_path: Path):
    names = {"distance": "distance (miles)", "carrier": "Träger/1", "hour": "class"}
    renamed = table.rename_columns([names.get(name, name) for name in table.column_names])
    schema = SCHEMA
    for old, new in names.items():
        schema = schema.replace(f'"{old}"', f'"{new}"')
    features = {
        "label": "late",
        "numeric": ["distance (miles)"],
        "categorical": ["Träger/1"],
        "cyclical": {"class": 24},
    }
    small = transform(
        tmp_path, renamed, schema=schema, features=FeaturesConfig.model_validate(features)
    )
    folds = small.columns()["fold"]
    assert len(set(folds)) > len(folds) / 2
    bundle = Bundle.load(small.train(SETTINGS, tmp_path))
    assert set(bundle.inputs) == set(names.values())
    by_example = bundle.predict_examples(examples(renamed, small.schema))
    np.testing.assert_allclose(by_example, bundle.predict(renamed), atol=1e-6)
