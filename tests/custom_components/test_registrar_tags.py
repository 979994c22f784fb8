"""What MLflow is told of a model's problem, and in which words of its metric."""

from __future__ import annotations

import pytest

from custom_components.registrar import tags
from custom_components.registrar.record import Champion, Record, Source, Training
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.provenance import Provenance

MODEL = Source(id=7, uri="/model")


def record(problem: Problem, classes: tuple[str, ...], value: float) -> Record:
    metric = Metric.of(problem)[0]
    training = Training(
        name="xgboost",
        bundle="/bundle",
        digest="d",
        problem=problem,
        classes=classes,
        model=MODEL,
        parameters={},
        metrics={metric: value},
        provenance=Provenance(),
        started=1,
        ended=2,
    )
    return Record(
        pipeline="p",
        model_name="m",
        run="r",
        execution=1,
        commit=None,
        clean=None,
        note="",
        schema_digest="s",
        evaluation=MODEL,
        selection=MODEL,
        metric=metric,
        reason="it is the best",
        trainings=(training,),
        champion=Champion(name="xgboost", model=MODEL),
        recorded=3,
    )


@pytest.mark.parametrize(
    ("problem", "classes", "value", "metric"),
    [
        (Problem.BINARY, ("no", "yes"), 0.70123, "auc 0.7012"),
        (Problem.MULTICLASS, ("a", "b", "c"), 0.9, "macro_f1 0.9000"),
        (Problem.REGRESSION, (), 48_213.4, "rmse 48,213"),
    ],
)
def test_a_version_says_its_problem_and_its_metric(
    problem: Problem, classes: tuple[str, ...], value: float, metric: str
) -> None:
    told = record(problem, classes, value)
    assert told.champion is not None
    found = tags.of_version(told, told.champion)
    assert found[tags.PROBLEM] == problem
    assert found.get(tags.CLASSES, "") == ", ".join(classes)
    assert found[tags.METRIC] == metric


def test_very_many_classes_fit_into_a_tag() -> None:
    told = record(Problem.MULTICLASS, tuple(f"a long name of class {k}" for k in range(100)), 0.5)
    assert len(tags.of_training(told, told.trainings[0])[tags.CLASSES]) <= 1000
