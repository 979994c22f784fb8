"""Fixtures of the Evaluator's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.custom_components.evaluations import Columns, Outcome, make_rows, run, save_reader


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Gives the uri of a Model that predicts what a column says; by default a Keras one."""
    folder = tmp_path_factory.mktemp("models")

    def save(column: str, framework: str = "keras", **known: Any) -> str:
        path = folder / "-".join([column, framework, *map(str, known.values())])
        return (
            str(path) if path.exists() else save_reader(path, column, framework=framework, **known)
        )

    return save


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, saved: Callable[..., str]
) -> tuple[Outcome, Columns]:
    """A good model beside a weaker live one of another framework, on two spans, sliced twice."""
    first, second = make_rows(2000), make_rows(1500, seed=2)
    found = run(
        tmp_path_factory.mktemp("outcome"),
        [first, second],
        saved("strong"),
        live=saved("weak", "xgboost"),
        slices=[["carrier"], ["hour", "carrier"]],
        thresholds={
            "auc": {"min": 0.6, "max_regression": 0.0},
            "log_loss": {"max": 0.6},
            "calibration": {"min": 0.5, "max": 2.0},
        },
        guards=[{"columns": ["carrier"], "max_regression": 0.02, "min_rows": 300}],
        decision_threshold=0.4,
    )
    return found, {name: np.concatenate([first[name], second[name]]) for name in first}
