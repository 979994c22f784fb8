"""Training of the scikit-learn model, and its file."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from models import sklearn_model
from models.dataset import Rows
from pipeline.errors import UserError
from pipeline.train_config import TrainConfig
from tests.models.learnable import SIZES, base_entropy, entropy, learnable


@pytest.fixture(scope="module")
def rows() -> Rows:
    return learnable()


def settings(**changes: object) -> TrainConfig:
    hyper = BOOSTING | changes.pop("sklearn", {})
    return TrainConfig.model_validate({"validation_share": 0.3, "sklearn": hyper, **changes})


BOOSTING = {
    **{"model": "boosting", "max_trees": 60, "min_samples_leaf": 10, "max_leaf_nodes": 31},
    **{"l2_regularization": 10.0, "max_features": 0.3},
}
LINEAR = {"model": "linear"}


def predictions(rows: Rows, model: object, folder: Path) -> np.ndarray:
    sklearn_model.save(model, folder)
    return sklearn_model.load(folder)(rows.numbers, rows.categories)


@pytest.mark.parametrize("hyper", [{}, {"categories": "native"}, LINEAR])
def test_it_learns_more_than_the_base_rate(rows, hyper):
    _, _, held_out = sklearn_model.train(rows, SIZES, settings(sklearn=hyper))
    assert held_out < base_entropy(rows.labels) - 0.05


@pytest.mark.parametrize("categories", ["ordinal", "native"])
def test_trees_are_those_that_scikit_learn_grows_when_it_is_called_directly(
    rows, tmp_path, categories
):
    hyper = {"trees": 50, "categories": categories}
    model, history, _ = sklearn_model.train(rows, SIZES, settings(sklearn=hyper))
    x = np.hstack([rows.numbers, rows.categories])
    direct = HistGradientBoostingClassifier(
        max_iter=50,
        learning_rate=0.1,
        min_samples_leaf=10,
        l2_regularization=10,
        max_features=0.3,
        categorical_features=[3] if categories == "native" else None,
        early_stopping=False,
        random_state=TrainConfig().seed,
    ).fit(x, rows.labels)
    said = predictions(rows, model, tmp_path)
    np.testing.assert_allclose(said, direct.predict_proba(x)[:, 1], atol=1e-6)
    losses = [entropy(rows.labels, p[:, 1]) for p in direct.staged_predict_proba(x)]
    np.testing.assert_allclose(history.training.learned, losses, atol=1e-6)


def test_the_linear_model_is_logistic_regression_on_numbers_and_one_hot_categories(rows, tmp_path):
    model, history, held_out = sklearn_model.train(rows, SIZES, settings(sklearn=LINEAR))
    x = np.hstack([np.eye(SIZES[0])[rows.categories[:, 0]], rows.numbers])
    expected = LogisticRegression(max_iter=500).fit(x, rows.labels).predict_proba(x)[:, 1]
    np.testing.assert_allclose(predictions(rows, model, tmp_path), expected, atol=1e-4)
    assert (history.step, history.steps) == ("fit", 1)
    assert history.search.held_out == (held_out,)
    assert history.training.learned == (pytest.approx(entropy(rows.labels, expected), abs=1e-4),)


def test_there_are_as_many_trees_as_were_best_on_held_out_groups(rows):
    model, history, held_out = sklearn_model.train(rows, SIZES, settings())
    learn, stop = (rows.take(part) for part in rows.hold_out(0.3))
    part, _, _ = sklearn_model.train(learn, SIZES, settings(sklearn={"trees": 60}))
    x = sklearn_model.matrix(stop.numbers, stop.categories)
    losses = [entropy(stop.labels, p[:, 1]) for p in part.staged_predict_proba(x)]
    found = history.search.held_out
    np.testing.assert_allclose(found, losses[: len(found)], atol=1e-9)
    assert history.steps == int(np.argmin(losses)) + 1 == model.n_iter_
    assert held_out == min(found)
    assert len(history.search.learned) == len(found)
    assert len(history.training.learned) == history.steps


def test_a_search_without_progress_ends_before_the_last_tree(rows):
    hyper = {"max_trees": 300, "learning_rate": 0.5, "patience": 5}
    curve = sklearn_model.search(rows, SIZES, settings(sklearn=hyper))
    assert curve.best_step + 5 <= len(curve.held_out) < 300


@pytest.mark.parametrize("trees", [1, 20, 33])
def test_a_given_number_of_trees_is_not_searched_for(rows, trees):
    model, history, held_out = sklearn_model.train(rows, SIZES, settings(sklearn={"trees": trees}))
    assert (history.search, held_out) == (None, None)
    assert model.n_iter_ == history.steps == len(history.training.learned) == trees


def test_one_seed_gives_the_same_trees_and_another_does_not(rows, tmp_path):
    first, again, other = (
        predictions(rows, sklearn_model.train(rows, SIZES, settings(seed=seed))[0], tmp_path)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("hyper", [{"trees": 30}, LINEAR])
def test_balanced_classes_raise_the_probability_of_the_rarer_one(rows, tmp_path, hyper):
    means = {}
    for mode in ("none", "balanced"):
        model, _, _ = sklearn_model.train(rows, SIZES, settings(class_weight=mode, sklearn=hyper))
        means[mode] = predictions(rows, model, tmp_path).mean()
    assert means["none"] == pytest.approx(rows.labels.mean(), abs=0.02)
    assert means["balanced"] > means["none"] + 0.1


def test_the_search_says_each_held_out_loss_and_can_be_stopped(rows):
    told = []

    def report(tree: int, loss: float) -> None:
        told.append((tree, loss))
        if tree == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sklearn_model.search(rows, SIZES, settings(), report=report)
    losses = sklearn_model.search(rows, SIZES, settings()).held_out
    assert told == list(enumerate(losses[:4], start=1))


@pytest.mark.parametrize("hyper", [{}, {"categories": "native"}, LINEAR])
def test_a_saved_model_says_the_same_to_the_bit(rows, tmp_path, hyper):
    model, _, _ = sklearn_model.train(rows, SIZES, settings(sklearn=hyper))
    said = predictions(rows, model, tmp_path)
    x = sklearn_model.matrix(rows.numbers, rows.categories)
    np.testing.assert_array_equal(said, model.predict_proba(x)[:, 1].astype(np.float32))
    assert said.dtype == np.float32 and said.shape == (len(rows),)


@pytest.mark.parametrize("hyper", [{"categories": "native"}, LINEAR])
def test_a_category_that_training_never_met_is_answered(rows, tmp_path, hyper):
    model, _, _ = sklearn_model.train(rows, SIZES, settings(sklearn=hyper))
    sklearn_model.save(model, tmp_path)
    (said,) = sklearn_model.load(tmp_path)(rows.numbers[:1], np.array([[99]], np.int32))
    assert 0 < said < 1


def test_a_category_of_more_values_than_scikit_learn_splits_is_taken_as_a_number(rows):
    many = replace(rows, categories=rows.categories * 90)
    hyper = {"categories": "native", "trees": 5}
    model, _, _ = sklearn_model.train(many, [361], settings(sklearn=hyper))
    assert not np.any(model.is_categorical_)


def test_a_file_with_types_that_are_not_trusted_is_refused(tmp_path):
    skops.io.dump(np.random.default_rng, tmp_path / sklearn_model.FILE)
    with pytest.raises(UserError, match=r"model\.skops"):
        sklearn_model.load(tmp_path)


def test_an_estimator_that_does_not_predict_is_refused(tmp_path):
    skops.io.dump(StandardScaler(), tmp_path / sklearn_model.FILE)
    with pytest.raises(UserError, match="holds nothing that predicts, but a StandardScaler"):
        sklearn_model.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"no model", pickle.dumps(RandomForestClassifier())],
    ids=["", "text", "pickle"],
)
def test_a_foreign_file_is_refused_in_words(tmp_path, content):
    (tmp_path / sklearn_model.FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"model\.skops holds no scikit-learn model"):
        sklearn_model.load(tmp_path)
