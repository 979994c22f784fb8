"""The component in a compiled pipeline, on real bundles, and what the store says of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ml_metadata as mlmd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.types import channel_utils
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import (
    InfraBlessing,
    Model,
    ModelBlessing,
    ModelEvaluation,
    PushedModel,
)

from custom_components.artifacts import ModelSelection
from custom_components.canary.component import Canary
from custom_components.evaluator.verdict import BOOTSTRAP_FILE, FILE, Cost, Verdict
from custom_components.model_selector import ModelSelector, read_samples
from custom_components.resolvers import LiveModel, ever_made
from custom_components.selection import FILE as SELECTION_FILE
from custom_components.selection import SOURCE_MODEL_URI, Selection
from models import manifest
from models.bundle import Bundle
from pipeline.config import CanaryConfig
from pipeline.errors import UserError
from pipeline.evaluate_config import EvaluateConfig, Metric, SelectConfig
from tests.custom_components import evaluations
from tests.models.tiny import RAW, expected, save_model

BIASES = {"keras": 0.0, "xgboost": 1.0}


@component
def Train(model: OutputArtifact[Model], framework: Parameter[str]) -> None:
    """Leaves a bundle where TFX's Trainer does."""
    save_model(
        Path(model.uri) / "Format-Serving", framework=framework, bias=BIASES[framework], spans=(1,)
    )


@component
def Evaluate(
    models: InputArtifact[list[Model]],
    evaluation: OutputArtifact[ModelEvaluation],
    auc: Parameter[str],
) -> None:
    """Finds what it is told to find."""
    write_evaluation(Path(evaluation.uri), json.loads(auc))


def write_evaluation(folder: Path, auc: dict[str, float]) -> None:
    candidates = [name for name in auc if name != "live"]
    verdict = Verdict(
        candidates=tuple(candidates),
        blessed=dict.fromkeys(candidates, True),
        members=("keras", "xgboost") if "ensemble" in auc else (),
        live="live" if "live" in auc else None,
        live_framework="sklearn" if "live" in auc else None,
        rows=100,
        label_mean=0.25,
        models={name: {Metric.AUC: value} for name, value in auc.items()},
        replicates=100,
        costs={name: Cost(latency_ms=1.0, rows_per_second=1000.0, size_bytes=5000) for name in auc},
        slices=[],
        checks=[],
    )
    (folder / FILE).write_text(verdict.model_dump_json())
    random = np.random.default_rng(0)
    rows = [
        {"model": name, "metric": metric, "values": random.normal(value, 1e-4, 100).tolist()}
        for name, value in auc.items()
        for metric in ("auc", "log_loss")
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / BOOTSTRAP_FILE)


@component
def Push(
    model: InputArtifact[Model],
    blessing: InputArtifact[ModelBlessing],
    pushed_model: OutputArtifact[PushedModel],
) -> None:
    """Says what the Pusher says."""
    pushed_model.set_int_custom_property("pushed", blessing.get_int_custom_property("blessed"))
    source = model.get_string_custom_property(SOURCE_MODEL_URI)
    pushed_model.set_string_custom_property(SOURCE_MODEL_URI, source)


@dataclass
class Outcome:
    """What the runs until now left."""

    store: mlmd.MetadataStore

    @property
    def champion(self) -> metadata_store_pb2.Artifact:
        return self.of_node("ModelSelector", "model")[0]

    @property
    def blessing(self) -> metadata_store_pb2.Artifact:
        return self.of_node("ModelSelector", "blessing")[0]

    @property
    def artifact(self) -> metadata_store_pb2.Artifact:
        return self.of_node("ModelSelector", "selection")[0]

    @property
    def selection(self) -> Selection:
        file = Path(self.artifact.uri) / SELECTION_FILE
        return Selection.model_validate_json(file.read_text())

    @property
    def folder(self) -> Path:
        return Path(self.champion.uri) / "Format-Serving"

    def trained(self, framework: str) -> metadata_store_pb2.Artifact:
        (found,) = [
            model
            for model in self.store.get_artifacts_by_type("Model")
            if f"/Trainer.{framework}/" in model.uri
        ]
        return found

    def of_node(self, node: str, key: str) -> list[metadata_store_pb2.Artifact]:
        """What a node put out last."""
        context = self.store.get_context_by_type_and_name("node", f"toy.{node}")
        newest = max(self.store.get_executions_by_context(context.id), key=lambda e: e.id)
        ids = [
            event.artifact_id
            for event in self.store.get_events_by_execution_ids([newest.id])
            if event.type in (event.OUTPUT, event.INTERNAL_OUTPUT)
            and event.path.steps[0].key == key
        ]
        return list(self.store.get_artifacts_by_id(ids))


