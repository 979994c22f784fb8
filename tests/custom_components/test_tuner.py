"""The tuner as a node of a pipeline, between Transform and TFX's own Trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.components.trainer.component import Trainer
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2
from tfx.types import channel
from tfx.types.standard_artifacts import Examples, HyperParameters, TransformGraph

from custom_components.tuner.component import Tuner
from custom_components.tuner.executor import FILE
from models.tuning import result
from pipeline.errors import UserError
from pipeline.train_config import Framework, Range, TrainConfig, TuneConfig
from tests.models import searches
from tests.models.conftest import FEATURES, ROWS, SCHEMA, make_table
from tests.models.transformed import Transformed, transform

SETTINGS = TrainConfig.model_validate({"seed": 7, "keras": {"dropout": 0.1}})
TUNE = TuneConfig(
    trials=6,
    space={
        Framework.XGBOOST: {
            "learning_rate": Range(low=0.06, high=0.3, log=True),
            "max_depth": Range(choices=(4, 6, 7)),
        },
        Framework.KERAS: {"dropout": Range(low=0.1, high=0.2)},
    },
)


@pytest.fixture(scope="module")
def transformed(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    table: pa.Table = make_table()
    folder = tmp_path_factory.mktemp("transformed")
    return transform(folder, table, schema=SCHEMA, features=FEATURES, split_by="date")


def run_fn(fn_args: FnArgs) -> None:
    """Trains nothing; keeps the hyper-parameters that TFX's Trainer has read."""
    folder = Path(fn_args.serving_model_dir)
    folder.mkdir(parents=True)
    (folder / "got.json").write_text(json.dumps(fn_args.hyperparameters))


def make_tuner(examples: Any, graph: Any, study_folder: Path, **changes: Any) -> Tuner:
    arguments = {
        "framework": Framework.XGBOOST,
        "features": FEATURES,
        "train": SETTINGS,
        "tune": TUNE,
        "study_folder": str(study_folder),
        "search": "tests.models.searches.of_rows",
    }
    return Tuner(examples, graph, **arguments | changes)


@dataclass(frozen=True)
class Outcome:
    """What a run of the pipeline left in the store: the newest artifact of each type."""

    store: metadata.Metadata

    def uri(self, artifact_type: str) -> Path:
        with self.store as store:
            found = store.store.get_artifacts_by_type(artifact_type)
        return Path(max(found, key=lambda artifact: artifact.id).uri)

    def tunings(self) -> list[int]:
        """How each execution of the tuner ended, oldest first."""
        with self.store as store:
            found = store.store.get_executions_by_type(f"{Tuner.__module__}.{Tuner.__name__}")
        return [e.last_known_state for e in sorted(found, key=lambda execution: execution.id)]


@pytest.fixture(scope="module")
def run(
    transformed: Transformed, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Outcome]:
    root = tmp_path_factory.mktemp("pipeline")

    def run(**changes: Any) -> Outcome:
        examples = Importer(
            str(transformed.folder), Examples, properties={"split_names": '["train", "eval"]'}
        ).with_id("Examples")
        graph = Importer(str(transformed.folder / "transform_graph"), TransformGraph).with_id(
            "Graph"
        )
        inputs = (examples.outputs["result"], graph.outputs["result"])
        tuner = make_tuner(*inputs, root / "studies", **changes).with_id("Tuner.xgboost")
        trainer = Trainer(
            run_fn=f"{__name__}.run_fn",
            examples=inputs[0],
            transform_graph=inputs[1],
            hyperparameters=tuner.outputs["best_hyperparameters"],
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
        )
        connection = sqlite_metadata_connection_config(str(root / "metadata.db"))
        nodes = [examples, graph, tuner, trainer]
        LocalDagRunner().run(Pipeline("test", str(root), connection, nodes, enable_cache=True))
        return Outcome(metadata.Metadata(connection))

    return run


@pytest.fixture(scope="module")
def outcome(run: Callable[..., Outcome]) -> Outcome:
    return run()


