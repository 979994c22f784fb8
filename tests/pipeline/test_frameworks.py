"""Which frameworks a run trains: those that are installed, of those that are configured."""

from __future__ import annotations

import importlib.util

import pytest

from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.frameworks import installed
from pipeline.train_config import Framework


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else real(name)
    )


@pytest.mark.usefixtures("without_torch")
def test_pytorch_is_left_out_where_it_is_not_installed_and_the_command_is_told() -> None:
    config, told = installed(load(overrides=['tune.frameworks=["pytorch", "xgboost"]']))
    assert config.train.frameworks == (Framework.KERAS, Framework.SKLEARN, Framework.XGBOOST)
    assert config.tune.frameworks == (Framework.XGBOOST,)
    assert "pytorch, which is not installed: `make run EXTRAS=pytorch`" in told


@pytest.mark.usefixtures("without_torch")
def test_pytorch_alone_is_refused_where_it_is_not_installed() -> None:
    with pytest.raises(UserError, match="pytorch alone, which is not installed"):
        installed(load(overrides=['train.frameworks=["pytorch"]']))


def test_what_is_always_installed_is_left_as_it_is() -> None:
    configured = load(overrides=['train.frameworks=["xgboost", "keras"]'])
    assert installed(configured) == (configured, "")


def test_a_trainer_is_told_nothing_of_the_others() -> None:
    train = load(overrides=["train.xgboost.max_depth=3"]).train
    same = load(overrides=["train.xgboost.max_depth=3", "train.keras.dropout=0.1"]).train
    assert train.only(Framework.XGBOOST) == same.only(Framework.XGBOOST)
    assert train.only(Framework.KERAS) != same.only(Framework.KERAS)
    assert train.only(Framework.XGBOOST).xgboost.max_depth == 3


def test_parameters_that_a_search_has_found_replace_those_configured() -> None:
    train = load(overrides=["train.xgboost.max_depth=3"]).train
    found = train.with_parameters(Framework.XGBOOST, {"learning_rate": 0.3})
    assert (found.xgboost.max_depth, found.xgboost.learning_rate) == (3, 0.3)
    with pytest.raises(ValueError, match="depth"):
        train.with_parameters(Framework.XGBOOST, {"depth": 3})