def run(folder: Path, auc: dict[str, float], **asked: object) -> Outcome:
    """Runs trainers, evaluator, selector and pusher, with TFX's own launcher."""
    trainers = [Train(framework=name).with_id(f"Trainer.{name}") for name in BIASES]
    models = channel_utils.union([trainer.outputs["model"] for trainer in trainers])
    live = Resolver(
        strategy_class=LiveModel, candidate=models, live=ever_made(PushedModel, "Pusher")
    ).with_id("LiveModel")
    evaluate = Evaluate(models=models, auc=json.dumps(auc))
    selector = ModelSelector(
        models=models,
        evaluation=evaluate.outputs["evaluation"],
        baseline_model=live.outputs["live"],
        select=SelectConfig.model_validate(asked).model_dump_json(),
        evaluate=EvaluateConfig().model_dump_json(),
    )
    pusher = Push(model=selector.outputs["model"], blessing=selector.outputs["blessing"]).with_id(
        "Pusher"
    )
    connection = metadata.sqlite_metadata_connection_config(str(folder / "store.db"))
    blessed = Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=models,
        model_blessing=selector.outputs["blessing"],
    ).with_id("LatestBlessed")
    LocalDagRunner().run(
        Pipeline(
            "toy",
            str(folder / "root"),
            components=[*trainers, live, evaluate, selector, pusher, blessed],
            enable_cache=True,
            metadata_connection_config=connection,
        )
    )
    store = mlmd.MetadataStore(connection)
    states = {execution.last_known_state for execution in store.get_executions()}
    assert states <= {metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED}
    return Outcome(store)


def test_the_best_is_copied_blessed_and_explained(tmp_path: Path) -> None:
    outcome = run(tmp_path, {"keras": 0.67, "xgboost": 0.68})
    source = outcome.trained("xgboost")
    champion = outcome.champion
    assert champion.type == "Model"
    written = manifest.read(outcome.folder)
    assert written == manifest.read(Path(source.uri) / "Format-Serving")
    np.testing.assert_allclose(Bundle.load(outcome.folder).predict(RAW), expected(1.0), atol=1e-6)
    assert [path.name for path in Path(champion.uri).iterdir()] == ["Format-Serving"]
    properties = champion.custom_properties
    assert properties[SOURCE_MODEL_URI].string_value == source.uri
    assert properties["framework"].string_value == "xgboost"
    assert properties["digest"].string_value == written.digest

    assert outcome.blessing.type == "ModelBlessing"
    said = outcome.blessing.custom_properties
    assert said["blessed"].int_value == 1
    assert said["current_model"].string_value == source.uri
    assert said["current_model_id"].int_value == source.id
    assert "baseline_model" not in said
    assert (Path(outcome.blessing.uri) / "BLESSED").is_file()

    assert outcome.selection.winner == "xgboost"
    assert (outcome.selection.replicates, len(outcome.selection.candidates)) == (100, 2)
    assert outcome.artifact.custom_properties["selected"].int_value == 1
    assert outcome.artifact.custom_properties["winner"].string_value == "xgboost"
    assert outcome.artifact.custom_properties["reason"].string_value == outcome.selection.reason


def test_tfxs_own_resolver_finds_the_blessed_model(tmp_path: Path) -> None:
    outcome = run(tmp_path, {"keras": 0.67, "xgboost": 0.68})
    (blessed,) = outcome.of_node("LatestBlessed", "model")
    assert blessed.id == outcome.trained("xgboost").id


def test_an_ensemble_that_wins_holds_its_members_and_names_their_sources(tmp_path: Path) -> None:
    outcome = run(tmp_path, {"keras": 0.67, "xgboost": 0.68, "ensemble": 0.69})
    by_hand = np.mean([expected(), expected(1.0)], axis=0)
    np.testing.assert_allclose(Bundle.load(outcome.folder).predict(RAW), by_hand, atol=1e-6)
    sources = outcome.champion.custom_properties[SOURCE_MODEL_URI].string_value
    assert sources == f"{outcome.trained('keras').uri}\n{outcome.trained('xgboost').uri}"
    assert outcome.champion.custom_properties["framework"].string_value == "ensemble"
    assert outcome.blessing.custom_properties["current_model"].string_value == outcome.champion.uri


def test_where_no_candidate_wins_the_model_is_empty_and_not_blessed(tmp_path: Path) -> None:
    outcome = run(tmp_path, {"keras": 0.60, "xgboost": 0.61, "live": 0.62})
    assert list(Path(outcome.champion.uri).iterdir()) == []
    assert SOURCE_MODEL_URI not in outcome.champion.custom_properties
    assert outcome.blessing.custom_properties["blessed"].int_value == 0
    assert (Path(outcome.blessing.uri) / "NOT_BLESSED").is_file()
    assert outcome.selection.winner is None
    assert outcome.artifact.custom_properties["selected"].int_value == 0
    assert outcome.artifact.custom_properties["winner"].string_value == ""
    assert outcome.selection.reason.startswith(
        "the live sklearn stays: the best candidate, xgboost"
    )


def test_the_champion_of_an_unchanged_run_is_not_its_own_live_model(tmp_path: Path) -> None:
    auc = {"keras": 0.67, "xgboost": 0.68, "ensemble": 0.69}
    run(tmp_path, auc)
    again = run(tmp_path, auc)
    assert again.of_node("LiveModel", "live") == []
    assert len(again.of_node("LiveModel", "candidate")) == 2
    assert len(again.store.get_artifacts_by_type("PushedModel")) == 1


