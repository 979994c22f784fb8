"""The page of a run with several classes, and of a regression: what it says of predictions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.report.page import render
from pipeline.report.predicted import predicted
from pipeline.report.prediction_charts import of_evaluation, table
from tests.pipeline.problem_runs import CLASSES, MISTAKES, ProblemRun
from tests.pipeline.test_report_page import Page, page_of, the_run
from tests.pipeline.whole_run import WholeRun

SIZE = 1000.0


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(ProblemRun(tmp_path_factory.mktemp("several")))


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = tmp_path_factory.mktemp("values")
    return page_of(ProblemRun(root, problem=Problem.REGRESSION, size=SIZE))


def test_two_classes_have_roc_and_precision_by_recall(tmp_path: Path) -> None:
    page = page_of(WholeRun(tmp_path))
    assert "A row is flagged, for that late is 1, if its probability is at least" in page.text
    assert "late is 1 in 23.5% of the rows" in page.text
    html = render(the_run(tmp_path))
    for chart in ("Calibration of keras", "ROC curve of keras", "Precision by recall of keras"):
        assert chart in html, chart


def test_each_class_has_its_precision_recall_and_mistakes(several: Page) -> None:
    assert "kind has 3 classes, the commonest with 23.5% of the rows" in several.text
    assert f"Is {' '.join(CLASSES)} {CLASSES[0]} 200 {CLASSES[1]} 4 180 16" in several.text
    first = several.text.index(f"virginica taken for {CLASSES[1]}: {MISTAKES} rows, 11.5%")
    assert first < several.text.index(f"{CLASSES[1]} taken for setosa: 4 rows, 2%")
    assert {0.9, 180 / 203} <= several.values  # of the second class
    assert "decision threshold" not in several.text


def test_a_regression_says_how_far_it_is_off_and_on_which_slices(values: Page) -> None:
    assert "the mean of kind is 0.2346" in values.text
    assert "Errors by slice" not in values.text  # That is an attribute, for who hears the page.
    assert "How far keras is off by slice: prediction less label" in values.text
    assert values.text.count("of rows off by at most") == 6
    assert "rmse" in values.text
    assert "712.3" in values.text
    assert "decision threshold" not in values.text


def test_a_cross_validation_says_on_what_it_rests_and_how_sure_it_is(several: Page) -> None:
    assert "Repeated cross-validation on 100 rows: they were parted into 5 folds, 4 times" in (
        several.text
    )
    assert (
        "the macro_f1 of keras, 0.7123, would with other rows like these lie between 0.6411 and "
        "0.7836 (95% sure); parted into other folds, it moves by 0.0123 or so."
    ) in several.text


@pytest.mark.parametrize("problem", [Problem.MULTICLASS, Problem.REGRESSION])
def test_what_is_gone_costs_its_own_section_alone(tmp_path: Path, problem: Problem) -> None:
    run = ProblemRun(tmp_path, problem=problem)
    run.write()
    for file in (tmp_path / "ModelEvaluation").glob("*.parquet"):
        file.unlink()
    page = Page(render(the_run(tmp_path)))
    assert "there is no such file; evaluations have it since" in page.text
    assert str(run.metric) in page.text


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"label": "late"}, "the probability that late is 1"),
        ({"label": "late", "classes": ["no", "yes"]}, "the probability that late is yes"),
        ({"label": "delay", "problem": "regression"}, "delay, a number"),
        (
            {"label": "kind", "problem": "multiclass", "classes": [*"abcdefghijklm"]},
            "the probability of each of the 13 classes of kind: "
            "a, b, c, d, e, f, g, h, i, j, and 3 more",
        ),
        ({}, ""),
    ],
)
def test_what_is_predicted_is_said_in_words(features: dict[str, object], said: str) -> None:
    assert predicted(features) == said


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        (Metric.AUC, 0.70123, "0.7012"),
        (Metric.AUC, None, "-"),
        (Metric.RMSE, 0.000123456, "0.0001235"),
        (Metric.RMSE, 12.34567, "12.35"),
        (Metric.MAE, 48213.14, "48,213"),
        (Metric.BIAS, -1_234_567.8, "-1,234,568"),
        (Metric.R2, -1234.5, "-1234.5000"),
    ],
)
def test_a_metric_is_written_by_its_unit(metric: Metric, value: float | None, words: str) -> None:
    assert metric.words(value) == words


@pytest.mark.parametrize(
    ("run", "charts", "rows"),
    [
        (WholeRun, 5, 20),
        (ProblemRun, 1, len(CLASSES)),
        (partial(ProblemRun, problem=Problem.REGRESSION), 3, 3),
    ],
    ids=list(map(str, Problem)),
)
def test_a_notebook_has_the_charts_and_the_numbers_that_suit_the_problem(
    tmp_path: Path, run: Callable[[Path], WholeRun], charts: int, rows: int
) -> None:
    run(tmp_path).write()
    (evaluation,) = the_run(tmp_path).outputs("ModelEvaluation")
    assert len(of_evaluation(evaluation, "keras", "live", threshold=0.3)) == charts
    assert len(table(evaluation, "keras")) == rows


def test_what_another_problem_has_is_refused_in_words(tmp_path: Path) -> None:
    WholeRun(tmp_path).write()
    (evaluation,) = the_run(tmp_path).outputs("ModelEvaluation")
    for read in (evaluation.points, evaluation.confusion):
        with pytest.raises(UserError, match="its problem is binary; expected "):
            read()
