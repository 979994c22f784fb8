"""What is searched: defaults that fit, mistakes told in words, suggestions that are settings."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tuning import SPACES, space
from pipeline.errors import UserError
from pipeline.train_config import Framework, Range, TrainConfig, TuneConfig


@pytest.mark.parametrize(
    ("configured", "message"),
    [
        (
            {"max_dept": Range(low=1, high=2)},
            "tune.space.xgboost.max_dept: there is no hyper-parameter max_dept; "
            "did you mean max_depth?",
        ),
        ({"zzzzzz": Range(low=1, high=2)}, "expected one of .*learning_rate, max_depth"),
        (
            {"subsample": Range(low=0.5, high=1.5)},
            "tune.space.xgboost.subsample: high = 1.5: Input should be less than or equal to 1",
        ),
        (
            {"max_depth": Range(low=2.5, high=6)},
            "tune.space.xgboost.max_depth: low = 2.5: Input should be a valid integer",
        ),
        (
            {"max_depth": Range(choices=(3, "deep"))},
            r"tune.space.xgboost.max_depth: choices\[1\] = deep: Input should be a valid integer",
        ),
        (
            {"trees": Range(low=1, high=9)},
            "each trial finds out by itself; take it out, or search max_trees",
        ),
        ({}, "tune.space.xgboost is empty"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(configured: dict[str, Range], message: str) -> None:
    with pytest.raises(UserError, match=message):
        space.space_of(Framework.XGBOOST, TrainConfig(), TuneConfig(space={"xgboost": configured}))


def test_a_list_has_choices_and_no_interval() -> None:
    tuning = TuneConfig(space={"keras": {"hidden_units": Range(low=1, high=2)}})
    with pytest.raises(UserError, match="hidden_units is no number, so it has no interval"):
        space.space_of(Framework.KERAS, TrainConfig(), tuning)


@pytest.mark.parametrize("framework", Framework)
def test_the_default_space_fits_and_holds_the_default_settings(framework: Framework) -> None:
    tuning = TuneConfig(space={framework: SPACES[framework]})
    assert space.space_of(framework, TrainConfig(), tuning) == SPACES[framework]
    assert space.space_of(framework, TrainConfig(), TuneConfig()) == SPACES[framework]
    for rows in (100, 100_000):
        current = TrainConfig().for_rows(rows).of(framework)
        assert space.stored(current, SPACES[framework]) is not None


def test_of_a_linear_model_no_trees_are_searched() -> None:
    settings = TrainConfig.model_validate({"sklearn": {"model": "linear"}})
    assert space.space_of(Framework.SKLEARN, settings, TuneConfig()) == space.LINEAR_SPACE


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    if draw(st.booleans()):
        scalar = st.booleans() | st.integers(-3, 300) | st.floats(-2, 300) | st.text(max_size=3)
        lists = st.lists(st.integers(0, 300), max_size=3).map(tuple)
        return Range(choices=tuple(draw(st.lists(scalar | lists, min_size=1, max_size=4))))
    number = st.integers(-2, 300).map(float) | st.floats(-2, 300)
    low, high = sorted(draw(st.tuples(number, number).filter(lambda ends: ends[0] != ends[1])))
    return Range(low=low, high=high, log=low > 0 and draw(st.booleans()))


@given(st.data())
def test_what_is_suggested_from_a_space_that_fits_is_a_setting(data: st.DataObject) -> None:
    framework = data.draw(st.sampled_from(Framework))
    section = TrainConfig().of(framework)
    name = data.draw(st.sampled_from([*type(section).model_fields]))
    values = data.draw(ranges())
    try:
        fits = space.space_of(
            framework, TrainConfig(), TuneConfig(space={framework: {name: values}})
        )
    except UserError as error:
        assert str(error).startswith(f"tune.space.{framework}.{name}: ")
        return
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    suggested = space.suggest(trial, fits, section)
    changed = TrainConfig().with_parameters(framework, suggested).of(framework)
    if not values.choices:
        assert values.low <= suggested[name] <= values.high
        assert type(suggested[name]) is type(getattr(changed, name))
    assert space.values_of(trial.params, fits) == suggested
    stored = space.stored(changed, fits)
    assert stored is None or space.values_of(stored, fits) == changed.model_dump(
        mode="json", include={name}
    )
