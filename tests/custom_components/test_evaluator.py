"""What the Evaluator measures, held to scikit-learn and to TFMA, and the files it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
from tensorflow_model_analysis.api import model_eval_lib as tfma
from tensorflow_model_analysis.api.types import EvalSharedModel
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)

from custom_components.evaluator import curves, evaluate, executor
from custom_components.evaluator.curves import Curves
from custom_components.evaluator.verdict import BOOTSTRAP_FILE, CANARY_FILE, Metrics, Slice, Verdict
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from tests.custom_components.evaluations import (
    BEAM_ARGS,
    Columns,
    Outcome,
    make_rows,
    run,
    serialized,
)


def reference(labels: np.ndarray, predictions: np.ndarray, threshold: float) -> dict[str, float]:
    """The metrics as scikit-learn computes them."""
    flagged = predictions >= threshold
    return {
        "auc": sklearn.metrics.roc_auc_score(labels, predictions),
        "pr_auc": sklearn.metrics.average_precision_score(labels, predictions),
        "log_loss": sklearn.metrics.log_loss(labels, predictions),
        "calibration": predictions.astype(float).sum() / labels.sum(),
        "accuracy": sklearn.metrics.accuracy_score(labels, flagged),
        "precision": sklearn.metrics.precision_score(labels, flagged),
        "recall": sklearn.metrics.recall_score(labels, flagged),
        "f1": sklearn.metrics.f1_score(labels, flagged),
    }


def test_metrics_are_scikit_learns_overall_and_in_every_slice(
    outcome: tuple[Outcome, Columns],
) -> None:
    found, rows = outcome
    verdict = found.verdict
    everything = Slice(
        columns={}, rows=verdict.rows, label_mean=verdict.label_mean, models=verdict.models
    )
    assert len(verdict.slices) == 3 + 9
    for part in [everything, *verdict.slices]:
        chosen = np.full(len(rows["late"]), True)
        for column, value in part.columns.items():
            chosen &= rows[column] == value
        labels = rows["late"][chosen]
        assert part.rows == len(labels)
        assert part.label_mean == pytest.approx(labels.mean())
        for model, column in {"keras": "strong", "live": "weak"}.items():
            expected = reference(labels, rows[column][chosen], 0.4)
            # Predictions within 1e-4 of each other count as tied, which moves this one most.
            precision = expected.pop("pr_auc")
            assert part.models[model][Metric.PR_AUC] == pytest.approx(precision, abs=1e-3)
            assert without(part.models[model]) == pytest.approx(expected, abs=1e-4), part.name


def without(metrics: Metrics) -> dict[str, float | None]:
    return {metric: value for metric, value in metrics.items() if metric is not Metric.PR_AUC}


def test_a_beam_pipeline_finds_the_same(
    tmp_path: Path, saved: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = [make_rows(9000), make_rows(500, seed=2)]
    models = [saved("weak"), saved("uneven", "sklearn")]
    asked = {
        "live": saved("strong", "xgboost"),
        "slices": [["carrier"], ["hour", "carrier"]],
        "thresholds": {"auc": {"min": 0.5}},
        "ensemble": 2,
        "group_by": "day",
    }
    here = run(tmp_path / "here", spans, *models, **asked)
    monkeypatch.setattr(executor, "runs_here", lambda _: False)
    monkeypatch.setattr(evaluate, "evaluate_here", None)
    by_beam = run(tmp_path / "beam", spans, *models, **asked)
    assert by_beam.verdict.rows == 9500
    assert _rounded(by_beam.verdict) == _rounded(here.verdict)
    for file in (CANARY_FILE, BOOTSTRAP_FILE):
        one, other = (pq.read_table(outcome.folder / file) for outcome in (here, by_beam))
        assert one.column_names == other.column_names
        assert one.column(0) == other.column(0)
        np.testing.assert_allclose(*(flat_numbers(table) for table in (one, other)), atol=1e-9)
    one, other = (outcome.folder / curves.FILE for outcome in (here, by_beam))
    assert one.read_bytes() == other.read_bytes()


def test_the_curves_hold_every_row_and_agree_with_the_metrics(
    outcome: tuple[Outcome, Columns],
) -> None:
    found, rows = outcome
    drawn = Curves.read(found.folder)
    assert drawn.models == ("keras", "live")
    for model, column in {"keras": "strong", "live": "weak"}.items():
        points = {point.threshold: point for point in drawn.thresholds(model)}
        assert sum(point.rows for point in drawn.calibration(model)) == len(rows["late"])
        for metric in (Metric.PRECISION, Metric.RECALL, Metric.ACCURACY):
            measured = found.verdict.models[model][metric]
            assert getattr(points[0.4], metric) == pytest.approx(measured, abs=1e-9)
        assert points[0.4].flagged == (rows[column] >= 0.4).mean()


def flat_numbers(table: pa.Table) -> np.ndarray:
    columns = [column for column in table.columns if column.type not in (pa.binary(), pa.string())]
    return np.concatenate(
        [np.ravel(np.array(column.to_pylist(), np.float64)) for column in columns]
    )


def _rounded(verdict: Verdict) -> Any:
    """Without the last digits, which depend on the order in which sums are added up."""
    return json.loads(
        verdict.model_dump_json(exclude={"costs"}),
        parse_float=lambda digits: round(float(digits), 6),
    )


@pytest.mark.parametrize("by_beam", [False, True])
def test_rows_that_cannot_be_judged_by_are_counted(
    tmp_path: Path,
    saved: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    by_beam: bool,
) -> None:
    monkeypatch.setattr(executor, "runs_here", lambda _: not by_beam)
    rows = make_rows(300)
    rows["late"][:4] = 2
    with pytest.raises(UserError, match="the eval split of span 0: 4 of 300 rows have no label"):
        run(tmp_path / "label", [rows], saved("weak"))
    rows = make_rows(300)
    rows["weak"][:3] = 1.5
    with pytest.raises(UserError, match=r"'keras' gave no probability .* for 3 of 300 rows"):
        run(tmp_path / "probability", [rows], saved("weak"))


def test_only_the_eval_split_judges_where_the_models_have_learned_from_the_span(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    rows, train = make_rows(300), make_rows(500)
    found = run(tmp_path, [rows, rows], saved("weak"), train=train, learned=[0, 1])
    assert (found.verdict.rows, found.verdict.judged_on) == (600, "the eval split of spans 0, 1")


def test_all_rows_judge_of_a_span_that_no_candidate_has_learned_from(
    tmp_path: Path, saved: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    rows, train = make_rows(300), make_rows(500)
    settings = {"train": train, "on": "unseen"}
    found = run(tmp_path / "unseen", [rows], saved("weak"), learned=[], **settings)
    assert (found.verdict.rows, found.verdict.judged_on) == (800, "all rows of span 0")
    assert "evaluate.on" not in caplog.text
    found = run(tmp_path / "first", [rows], saved("weak"), learned=[0], **settings)
    assert (found.verdict.rows, found.verdict.judged_on) == (
        300,
        "the eval split of span 0, as there is no span before it to learn from",
    )
    assert "no span before it to learn from (evaluate.on)" in caplog.text


def test_slices_come_in_the_order_of_the_configuration_largest_first(
    outcome: tuple[Outcome, Columns],
) -> None:
    slices = outcome[0].verdict.slices
    assert [part.columns for part in slices[:3]] == [{"carrier": c} for c in ("AA", "UA", "XX")]
    assert slices[0].rows > slices[1].rows > slices[2].rows
    assert list(slices[3].columns) == ["hour", "carrier"]


def test_a_better_model_is_blessed_for_tfx(outcome: tuple[Outcome, Columns]) -> None:
    found, _ = outcome
    assert found.verdict.blessed == {"keras": True}
    (blessing,), (model,) = found.blessings.values(), found.models
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["BLESSED"]
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("current_model") == model.uri
    assert blessing.get_int_custom_property("current_model_id") == 7
    assert blessing.get_int_custom_property("baseline_model_id") == 5
    resolved = LatestBlessedModelStrategy().resolve_artifacts(
        None, {"model": [model], "blessing": [blessing]}
    )
    assert resolved["model"] == [model]


def test_tfma_loads_the_evaluation(outcome: tuple[Outcome, Columns]) -> None:
    found, _ = outcome
    folder = found.evaluation.uri
    for model in ("keras", "live"):
        result = tfma.load_eval_result(folder, model_name=model)
        metrics = dict(result.slicing_metrics)
        assert len(metrics) == 1 + 3 + 9
        values = metrics[(("carrier", "UA"),)][""][""]
        part = next(s for s in found.verdict.slices if s.columns == {"carrier": "UA"})
        assert values["example_count"]["doubleValue"] == part.rows
        low, high = part.intervals[model][Metric.AUC]
        bounded = {"value": part.models[model][Metric.AUC], "lowerBound": low, "upperBound": high}
        assert values["auc"]["boundedValue"] == bounded
    assert len(tfma.load_eval_results(folder).get_results()) == 2
    assert [spec.name for spec in result.config.model_specs] == ["keras", "live"]
    assert tfma.load_validation_result(folder).validation_ok


def test_tfmas_own_evaluator_agrees(tmp_path: Path, saved: Callable[..., str]) -> None:
    rows = make_rows(80)
    found = run(
        tmp_path,
        [rows],
        saved("weak"),
        live=saved("strong"),
        slices=[["carrier"]],
        thresholds={
            "auc": {"min": 0.5, "max_regression": 0.01},
            "log_loss": {"max": 0.1, "max_regression": 1.0},
            "recall": {"min": 0.001},
        },
    )
    ours = found.evaluation.uri
    config = tfma.load_eval_result(ours, model_name="keras").config
    columns = [rows["late"], rows["weak"], rows["strong"], rows["carrier"].astype(bytes)]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(column[:, None].tolist()) for column in columns],
        ["late", "keras", "live", "carrier"],
    )
    theirs = str(tmp_path / "theirs")
    with beam.Pipeline(argv=BEAM_ARGS) as pipeline:
        _ = (
            pipeline
            | beam.Create([batch])
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=config,
                output_path=theirs,
                eval_shared_model=[
                    EvalSharedModel(
                        model_name=name,
                        model_type="materialized_prediction",
                        is_baseline=name == "live",
                    )
                    for name in ("keras", "live")
                ],
            )
        )
    # TFMA's AUC takes predictions within 1e-4 for equal
    found = {key: value for key, value in stored_metrics(ours).items() if "pr_auc" not in key}
    assert found == pytest.approx(stored_metrics(theirs), abs=3e-3, nan_ok=True)
    assert stored_failures(ours) == stored_failures(theirs) != set()


def stored_metrics(folder: str) -> dict[str, float]:
    return {
        str((part.slice_key, pair.key.name, pair.key.model_name, pair.key.is_diff)): (
            pair.value.double_value.value
        )
        for part in tfma.load_metrics(folder)
        for pair in part.metric_keys_and_values
    }


def stored_failures(folder: str) -> set[tuple[str, bool]]:
    return {
        (failure.metric_key.name, failure.metric_key.is_diff)
        for part in tfma.load_validation_result(folder).metric_validations_per_slice
        for failure in part.failures
    }


def test_canary_rows_are_spread_and_carry_the_candidates_predictions(
    outcome: tuple[Outcome, Columns],
) -> None:
    found, rows = outcome
    table = pq.read_table(Path(found.evaluation.uri) / CANARY_FILE)
    everything = serialized(rows)
    positions = [everything.index(example) for example in table["example"].to_pylist()]
    assert len(positions) == 20
    assert min(positions) < 1000 and max(positions) > 2500
    np.testing.assert_allclose(table["keras"], rows["strong"][positions], atol=1e-6)


def test_canary_rows_are_the_same_ones_each_time(tmp_path: Path, saved: Callable[..., str]) -> None:
    tables = [
        pq.read_table(
            Path(run(tmp_path / name, spans, saved("strong")).evaluation.uri) / CANARY_FILE
        )
        for name, spans in {
            "one": [make_rows(300), make_rows(300, seed=2)],
            "turned": [make_rows(300, seed=2), make_rows(300)],
        }.items()
    ]
    assert tables[0].equals(tables[1])
