"""Tables that the pipeline has not met before, of several classes and of numbers to predict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.bundle import Bundle
from models.out_of_fold import OutOfFold
from pipeline.features_config import Problem
from tests.end_to_end.own_data import OwnData


def bundle_of(own: OwnData) -> Bundle:
    (live,) = (own.root / "serving").glob("[0-9]*")
    return Bundle.load(live)


def test_a_flower_is_told_by_the_model_of_the_first_day(iris: OwnData) -> None:
    assert iris.config.features.problem is Problem.MULTICLASS
    flowers = pd.read_csv(iris.file)
    said = bundle_of(iris).predict(flowers)
    assert said.shape == (150, 3)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    names = np.array(iris.config.features.class_names)[said.argmax(axis=1)]
    assert np.mean(names == flowers["species"]) > 0.9


def test_a_disease_progresses_as_the_model_of_the_first_day_says(diabetes: OwnData) -> None:
    assert diabetes.config.features.problem is Problem.REGRESSION
    patients = pd.read_csv(diabetes.file)
    said = bundle_of(diabetes).predict(patients)
    assert np.corrcoef(said, patients["progression"])[0, 1] > 0.6


@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_every_row_judged_models_that_had_not_learned_from_it(
    name: str, request: pytest.FixtureRequest
) -> None:
    own: OwnData = request.getfixturevalue(name)
    run = own.store.runs(1)[0]
    (verdict,) = run.outputs("ModelEvaluation")
    assert '"repeats":2' in verdict.read("verdict.json").replace(" ", "")
    (live,) = (own.root / "serving").glob("[0-9]*")
    kept = OutOfFold.of(live)
    assert kept is not None
    rows = len(pd.read_csv(own.file).drop_duplicates())
    assert len(kept.places) == rows and kept.repeats == 2
    assert np.isfinite(kept.values).all()
