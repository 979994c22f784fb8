"""What every framework learns of each problem, and the losses and beginnings that are common."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from models import problems, warm
from models.bundle import by_row
from models.dataset import Rows
from pipeline.train_config import TrainConfig

SIZES = [3]
_NETWORK = {"hidden_units": (16,), "members": 2, "max_epochs": 8, "learning_rate": 0.05}
HYPER: dict[str, dict[str, Any]] = {
    "keras": _NETWORK,
    "pytorch": _NETWORK | {"device": "cpu"},
    "sklearn": {"model": "boosting", "max_trees": 20, "learning_rate": 0.3},
    "xgboost": {"max_trees": 50, "learning_rate": 0.3},
}
FRAMEWORKS = [*HYPER]


def make_rows(classes: int, count: int = 400) -> Rows:
    """Rows of which the first number and the category decide nearly all."""
    rng = np.random.default_rng(2)
    numbers = rng.normal(size=(count, 3)).astype(np.float32)
    categories = rng.integers(0, SIZES[0], (count, 1)).astype(np.int32)
    signal = numbers[:, 0] + categories[:, 0] + 0.1 * rng.normal(size=count)
    if classes:
        labels = np.digitize(signal, np.quantile(signal, np.arange(1, classes) / classes))
    else:
        # Far from 0, and of few thousands: as prices are.
        labels = 250_000 + 2_000 * signal
    folds = rng.integers(0, 1000, count).astype(np.int32)
    ones = np.ones(count, np.float32)
    return Rows(numbers, categories, labels.astype(np.float32), folds, ones, classes)


def settings(framework: str, **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({framework: HYPER[framework] | changes})


def framework_module(framework: str) -> Any:
    if framework == "pytorch":
        pytest.importorskip("torch", reason="PyTorch is an extra: make setup EXTRAS=pytorch")
    return importlib.import_module(f"models.{framework}_model")


def said_by(module: Any, model: Any, rows: Rows, folder: Path) -> np.ndarray:
    """What a model says once it is saved, where it is loaded from its own file."""
    module.save(model, folder)
    if hasattr(module, "predicted"):
        return by_row(module.predicted(model, rows.numbers, rows.categories))
    return module.load(folder)(rows.numbers, rows.categories)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_several_classes_are_told_apart(framework: str, tmp_path: Path) -> None:
    module, rows = framework_module(framework), make_rows(4)
    model, history, held_out = module.train(rows, SIZES, settings(framework))
    said = said_by(module, model, rows, tmp_path)
    assert (said.shape, said.dtype) == ((len(rows), 4), np.float32)
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)
    assert (said.argmax(1) == rows.labels).mean() > 0.8
    assert held_out < 0.7 * np.log(4)
    assert history.search.best_loss == held_out


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_values_are_predicted_in_the_label_s_unit(framework: str, tmp_path: Path) -> None:
    module, rows = framework_module(framework), make_rows(0)
    model, history, held_out = module.train(rows, SIZES, settings(framework))
    said = said_by(module, model, rows, tmp_path)
    assert (said.shape, said.dtype) == ((len(rows),), np.float32)
    variance = rows.labels.astype(np.float64).var()
    assert np.square(said - rows.labels).mean() < 0.3 * variance
    # Losses are in the label's unit as well, squared.
    assert 0.001 * variance < held_out < 0.4 * variance
    assert history.training.learned[-1] < 0.6 * variance


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_class_that_training_never_meets_is_still_a_column(
    framework: str, tmp_path: Path
) -> None:
    module, rows = framework_module(framework), make_rows(4, 200)
    some = rows.take(rows.labels != 2)
    steps = {"epochs": 2} if framework in ("keras", "pytorch") else {"trees": 5}
    model, _, _ = module.train(some, SIZES, settings(framework, **steps))
    said = said_by(module, model, rows, tmp_path)
    assert said.shape == (len(rows), 4)
    assert said[:, 2].max() < 0.25


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("framework", ["keras", "pytorch", "xgboost"])
def test_a_training_goes_on_from_a_model_of_the_same_problem(
    framework: str, classes: int, tmp_path: Path
) -> None:
    module, rows = framework_module(framework), make_rows(classes, 300)
    one = {} if framework == "xgboost" else {"members": 1, "max_epochs": 3}
    steps = {"trees": 10} if framework == "xgboost" else {"epochs": 3}
    model, _, _ = module.train(rows, SIZES, settings(framework, **one, **steps))
    before = said_by(module, model, rows, tmp_path)
    # Other rows, whose labels have another scale: what is known stays in its own.
    new = replace(rows, labels=rows.labels if classes else rows.labels + 500)
    on = settings(framework, **one)
    told = module.train(new, SIZES, on, tmp_path)[1]
    _, stop = new.hold_out(on.validation_share)
    expected = problems.mean_loss(before[stop], new.labels[stop], new.weights[stop], classes)
    assert told.search.before == pytest.approx(expected, rel=1e-3)
    assert told.search.best_loss <= told.search.before


@pytest.mark.parametrize("framework", ["keras", "pytorch"])
def test_networks_of_other_classes_are_not_gone_on_from(framework: str, tmp_path: Path) -> None:
    module = framework_module(framework)
    model, _, _ = module.train(make_rows(3, 100), SIZES, settings(framework, epochs=1))
    module.save(model, tmp_path)
    with pytest.raises(warm.Unfit, match="the model before"):
        module.train(make_rows(4, 100), SIZES, settings(framework, epochs=1), tmp_path)


def test_of_few_rows_the_linear_model_is_taken_where_it_is_better_for_rows_held_out() -> None:
    from models import sklearn_model

    rows = make_rows(0, 200)
    straight = replace(rows, labels=rows.numbers @ np.array([3, 2, 1], np.float32))
    few = TrainConfig.model_validate({"sklearn": {"max_trees": 20}})
    _, history, held_out = sklearn_model.train(straight, SIZES, few)
    assert (history.step, history.steps) == ("fit", 1)
    assert held_out < 0.01
    bent = replace(rows, labels=np.abs(rows.numbers[:, 0]))
    assert sklearn_model.train(bent, SIZES, few)[1].step == "tree"


@pytest.mark.parametrize("classes", [2, 3])
def test_the_loss_of_classes_is_scikit_learn_s(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels, weights = rng.integers(0, classes, 50), rng.uniform(0.5, 2, 50).astype(np.float32)
    said = rng.dirichlet(np.ones(classes), 50)
    expected = log_loss(labels, said, sample_weight=weights, labels=range(classes))
    given = said[:, 1] if classes == 2 else said
    found = problems.mean_loss(given, labels.astype(np.float32), weights, classes)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_begins_at_the_shares_of_the_classes(classes: int) -> None:
    rows = make_rows(classes)
    weights = np.where(rows.labels == 1, 3, 1).astype(np.float32)
    logits = problems.base_logits(rows, weights)
    mass = np.bincount(rows.labels.astype(int), weights=weights)
    if classes == 2:
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), mass[1:] / mass.sum())
    else:
        np.testing.assert_allclose(np.exp(logits), mass / mass.sum())
