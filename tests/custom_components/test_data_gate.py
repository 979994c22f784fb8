"""The gate on statistics, schemas and anomalies as TFX's components write them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tfx.components.example_validator.executor import Executor as ExampleValidator
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema
from tfx.utils import json_utils

from custom_components.artifacts import GateReport
from custom_components.data_gate import DataGate
from custom_components.drift import measure_drift
from custom_components.gate_report import FILE, Drift, Kind, Measure, Report
from pipeline.config import GateConfig, Severity
from pipeline.errors import UserError
from pipeline.features_config import FeaturesConfig

FEATURES = FeaturesConfig(
    label="late",
    numeric=("temp",),
    categorical=("carrier", "gate"),
    cyclical={"hour": 24.0},
    keep=("date",),
)


def rows(
    count: int = 600,
    *,
    day: str = "01",
    temp: float = 10.0,
    carriers: tuple[str | None, ...] = ("AA", "UA", "UA", "B6"),
    gates: tuple[int, ...] = (1, 2, 3),
    late: float = 0.25,
) -> pd.DataFrame:
    """Rows of which only what is said differs from one call to the next."""
    turn = np.arange(count)
    return pd.DataFrame(
        {
            "temp": temp + np.sin(turn),
            "carrier": [carriers[i % len(carriers)] for i in turn],
            "gate": [gates[i % len(gates)] for i in turn],
            "hour": turn % 24,
            "late": (turn % 100 < 100 * late).astype(int),
            "date": [f"2013-{day}-{i % 28:02}" for i in turn],
        }
    )


@dataclass
class Outcome:
    """What a gate made of a span."""

    report: Report
    artifact: Artifact
    stopped: str | None

    def drift(self, feature: str) -> Drift:
        (found,) = [d for d in self.report.drift if d.feature == feature]
        return found


Judge = Callable[..., Outcome]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Takes the current span's rows and settings to what the gate says of them."""

    def artifact(artifact_type: type[Artifact], name: str) -> Artifact:
        made = artifact_type()
        made.uri = str(tmp_path / name)
        Path(made.uri).mkdir()
        return made

    def statistics(span: int, splits: dict[str, pd.DataFrame]) -> Artifact:
        made = artifact(ExampleStatistics, f"statistics-{span}")
        made.span = span
        made.split_names = artifact_utils.encode_split_names(list(splits))
        for split, frame in splits.items():
            folder = Path(made.uri) / f"Split-{split}"
            folder.mkdir()
            found = tfdv.generate_statistics_from_dataframe(frame)
            (folder / "FeatureStats.pb").write_bytes(found.SerializeToString())
        return made

    def run(
        now: pd.DataFrame,
        before: pd.DataFrame | None = None,
        *,
        evaluation: pd.DataFrame | None = None,
        schema_of: pd.DataFrame | None = None,
        **settings: object,
    ) -> Outcome:
        evaluation = now if evaluation is None else evaluation
        current = statistics(5, {"train": now, "eval": evaluation})
        schema = artifact(Schema, "schema")
        typical = rows() if schema_of is None else schema_of
        tfdv.write_schema_text(
            tfdv.infer_schema(tfdv.generate_statistics_from_dataframe(typical)),
            str(Path(schema.uri) / "schema.pbtxt"),
        )
        anomalies = artifact(ExampleAnomalies, "anomalies")
        ExampleValidator().Do(
            {"statistics": [current], "schema": [schema]},
            {"anomalies": [anomalies]},
            {"exclude_splits": json_utils.dumps([])},
        )
        inputs = {"statistics": [current], "anomalies": [anomalies]}
        if before is not None:
            inputs["previous_statistics"] = [statistics(4, {"train": before, "eval": before})]
        report = artifact(GateReport, "report")
        stopped = None
        try:
            DataGate.EXECUTOR_SPEC.executor_class().Do(
                inputs,
                {"report": [report]},
                {
                    "config": GateConfig.model_validate(settings).model_dump_json(),
                    "features": FEATURES.model_dump_json(),
                },
            )
        except UserError as error:
            stopped = str(error)
        found = Report.model_validate_json((Path(report.uri) / FILE).read_text())
        return Outcome(found, report, stopped)

    return run


