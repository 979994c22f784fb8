"""Rows that weigh less teach a model less, whatever it is made with."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from models.bundle import by_row
from models.dataset import Rows, weights_by_age
from pipeline.train_config import Framework, TrainConfig

COUNT = 800
NETWORK = {"hidden_units": (8,), "members": 1, "dropout": 0.0, "learning_rate": 0.02}
SETTINGS = {
    "keras": NETWORK | {"epochs": 4, "batch_size": 32},
    "pytorch": NETWORK | {"epochs": 4, "batch_size": 32, "device": "cpu"},
    "sklearn": {"trees": 20, "min_samples_leaf": 5},
    "xgboost": {"trees": 40, "min_child_weight": 1},
}


def spans_that_disagree(half_life: float | None) -> Rows:
    """Label 1 where the number is above 0 in the newer span, and where it is below in the older."""
    rng = np.random.default_rng(3)
    numbers = rng.normal(size=(COUNT, 1)).astype(np.float32)
    is_newer = np.arange(COUNT) % 2 == 1
    older, newer = weights_by_age([1, 2], half_life)
    return Rows(
        numbers,
        np.zeros((COUNT, 0), np.int32),
        ((numbers[:, 0] > 0) == is_newer).astype(np.float32),
        (np.arange(COUNT) // 20 * 20).astype(np.int32),
        np.where(is_newer, newer, older).astype(np.float32),
    )


def settings(framework: Framework, **changes: object) -> TrainConfig:
    hyper = SETTINGS[framework] | changes
    return TrainConfig.model_validate({"validation_share": 0.3, framework.value: hyper})


@pytest.mark.parametrize("framework", Framework)
def test_the_shorter_the_half_life_the_more_a_model_follows_the_newer_span(
    framework: Framework, tmp_path: Path
):
    if framework is Framework.PYTORCH:
        pytest.importorskip("torch", reason="PyTorch is an extra: make setup EXTRAS=pytorch")
    module = importlib.import_module(f"models.{framework}_model")

    def rise(half_life: float | None) -> float:
        """How much likelier label 1 is for a number of 1 than for one of -1."""
        rows = spans_that_disagree(half_life)
        model, _, _ = module.train(rows, [], settings(framework))
        asked = np.array([[-1.0], [1.0]], np.float32), np.zeros((2, 0), np.int32)
        if framework is Framework.KERAS:
            said = by_row(module.predicted(model, *asked))
        else:
            module.save(model, tmp_path)
            said = module.load(tmp_path)(*asked)
        return float(said[1] - said[0])

    assert abs(rise(None)) < 0.35
    assert rise(0.2) > 0.6


@pytest.mark.parametrize("framework", Framework)
def test_the_loss_of_what_is_held_out_weighs_its_rows_too(framework: Framework):
    if framework is Framework.PYTORCH:
        pytest.importorskip("torch", reason="PyTorch is an extra: make setup EXTRAS=pytorch")
    module = importlib.import_module(f"models.{framework}_model")
    length = "trees" if "trees" in SETTINGS[framework] else "epochs"
    hyper = settings(framework, **{length: None, f"max_{length}": SETTINGS[framework][length]})
    short, equal = (
        module.search(spans_that_disagree(half_life), [], hyper) for half_life in (0.2, None)
    )
    assert equal.best_loss > 0.6
    assert short.best_loss < 0.5