def artifact(artifact_type: type[Artifact], folder: Path) -> Artifact:
    made = artifact_type()
    made.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return made


def select_of(
    folder: Path, models: list[Artifact], evaluation: Artifact, live: Artifact | None = None
) -> dict[str, Artifact]:
    """Runs the function alone; gives its outputs."""
    outputs = {
        "model": [artifact(Model, folder / "champion")],
        "blessing": [artifact(ModelBlessing, folder / "blessing")],
        "selection": [artifact(ModelSelection, folder / "selection")],
    }
    ModelSelector.EXECUTOR_SPEC.executor_class().Do(
        {"models": models, "evaluation": [evaluation], "baseline_model": [live] if live else []},
        outputs,
        {
            "select": SelectConfig().model_dump_json(),
            "evaluate": EvaluateConfig().model_dump_json(),
        },
    )
    return {key: artifacts[0] for key, artifacts in outputs.items()}


def execute(folder: Path, auc: dict[str, float], live: Artifact | None = None) -> Artifact:
    """Selects among the models of `trained` by these metrics; gives the blessing."""
    evaluation = artifact(ModelEvaluation, folder / "evaluation")
    write_evaluation(folder / "evaluation", auc)
    models = [artifact(Model, folder / name) for name in BIASES]
    return select_of(folder, models, evaluation, live)["blessing"]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    for name, bias in BIASES.items():
        save_model(tmp_path / name / "Format-Serving", framework=name, bias=bias)
    return tmp_path


def test_the_blessing_names_the_live_model_that_was_compared_with(trained: Path) -> None:
    live = PushedModel()
    live.uri, live.id = str(trained / "live"), 5
    blessing = execute(trained, {"keras": 0.67, "xgboost": 0.68, "live": 0.66}, live)
    assert blessing.get_string_custom_property("baseline_model") == live.uri
    assert blessing.get_int_custom_property("baseline_model_id") == 5


def test_what_the_evaluator_finds_leads_to_a_champion_that_the_canary_blesses(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    evaluated = evaluations.run(
        tmp_path,
        [evaluations.make_rows(800)],
        saved("strong", "sklearn", held_out_loss=0.4),
        saved("weak", "keras", held_out_loss=0.6),
        live=saved("weak", "xgboost"),
        group_by="hour",
    )
    live = artifact(PushedModel, tmp_path / "live")
    chosen = select_of(tmp_path / "out", evaluated.models, evaluated.evaluation, live)
    file = tmp_path / "out" / "selection" / SELECTION_FILE
    selection = Selection.model_validate_json(file.read_text())
    assert (selection.winner, selection.live) == ("sklearn", "xgboost")
    assert selection.replicates == 1000
    assert "in 100 % of 1,000 samples of rows by hour" in selection.reason
    (gain,) = (c.better_than_live for c in selection.candidates if c.name == "sklearn")
    assert gain is not None
    assert gain.low <= gain.value <= gain.high

    infra_blessing = artifact(InfraBlessing, tmp_path / "out" / "infra_blessing")
    Canary.EXECUTOR_SPEC.executor_class().Do(
        {
            "model": [chosen["model"]],
            "evaluation": [evaluated.evaluation],
            "model_blessing": [chosen["blessing"]],
        },
        {"blessing": [infra_blessing]},
        {"canary": CanaryConfig().model_dump_json()},
    )
    assert infra_blessing.get_int_custom_property("blessed") == 1
    assert infra_blessing.get_float_custom_property("max_difference") == 0


def test_an_evaluation_of_other_models_is_refused_in_words(trained: Path) -> None:
    with pytest.raises(UserError, match="the evaluation is of pytorch, but no such model"):
        execute(trained, {"keras": 0.67, "pytorch": 0.68})


def test_nothing_half_written_stays_where_a_copy_fails(trained: Path) -> None:
    (trained / "xgboost" / "Format-Serving" / "fingerprint.pb").write_bytes(b"x")
    with pytest.raises(UserError, match="was changed after it was written"):
        execute(trained, {"keras": 0.67, "xgboost": 0.68, "ensemble": 0.69})
    assert list((trained / "champion").iterdir()) == []


def test_an_evaluation_without_samples_has_none_to_read(tmp_path: Path) -> None:
    assert read_samples(tmp_path / BOOTSTRAP_FILE, Metric.AUC) == {}


def test_samples_in_which_a_metric_is_undefined_are_not_numbers(tmp_path: Path) -> None:
    rows = [
        {"model": "keras", "metric": "auc", "values": [0.5, None]},
        {"model": "keras", "metric": "log_loss", "values": [0.1, 0.2]},
        {"model": "xgboost", "metric": "auc", "values": []},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / BOOTSTRAP_FILE)
    samples = read_samples(tmp_path / BOOTSTRAP_FILE, Metric.AUC)
    assert list(samples) == ["keras"]
    np.testing.assert_array_equal(samples["keras"], [0.5, np.nan])
