"""Training of the XGBoost model, and its file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from models import xgboost_model
from models.dataset import Rows
from pipeline.errors import UserError
from pipeline.train_config import TrainConfig
from tests.models.learnable import SIZES, base_entropy, entropy, learnable


@pytest.fixture(scope="module")
def rows() -> Rows:
    return learnable()


def settings(**changes: object) -> TrainConfig:
    hyper = {"max_trees": 60, "patience": 10, "min_child_weight": 1, "max_depth": 6}
    hyper |= {"reg_lambda": 10, "colsample_bytree": 0.4} | changes.pop("xgboost", {})
    return TrainConfig.model_validate({"validation_share": 0.3, "xgboost": hyper, **changes})


def predictions(rows: Rows, model: xgb.Booster, folder: Path) -> np.ndarray:
    xgboost_model.save(model, folder)
    return xgboost_model.load(folder)(rows.numbers, rows.categories)


def test_it_learns_more_than_the_base_rate(rows, tmp_path):
    _, _, held_out = xgboost_model.train(rows, SIZES, settings())
    assert held_out < base_entropy(rows.labels) - 0.05


@pytest.mark.parametrize("categories", ["ordinal", "native"])
def test_it_grows_the_trees_that_xgboost_grows_when_it_is_called_directly(
    rows, tmp_path, categories
):
    hyper = {"trees": 12, "categories": categories, "subsample": 1, "colsample_bytree": 1}
    model, history, _ = xgboost_model.train(rows, SIZES, settings(xgboost=hyper))
    x = np.hstack([rows.numbers, rows.categories.astype(np.float32)])
    direct = xgb.XGBClassifier(
        n_estimators=12,
        learning_rate=0.05,
        max_depth=6,
        min_child_weight=1,
        reg_lambda=10,
        tree_method="hist",
        feature_types=["q"] * 3 + ["c" if categories == "native" else "q"],
        enable_categorical=True,
        random_state=TrainConfig().seed,
    ).fit(x, rows.labels)
    expected = direct.predict_proba(x)[:, 1]
    said = predictions(rows, model, tmp_path)
    np.testing.assert_allclose(said, expected, atol=1e-6)
    assert history.training.learned[-1] == pytest.approx(entropy(rows.labels, said), abs=1e-5)


def test_there_are_as_many_trees_as_were_best_on_held_out_groups(rows):
    model, history, held_out = xgboost_model.train(rows, SIZES, settings())
    learn, stop = rows.hold_out(0.3)
    losses = []
    for trees in range(1, 61):
        part, _, _ = xgboost_model.train(
            rows.take(learn), SIZES, settings(xgboost={"trees": trees})
        )
        some = rows.take(stop)
        x = xgboost_model.matrix(some.numbers, some.categories)
        losses.append(entropy(some.labels, part.inplace_predict(x)))
    found = history.search.held_out
    np.testing.assert_allclose(found, losses[: len(found)], atol=1e-5)
    assert history.steps == history.search.best_step == model.num_boosted_rounds()
    assert len(found) == min(60, history.steps + 10)
    assert held_out == min(found)
    assert len(history.training.learned) == history.steps
    assert history.training.learned[-1] < history.training.learned[0]


def test_a_given_number_of_trees_is_not_searched_for(rows):
    model, history, held_out = xgboost_model.train(rows, SIZES, settings(xgboost={"trees": 3}))
    assert (history.search, held_out) == (None, None)
    assert model.num_boosted_rounds() == history.steps == len(history.training.learned) == 3


def test_one_seed_gives_the_same_trees_and_another_does_not(rows):
    first, again, other = (
        xgboost_model.train(rows, SIZES, settings(seed=seed))[0].save_raw() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_balanced_classes_raise_the_probability_of_the_rarer_one(rows, tmp_path):
    means = {}
    for mode in ("none", "balanced"):
        model, _, _ = xgboost_model.train(
            rows, SIZES, settings(class_weight=mode, xgboost={"trees": 20})
        )
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
        xgboost_model.search(rows, SIZES, settings(), report=report)
    losses = xgboost_model.search(rows, SIZES, settings()).held_out
    assert told == list(enumerate(losses[:4], start=1))


def test_a_saved_model_says_the_same_to_the_bit(rows, tmp_path):
    model, _, _ = xgboost_model.train(rows, SIZES, settings(xgboost={"categories": "native"}))
    x = xgboost_model.matrix(rows.numbers, rows.categories)
    said = predictions(rows, model, tmp_path)
    np.testing.assert_array_equal(said, model.inplace_predict(x))
    assert said.dtype == np.float32 and said.shape == (len(rows),)
    loaded = xgboost_model.load(tmp_path)
    np.testing.assert_array_equal(loaded(rows.numbers[:1], rows.categories[:1]), said[:1])


def test_a_category_that_training_never_met_is_answered(rows, tmp_path):
    model, _, _ = xgboost_model.train(rows, SIZES, settings(xgboost={"categories": "native"}))
    xgboost_model.save(model, tmp_path)
    (said,) = xgboost_model.load(tmp_path)(rows.numbers[:1], np.array([[99]], np.int32))
    assert 0 < said < 1


def test_rows_in_batches_and_on_disk_give_what_rows_in_memory_do(rows, tmp_path, monkeypatch):
    names = [field.name for field in fields(rows) if field.name != "classes"]
    for name in names:
        np.save(tmp_path / f"{name}.npy", getattr(rows, name))
    mapped = Rows(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in names))
    whole, _, held_out = xgboost_model.train(rows, SIZES, settings())
    same, _, _ = xgboost_model.train(mapped, SIZES, settings())
    assert same.save_raw() == whole.save_raw()
    monkeypatch.setattr(xgboost_model, "_ROWS_AT_ONCE", 128)
    _, _, in_batches = xgboost_model.train(rows, SIZES, settings())
    assert in_batches == pytest.approx(held_out, abs=0.01)


def test_a_value_that_is_a_little_off_when_it_is_served_falls_on_the_same_side_of_a_cut(
    rows, tmp_path
):
    model, _, _ = xgboost_model.train(rows, SIZES, settings())
    said = predictions(rows, model, tmp_path)
    predict = xgboost_model.load(tmp_path)
    for direction in (-np.inf, np.inf):
        off = np.nextafter(rows.numbers, np.float32(direction))
        np.testing.assert_array_equal(predict(off, rows.categories), said)


@pytest.mark.parametrize("content", [b"", b"no trees", b"\x80\x04K\x01."])
def test_a_foreign_file_is_refused_in_words(tmp_path, content):
    (tmp_path / xgboost_model.FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"model\.ubj holds no XGBoost model"):
        xgboost_model.load(tmp_path)