def test_the_trainer_of_tfx_gets_the_best_hyperparameters(outcome: Outcome) -> None:
    best = json.loads((outcome.uri("HyperParameters") / FILE).read_text())
    assert best.keys() == {"learning_rate", "max_depth"}
    got = outcome.uri("Model") / "Format-Serving" / "got.json"
    assert json.loads(got.read_text()) == best
    SETTINGS.with_parameters(Framework.XGBOOST, best)


def test_the_results_hold_every_trial_on_the_train_split(
    outcome: Outcome, transformed: Transformed
) -> None:
    folder = outcome.uri("TunerResults")
    found = result.read(folder)
    assert {file.name for file in folder.iterdir()} == {
        result.FILE,
        result.TRIALS_FILE,
        result.HISTORY_FILE,
        result.IMPORTANCE_FILE,
    }
    assert len(found.trials) == TUNE.trials
    columns = transformed.columns()
    numbers = sum(
        np.sum(values, dtype=float) for values in columns.values() if values.dtype == np.float32
    )
    sizes = [
        len(set(make_table()[name].drop_null().to_pylist())) + 2 for name in FEATURES.categorical
    ]
    loss = searches.lowest(**found.params) + numbers + ROWS + 1000 * sum(sizes)
    assert found.value == pytest.approx(loss)
    assert found.params == json.loads((outcome.uri("HyperParameters") / FILE).read_text())
    assert found.baseline is not None
    assert found.value < found.baseline
    assert found.sentence().startswith("xgboost: log loss ")


def test_a_search_with_the_same_settings_is_taken_from_the_store_and_one_for_more_goes_on(
    run: Callable[..., Outcome], outcome: Outcome
) -> None:
    before = result.read(outcome.uri("TunerResults"))
    others = SETTINGS.model_copy(update={"keras": TrainConfig().keras})
    again = run(train=others)
    assert again.tunings() == [mlmd.Execution.COMPLETE, mlmd.Execution.CACHED]
    more = result.read(run(tune=TUNE.model_copy(update={"trials": 8})).uri("TunerResults"))
    assert len(more.trials) == 8
    assert more.trials[:6] == before.trials


def test_a_mistake_in_the_space_is_told_when_the_pipeline_is_defined(tmp_path: Path) -> None:
    examples, graph = channel.Channel(type=Examples), channel.Channel(type=TransformGraph)
    mistaken = TuneConfig(trials=1, space={"xgboost": {"max_dept": Range(low=1, high=3)}})
    with pytest.raises(UserError, match="did you mean max_depth"):
        make_tuner(examples, graph, tmp_path, tune=mistaken)
    with pytest.raises(UserError, match=r"tune\.trials is 0"):
        make_tuner(examples, graph, tmp_path, tune=TuneConfig())


def test_other_frameworks_settings_are_no_parameters_of_the_node(tmp_path: Path) -> None:
    examples, graph = channel.Channel(type=Examples), channel.Channel(type=TransformGraph)

    def parameters(**changes: Any) -> dict[str, Any]:
        return dict(make_tuner(examples, graph, tmp_path, **changes).exec_properties)

    space = {Framework.XGBOOST: TUNE.space[Framework.XGBOOST]}
    changed = parameters(
        train=TrainConfig(seed=7, frameworks=("xgboost", "keras")),
        tune=TUNE.model_copy(update={"space": space, "frameworks": ("xgboost",)}),
    )
    assert changed == parameters()
    assert parameters(train=TrainConfig(seed=8)) != changed
    assert parameters(search=None)["search"] == "models.xgboost_model.search"


def test_it_gives_what_tfxs_own_tuner_gives() -> None:
    from tfx.types.standard_component_specs import TunerSpec

    ours = {key: output.type for key, output in Tuner.SPEC_CLASS.OUTPUTS.items()}
    assert ours == {key: output.type for key, output in TunerSpec.OUTPUTS.items()}
    assert ours["best_hyperparameters"] is HyperParameters