def test_a_span_like_the_one_before_passes(judge: Judge) -> None:
    outcome = judge(rows(900), rows(600))
    assert outcome.stopped is None
    assert outcome.report.findings == ()
    assert outcome.report.rows == {"train": 900, "eval": 900}
    assert (outcome.report.span, outcome.report.previous_span) == (5, 4)
    assert (outcome.artifact.span, outcome.artifact.findings) == (5, 0)
    assert {d.feature for d in outcome.report.drift} == {"temp", "carrier", "gate", "hour", "late"}


def test_a_first_span_is_not_compared(judge: Judge) -> None:
    outcome = judge(rows())
    assert (outcome.report.previous_span, outcome.report.drift) == (None, ())


def test_drift_of_a_number_is_measured_and_warned_of(judge: Judge) -> None:
    outcome = judge(rows(temp=15), rows(temp=10), schema_of=rows())
    assert outcome.stopped is None
    (finding,) = outcome.report.findings
    assert (finding.kind, finding.severity, finding.feature) == (Kind.DRIFT, Severity.WARN, "temp")
    assert finding.measure is Measure.JENSEN_SHANNON
    assert finding.value == pytest.approx(1, abs=0.01)
    assert finding.threshold == 0.3
    assert "temp moved since span 4" in finding.message
    assert "mean from 10 to 15" in finding.message


def test_drift_of_a_category_stops_the_run_and_says_which_value_moved(judge: Judge) -> None:
    outcome = judge(
        rows(carriers=("AA", "AA", "AA", "B6")),
        rows(carriers=("AA", "UA", "UA", "B6")),
        drift="stop",
    )
    drift = outcome.drift("carrier")
    assert (drift.measure, drift.value) == (Measure.L_INFINITY, pytest.approx(0.5))
    assert outcome.stopped is not None
    assert "carrier moved since span 4: L-infinity distance 0.5, above 0.1" in outcome.stopped
    assert "from" in drift.change and drift.change in outcome.stopped
    assert drift.change.startswith(
        ("share of 'AA' from 25.0% to 75.0%", "share of 'UA' from 50.0% to 0.0%")
    )
    assert "gate.thresholds.carrier" in outcome.stopped


def test_the_label_is_compared_by_its_share_of_ones(judge: Judge) -> None:
    drift = judge(rows(late=0.4), rows(late=0.2)).drift("late")
    assert (drift.measure, drift.value) == (Measure.L_INFINITY, pytest.approx(0.2))
    assert drift.change == "share of 1 from 20.0% to 40.0%"


@pytest.mark.parametrize(
    ("features", "labels", "measure", "value", "change"),
    [
        (
            {"problem": "multiclass", "classes": ("a", "b", "c")},
            (["a", "b", "c", "c"], ["a", "b", "a", "a"]),
            Measure.L_INFINITY,
            0.5,
            "share of 'c' from 50.0% to 0.0%",
        ),
        (
            {"classes": ("1", "3")},
            ([1, 3, 3, 3], [1, 1, 1, 3]),
            Measure.L_INFINITY,
            0.5,
            "share of 3 from 75.0% to 25.0%",
        ),
        (
            {"problem": "regression"},
            ([1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0]),
            Measure.JENSEN_SHANNON,
            1.0,
            "mean from 2.5 to 12.5, standard deviation from 1.118 to 1.118",
        ),
    ],
)
def test_a_label_is_compared_as_its_problem_has_it(
    features: dict[str, object],
    labels: tuple[list, list],
    measure: Measure,
    value: float,
    change: str,
) -> None:
    days = (["2013-01-01"] * 4, ["2014-01-01"] * 4)
    before, now = (
        tfdv.generate_statistics_from_dataframe(pd.DataFrame({"day": d, "y": y}), n_jobs=1)
        for d, y in zip(days, labels, strict=True)
    )
    config = FeaturesConfig.model_validate({"label": "y", "dates": {"day": {}}} | features)
    (drift,) = measure_drift(now, before, features=config, gate=GateConfig())
    assert (drift.feature, drift.measure, drift.change) == ("y", measure, change)
    assert drift.value == pytest.approx(value)


