"""Many candidates at once, of whatever framework: names, ensemble, blessings, costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tensorflow_model_analysis.api import model_eval_lib as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx.components.evaluator import executor as tfx_evaluator
from tfx.components.pusher import executor as tfx_pusher
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts
from tfx.types.channel_utils import union
from tfx.utils import proto_utils

from custom_components.evaluator.blessings import CANDIDATE
from custom_components.evaluator.component import Evaluator
from custom_components.evaluator.verdict import BOOTSTRAP_FILE, CANARY_FILE
from models import ensemble
from models.bundle import Bundle
from pipeline.evaluate_config import EvaluateConfig, Metric
from pipeline.features_config import FeaturesConfig, Problem
from pipeline.train_config import Framework, TrainConfig
from tests.custom_components.evaluations import (
    BEAM_ARGS,
    Outcome,
    artifact,
    make_rows,
    run,
    write_examples,
)
from tests.models.conftest import FEATURES, SCHEMA, make_table
from tests.models.transformed import examples, parse_schema, transform

BINARY = Metric.of(Problem.BINARY)
CHECKS = {
    "slices": [["carrier"]],
    "thresholds": {"auc": {"min": 0.75}},
    "guards": [{"columns": ["carrier"], "max_regression": 0.05, "min_rows": 50}],
}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, saved: Callable[..., str]) -> Outcome:
    """Three candidates, a good one among them, the mean of two, and a live model."""
    return run(
        tmp_path_factory.mktemp("several"),
        [make_rows(2400), make_rows(600, seed=2)],
        saved("weak", "xgboost", held_out_loss=0.3),
        saved("strong", "keras"),
        saved("uneven", "sklearn", held_out_loss=0.2),
        live=saved("weak", "pytorch"),
        ensemble=2,
        group_by="day",
        **CHECKS,
    )


def test_candidates_come_by_name_and_the_ensemble_last(several: Outcome) -> None:
    verdict = several.verdict
    assert verdict.candidates == ("keras", "sklearn", "xgboost", "ensemble")
    assert list(verdict.models) == list(verdict.costs) == [*verdict.candidates, "live"]
    assert (verdict.live, verdict.live_framework) == ("live", "pytorch")
    assert (verdict.groups, verdict.replicates, verdict.confidence) == ("day", 1000, 0.95)


def test_each_candidate_is_judged_by_itself(several: Outcome) -> None:
    verdict = several.verdict
    assert verdict.blessed["keras"] and not verdict.blessed["xgboost"]
    assert [check.rule for check in verdict.failures("xgboost")] == ["min"]
    assert {"carrier": "XX"} in [check.slice for check in verdict.failures("sklearn")]
    order = [check.model for check in verdict.checks]
    assert order == sorted(order, key=verdict.candidates.index)
    result = tfma.load_validation_result(several.evaluation.uri)
    failures = [f for part in result.metric_validations_per_slice for f in part.failures]
    assert {f.metric_key.model_name for f in failures} == {
        name for name, blessed in verdict.blessed.items() if not blessed
    }


def test_ensemble_is_the_mean_of_those_with_the_lowest_held_out_loss(several: Outcome) -> None:
    verdict = several.verdict
    assert verdict.members == ("sklearn", "xgboost")
    rows = pq.read_table(several.folder / CANARY_FILE)
    assert rows.column_names == ["example", *verdict.candidates]
    mean = (rows["sklearn"].to_numpy() + rows["xgboost"].to_numpy()) / 2
    np.testing.assert_array_equal(rows["ensemble"].to_numpy(), mean.astype(np.float32))


@pytest.mark.parametrize(
    ("asked", "members"), [(0, ()), (1, ()), (2, ("a", "c")), (5, ("a", "b", "c"))]
)
def test_ensemble_has_as_many_members_as_asked_where_there_are_so_many(
    tmp_path: Path, saved: Callable[..., str], asked: int, members: tuple[str, ...]
) -> None:
    uris = [saved("weak", "b"), saved("weak", "a"), saved("strong", "c", held_out_loss=0.5)]
    verdict = run(tmp_path, [make_rows(200)], *uris, ensemble=asked).verdict
    assert verdict.members == members
    assert ("ensemble" in verdict.candidates) == bool(members)


def test_models_of_any_framework_are_judged_by_what_their_bundles_answer(tmp_path: Path) -> None:
    table = make_table()
    transformed = transform(tmp_path, table, schema=SCHEMA, features=FEATURES, split_by="date")
    settings = TrainConfig.model_validate(
        {
            "validation_share": 0.3,
            "keras": {"epochs": 1, "members": 1},
            "sklearn": {"trees": 5},
            "xgboost": {"trees": 5},
        }
    )
    folders = {}
    for framework in (Framework.KERAS, Framework.SKLEARN, Framework.XGBOOST):
        trained = transformed.train(settings, tmp_path / framework, framework)
        folders[framework] = trained.rename(trained.with_name("Format-Serving"))
    keras, sklearn, xgboost = (str(folder.parent) for folder in folders.values())
    rows = examples(table, parse_schema(SCHEMA))
    found = run(
        tmp_path / "run", [rows], xgboost, keras, live=sklearn, ensemble=2, canary_rows=len(rows)
    )
    assert found.verdict.candidates == ("keras", "xgboost", "ensemble")
    assert found.verdict.live_framework == "sklearn"
    canary = pq.read_table(found.folder / CANARY_FILE)
    raw = table.take([rows.index(example) for example in canary["example"].to_pylist()])
    ensemble.write(tmp_path / "ensemble", {name: folders[name] for name in found.verdict.members})
    for name in found.verdict.candidates:
        answers = Bundle.load(folders.get(name, tmp_path / "ensemble")).predict(raw)
        np.testing.assert_allclose(canary[name], answers, atol=1e-6)


def test_one_candidate_has_no_ensemble(tmp_path: Path, saved: Callable[..., str]) -> None:
    verdict = run(tmp_path, [make_rows(200)], saved("strong"), ensemble=3).verdict
    assert verdict.candidates == ("keras",)


def test_every_trained_candidate_has_a_blessing_that_tfx_reads(several: Outcome) -> None:
    assert list(several.blessings) == ["keras", "sklearn", "xgboost"]
    for name, blessing in several.blessings.items():
        said = "BLESSED" if several.verdict.blessed[name] else "NOT_BLESSED"
        assert [path.name for path in Path(blessing.uri).iterdir()] == [said]
    resolved = LatestBlessedModelStrategy().resolve_artifacts(
        None, {"model": several.models, "blessing": list(several.blessings.values())}
    )
    (model,) = resolved["model"]
    assert model.uri == several.blessings["keras"].get_string_custom_property("current_model")


def test_costs_are_told_of_every_model(several: Outcome) -> None:
    costs = several.verdict.costs
    assert all(cost.latency_ms > 0 and cost.rows_per_second > 100 for cost in costs.values())
    assert costs["ensemble"].size_bytes == sum(
        costs[member].size_bytes for member in several.verdict.members
    )
    assert costs["ensemble"].latency_ms > costs["sklearn"].latency_ms
    folder = Path(several.models[1].uri) / "Format-Serving"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert costs["keras"].size_bytes == size


def test_metrics_lie_in_their_intervals_and_the_samples_are_kept(several: Outcome) -> None:
    verdict = several.verdict
    for part in [verdict, *verdict.slices]:
        for model, metrics in part.models.items():
            for metric in (Metric.AUC, Metric.LOG_LOSS, Metric.CALIBRATION):
                low, high = part.intervals[model][metric]
                assert low < metrics[metric] < high
    samples = pq.read_table(several.folder / BOOTSTRAP_FILE).to_pylist()
    assert len(samples) == len(verdict.models) * len(BINARY)
    for row in samples:
        assert len(row["values"]) == verdict.replicates
        low, high = verdict.intervals[row["model"]][row["metric"]]
        assert np.mean((np.array(row["values"]) >= low) & (np.array(row["values"]) <= high)) == (
            pytest.approx(verdict.confidence, abs=0.01)
        )


def test_rows_of_one_group_alone_have_no_intervals(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    rows = make_rows(300)
    rows["day"][:] = "2013-01-01"
    found = run(tmp_path, [rows], saved("strong"), group_by="day")
    assert found.verdict.replicates == 0 and found.verdict.intervals == {}
    assert pq.read_table(found.folder / BOOTSTRAP_FILE).num_rows == 0


def test_tfx_records_a_blessing_for_each_candidate(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    rows = write_examples(tmp_path, make_rows(500))
    importers = [
        Importer(
            source_uri=rows[0].uri,
            artifact_type=standard_artifacts.Examples,
            properties={"split_names": rows[0].split_names},
        ).with_id("Examples"),
        *(
            Importer(
                source_uri=saved(column, framework), artifact_type=standard_artifacts.Model
            ).with_id(framework)
            for column, framework in (("strong", "keras"), ("weak", "sklearn"))
        ),
    ]
    evaluator = Evaluator(
        importers[0].outputs["result"],
        union([importer.outputs["result"] for importer in importers[1:]]),
        evaluate=EvaluateConfig.model_validate(CHECKS).model_dump_json(),
        features=FeaturesConfig(label="late", numeric=("strong",)),
        canary_rows=10,
        ensemble=2,
        group_by="",
    )
    connection = sqlite_metadata_connection_config(str(tmp_path / "metadata.db"))
    LocalDagRunner().run(
        Pipeline("test", str(tmp_path / "root"), connection, [*importers, evaluator])
    )
    with metadata.Metadata(connection) as handler:
        store = handler.store
        recorded = {
            artifact.custom_properties[CANDIDATE].string_value: artifact
            for artifact in store.get_artifacts_by_type("ModelBlessing")
        }
        models = {a.id: a.uri for a in store.get_artifacts_by_type("Model")}
        (execution,) = store.get_executions_by_type(evaluator.type)
        events = store.get_events_by_execution_ids([execution.id])
    assert set(recorded) == {"keras", "sklearn"}
    assert len({blessing.uri for blessing in recorded.values()}) == 2
    outputs = {event.artifact_id for event in events if event.type == mlmd.Event.OUTPUT}
    assert {blessing.id for blessing in recorded.values()} < outputs
    for name, blessing in recorded.items():
        assert blessing.state == mlmd.Artifact.LIVE
        assert models[blessing.custom_properties["current_model_id"].int_value].endswith(f"-{name}")
        assert blessing.custom_properties["blessed"].int_value == (name == "keras")


def test_tfxs_own_evaluator_and_pusher_agree(tmp_path: Path, saved: Callable[..., str]) -> None:
    rows = make_rows(400)
    ours = run(tmp_path / "ours", [rows], saved("strong"), thresholds={"auc": {"min": 0.5}})
    written = config_pb2.EvalRun()
    json_format.Parse((ours.folder / "eval_config.json").read_text(), written)
    (spec,) = written.eval_config.model_specs
    spec.model_type, spec.prediction_key = "tf_generic", "probability"
    outputs = {
        "evaluation": [artifact(standard_artifacts.ModelEvaluation, str(tmp_path / "evaluation"))],
        "blessing": [artifact(standard_artifacts.ModelBlessing, str(tmp_path / "blessing"))],
    }
    executor = tfx_evaluator.Executor
    executor(executor.Context(beam_pipeline_args=BEAM_ARGS, tmp_dir=str(tmp_path / "tmp"))).Do(
        {"examples": write_examples(tmp_path, rows), "model": ours.models},
        outputs,
        {
            "eval_config": proto_utils.proto_to_json(written.eval_config),
            "fairness_indicator_thresholds": "null",
        },
    )
    theirs = tfma.load_eval_result(outputs["evaluation"][0].uri).get_metrics_for_slice()
    for metric in set(BINARY) - {Metric.PR_AUC}:  # TFMA has no average precision.
        value = theirs[str(metric)]["doubleValue"]
        # TFMA's AUC takes predictions within 1e-4 for equal
        assert ours.verdict.models["keras"][metric] == pytest.approx(value, abs=1e-3)
    (blessing,) = ours.blessings.values()
    properties = outputs["blessing"][0].mlmd_artifact.custom_properties
    for name in ("blessed", "current_model", "current_model_id"):
        assert blessing.mlmd_artifact.custom_properties[name] == properties[name]

    pushed = artifact(standard_artifacts.PushedModel, str(tmp_path / "pushed"))
    tfx_pusher.Executor(tfx_pusher.Executor.Context()).Do(
        {"model": ours.models, "model_blessing": [blessing]},
        {"pushed_model": [pushed]},
        {"push_destination": f'{{"filesystem": {{"base_directory": "{tmp_path}/serving"}}}}'},
    )
    assert pushed.get_int_custom_property("pushed") == 1
    (version,) = (tmp_path / "serving").iterdir()
    assert Bundle.load(version).predict([{"strong": 0.25}])[0] == pytest.approx(0.25)
