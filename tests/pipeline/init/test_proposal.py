"""What a model has to reach is told by what a guess and a simple model have."""

from __future__ import annotations

from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.init.baselines import Baselines
from pipeline.init.judging import Judging
from pipeline.init.problems import Label
from pipeline.init.proposal import Facts, bounds
from pipeline.init.splits import Split

GUESS = {Metric.RMSE: 10.0, Metric.MAE: 5.0, Metric.R2: 0.0}
SIMPLE = {Metric.RMSE: 9.0, Metric.MAE: 4.0, Metric.R2: 0.19}


def reached(metric: Metric, **spread: float) -> dict[Metric, float]:
    errors = {one: spread.get(str(one), 1.0) for one in GUESS}
    facts = Facts(
        name="x",
        rows=1000,
        spans=1,
        where="",
        location={},
        schema_file="",
        columns={},
        label=Label("y", Problem.REGRESSION, ""),
        split=Split(""),
        baselines=Baselines("a linear model", GUESS, SIMPLE, errors),
        judging=Judging(metric),
    )
    return {metric: value for metric, (value, _) in bounds(facts).items()}


def test_the_only_threshold_is_no_worse_than_a_guess() -> None:
    assert reached(Metric.MAE) == {Metric.MAE: 5.0}
    assert reached(Metric.MAE, mae=0.1) == {Metric.MAE: 4.5}


def test_chance_may_take_a_metric_beyond_a_guess_where_another_has_learned() -> None:
    assert reached(Metric.RMSE, r2=0.01) == {Metric.RMSE: 12.0, Metric.R2: 0.1}