def test_categories_that_are_numbers_are_not_blindly_passed(judge: Judge) -> None:
    drift = judge(rows(gates=(7, 8, 9)), rows(gates=(1, 2, 3))).drift("gate")
    assert (drift.measure, drift.value) == (Measure.JENSEN_SHANNON, pytest.approx(1))


def test_a_column_that_lost_its_values_moved_as_far_as_there_is(judge: Judge) -> None:
    outcome = judge(rows(carriers=(None,)), rows(), anomalies="info")
    drift = outcome.drift("carrier")
    assert (drift.value, drift.change) == (1.0, "strings before, no values now")


def test_numbers_that_are_all_nan_are_no_values() -> None:
    def statistics(*temperatures: float) -> object:
        columns = [pa.array([[t] for t in temperatures]), pa.array([[0]] * len(temperatures))]
        batch = pa.RecordBatch.from_arrays(columns, ["temp", "late"])
        return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())

    numbers, nan = statistics(1.0, 2.0), statistics(math.nan, math.nan)
    for now, before, change in (
        (nan, numbers, "numbers before, no values now"),
        (numbers, nan, "no values before, numbers now"),
    ):
        drift = next(measure_drift(now, before, features=FEATURES, gate=GateConfig()))
        assert (drift.feature, drift.value, drift.change) == ("temp", 1.0, change)


def test_more_missing_values_are_mentioned(judge: Judge) -> None:
    outcome = judge(rows(carriers=("AA", "UA", "UA", "B6", None)), rows(), anomalies="info")
    drift = outcome.drift("carrier")
    assert drift.value == pytest.approx(0, abs=1e-6)
    assert drift.change.endswith("missing from 0.0% to 20.0%")


def test_one_feature_may_have_a_threshold_of_its_own(judge: Judge) -> None:
    outcome = judge(rows(temp=15), rows(temp=10), thresholds={"temp": 1.0, "late": 0.5})
    assert outcome.report.findings == ()
    assert outcome.drift("temp").threshold == 1.0


def test_drift_may_be_ignored_and_is_recorded_still(judge: Judge) -> None:
    outcome = judge(rows(temp=15), rows(temp=10), drift="ignore")
    assert outcome.report.findings == ()
    assert outcome.drift("temp").is_finding


def test_anomalies_stop_the_run_with_all_that_was_found(judge: Judge) -> None:
    wrong = rows(carriers=("AA", "UA", "XX")).drop(columns="temp")
    outcome = judge(wrong, evaluation=rows())
    assert outcome.stopped is not None
    assert "the data of span 5 may not go on" in outcome.stopped
    assert "temp (train split): Column dropped" in outcome.stopped
    assert "carrier (train split): Unexpected string values" in outcome.stopped
    assert "XX" in outcome.stopped
    assert "eval split" not in outcome.stopped
    assert 'gate.anomalies = "warn"' in outcome.stopped
    assert {f.feature for f in outcome.report.stopping} == {"temp", "carrier"}
    assert outcome.artifact.findings == 2


def test_anomalies_may_be_let_through_or_ignored(judge: Judge, tmp_path: Path) -> None:
    outcome = judge(rows(carriers=("AA", "XX")), anomalies="warn")
    assert outcome.stopped is None
    assert {f.severity for f in outcome.report.findings} == {Severity.WARN}


def test_ignored_anomalies_leave_no_finding(judge: Judge) -> None:
    assert judge(rows(carriers=("AA", "XX")), anomalies="ignore").report.findings == ()


def test_too_few_rows_stop_the_run(judge: Judge) -> None:
    outcome = judge(rows(40), evaluation=rows(20), min_rows=100)
    assert outcome.stopped is not None
    assert "the span has 60 rows, fewer than 100" in outcome.stopped


def test_an_empty_split_stops_the_run(judge: Judge) -> None:
    outcome = judge(rows(), evaluation=rows(0), anomalies="ignore")
    assert outcome.stopped is not None
    assert "the eval split has no rows" in outcome.stopped
