"""What is searched: the values that each hyper-parameter may take."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.sections import Section
from pipeline.train_config import Framework, Range, TrainConfig, TuneConfig

if TYPE_CHECKING:
    import optuna

Space = Mapping[str, Range]
"""The values of each hyper-parameter, by its name in the framework's section."""

_NETWORK: Space = {
    "hidden_units": Range(choices=((32,), (64, 32), (128, 64), (256, 128), (128, 64, 32))),
    "embedding_dim": Range(low=2, high=32, log=True),
    "dropout": Range(low=0.0, high=0.7),
    "learning_rate": Range(low=1e-4, high=1e-2, log=True),
    "weight_decay": Range(low=1e-6, high=1e-1, log=True),
}

SPACES: dict[Framework, Space] = {
    Framework.KERAS: _NETWORK,
    Framework.PYTORCH: _NETWORK,
    Framework.SKLEARN: {
        "learning_rate": Range(low=0.01, high=0.3, log=True),
        "max_leaf_nodes": Range(low=4, high=127, log=True),
        "min_samples_leaf": Range(low=2, high=500, log=True),
        "l2_regularization": Range(low=1e-3, high=100, log=True),
        "max_features": Range(low=0.2, high=1.0),
    },
    Framework.XGBOOST: {
        "learning_rate": Range(low=0.01, high=0.3, log=True),
        "max_depth": Range(low=2, high=10),
        "min_child_weight": Range(low=0.5, high=100, log=True),
        "subsample": Range(low=0.5, high=1.0),
        "colsample_bytree": Range(low=0.3, high=1.0),
        "reg_lambda": Range(low=1e-2, high=100, log=True),
    },
}
"""What is searched where the configuration does not say."""

LINEAR_SPACE: Space = {"C": Range(low=1e-3, high=100, log=True)}
"""What is searched of scikit-learn's linear model: the trees' parameters mean nothing to it."""

_FOUND_BY_EACH_TRIAL = {"epochs": "max_epochs", "trees": "max_trees"}


def space_of(framework: Framework, settings: TrainConfig, tune: TuneConfig) -> Space:
    """The space of `framework`: the configured one, or the default.

    Raises:
        UserError: If the configured one names no hyper-parameter of the framework, or has a value
            that it cannot take.
    """
    space = tune.space.get(framework)
    if space is not None:
        for name, values in space.items():
            _check(name, values, settings.of(framework), f"tune.space.{framework}.{name}")
        if not space:
            raise UserError(
                f"tune.space.{framework} is empty: name what to search, or leave it out for the "
                "default"
            )
        return space
    if framework is Framework.SKLEARN and settings.sklearn.model == "linear":
        return LINEAR_SPACE
    return SPACES[framework]


def _check(name: str, values: Range, section: Section, key: str) -> None:
    known = type(section).model_fields
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
        raise UserError(f"{key}: there is no hyper-parameter {name}; {hint}")
    if name in _FOUND_BY_EACH_TRIAL:
        raise UserError(
            f"{key}: how long to train each trial finds out by itself; take it out, or search "
            f"{_FOUND_BY_EACH_TRIAL[name]}"
        )
    if not values.choices and not _is_number(section, name):
        raise UserError(f"{key}: {name} is no number, so it has no interval; list its choices")
    for part, value in _values(values).items():
        try:
            type(section).model_validate({**section.model_dump(), name: value})
        except ValidationError as error:
            raise UserError(f"{key}: {part} = {value}: {error.errors()[0]['msg']}") from None


def _values(values: Range) -> dict[str, Any]:
    """The values that decide whether all of them fit, by what they are."""
    if values.choices:
        return {f"choices[{place}]": value for place, value in enumerate(values.choices)}
    return {"low": values.low, "high": values.high}


def _is_number(section: Section, name: str) -> bool:
    return bool(_types(section, name) & {int, float})


def is_integer(section: Section, name: str) -> bool:
    """Whether a hyper-parameter takes whole numbers alone."""
    types = _types(section, name)
    return int in types and float not in types


def _types(section: Section, name: str) -> set[Any]:
    """The types of a field: of `Annotated[int, ge=1] | None`, int and None's."""
    annotation = type(section).model_fields[name].annotation
    if get_origin(annotation) not in (Union, UnionType):
        return {annotation}
    return {getattr(part, "__origin__", part) for part in get_args(annotation)}


def suggest(trial: optuna.Trial, space: Space, section: Section) -> dict[str, Any]:
    """Values for `section`, as Optuna suggests them."""
    return {name: _suggest(trial, name, values, section) for name, values in space.items()}


def _suggest(trial: optuna.Trial, name: str, values: Range, section: Section) -> Any:
    if values.choices:
        # As text: Optuna's storage keeps no lists.
        return json.loads(trial.suggest_categorical(name, [*map(json.dumps, values.choices)]))
    assert values.low is not None
    assert values.high is not None
    if is_integer(section, name):
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def stored(section: Section, space: Space) -> dict[str, Any] | None:
    """The values of `section` as Optuna stores them, or None if one lies outside of the space."""
    current = section.model_dump(include=set(space))
    if not all(_holds(values, current[name]) for name, values in space.items()):
        return None
    return {
        name: json.dumps(current[name]) if values.choices else current[name]
        for name, values in space.items()
    }


def _holds(values: Range, value: Any) -> bool:
    if values.choices:
        return json.dumps(value) in map(json.dumps, values.choices)
    assert values.low is not None
    assert values.high is not None
    return value is not None and values.low <= value <= values.high


def values_of(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Hyper-parameters from what Optuna has stored."""
    return {
        name: json.loads(value) if space[name].choices else value for name, value in params.items()
    }
