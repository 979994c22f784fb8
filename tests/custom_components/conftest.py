"""Fixtures of the Evaluator's tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.custom_components.evaluations import Columns, Outcome, Reader, make_rows, run


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Gives the location of a SavedModel that predicts what a column says."""
    folder = tmp_path_factory.mktemp("models")

    def save(column: str) -> str:
        path = folder / column / "Format-Serving"
        if not path.exists():
            model = Reader(column)
            tf.saved_model.save(model, str(path), {"serving_default": model.serve})
        return str(path.parent)

    return save


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, saved: Callable[[str], str]
) -> tuple[Outcome, Columns]:
    """A good model beside a weaker live one, on two spans, sliced twice."""
    first, second = make_rows(2000), make_rows(1500, seed=2)
    found = run(
        tmp_path_factory.mktemp("outcome"),
        [first, second],
        saved("strong"),
        saved("weak"),
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
