"""The package of trainings alone: what is in it, and that it runs from the data to MLflow."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from kfp import components

from custom_components.registrar import tags
from models import manifest, train
from models.bundle import Bundle
from models.history import PARAMETERS_FILE
from pipeline.cluster import packed
from pipeline.cluster_config import TaskSettings
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.runners import subprocesses, train_only
from pipeline.tasks import compare
from pipeline.train_config import Framework
from tests.models.conftest import FEATURES, SCHEMA, make_table
from tests.models.transformed import Transformed, transform

GOLDEN = Path(__file__).parent / "golden/train-only.yaml"
"""Made by UPDATE_GOLDEN=1 and this test; read the difference before you commit it."""
ON_CLUSTER = PROJECT / "configs/flights-kubeflow.toml"


def configured(root: Path, **settings: object) -> PipelineConfig:
    """Two small trainings."""
    trainers = {f: {"image": f"trainer-{f}:1"} for f in ("sklearn", "xgboost")}
    return PipelineConfig.model_validate(
        {
            **{"name": "small", "root": str(root), "data": {"path": "unused"}},
            "features": FEATURES.model_dump(),
            "train": {
                "frameworks": ["sklearn", "xgboost"],
                "seed": 3,
                "sklearn": {"model": "linear"},
                "xgboost": {"trees": 20, "min_child_weight": 1.0},
            },
            "tasks": {"defaults": {"image": "flights:1"}, "trainers": trainers},
            **settings,
        },
    )


@pytest.fixture(scope="module")
def transformed(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    folder = tmp_path_factory.mktemp("transformed")
    return transform(folder, make_table(), schema=SCHEMA, features=FEATURES, split_by="date")


def executors(package: str) -> dict[str, dict[str, Any]]:
    (pipeline, *_) = yaml.safe_load_all(package)
    found = pipeline["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"] for name, executor in found.items()}


def test_the_package_is_the_one_that_is_known_and_kfp_loads_it() -> None:
    config = load(ON_CLUSTER)
    package = train_only.compile_package(config)
    assert package == train_only.compile_package(config)
    text = packed.pack_text(config.model_dump_json().encode())
    said = package.replace(text, "CONFIG")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(said)
    assert said == GOLDEN.read_text()
    assert "PIPELINE_STORE_PASSWORD" not in package
    loaded = components.load_component_from_text(package)
    assert set(loaded.component_spec.inputs) == {"train_data", "eval_data", "transform_graph"}


def test_each_framework_trains_in_its_own_image_with_its_own_settings(tmp_path: Path) -> None:
    found = executors(train_only.compile_package(configured(tmp_path)))
    assert {name: container["image"] for name, container in found.items()} == {
        "train-sklearn": "trainer-sklearn:1",
        "train-xgboost": "trainer-xgboost:1",
        "compare": "flights:1",
    }
    arguments = found["train-xgboost"]["args"]
    assert arguments[0] == "xgboost"
    assert ("--seed", "3") in itertools.pairwise(arguments)
    assert {"trees=20", "min_child_weight=1.0", "categories=ordinal"} <= set(arguments)
    assert "model=linear" not in arguments
    assert "model=linear" in found["train-sklearn"]["args"]


@pytest.mark.parametrize("framework", Framework)
def test_the_trainer_understands_its_arguments_as_the_configuration_means_them(
    framework: Framework, tmp_path: Path
) -> None:
    general = {"seed": 5, "class_weight": "balanced", "validation_share": 0.25}
    own = {"keras": {"epochs": 3}, "pytorch": {"device": "cpu", "hidden_units": [8]}}
    config = configured(tmp_path, train={**general, **own, "sklearn": {"C": 0.1}})
    required = ("--train-data", "a", "--eval-data", "b", "--transform-graph", "c", "--model-dir")
    arguments = [framework, *required, "d", *train_only.settings_of_training(config, framework)]
    features, settings = train.configured(train.parser().parse_args(arguments))
    assert features == config.features
    assert settings.only(framework) == config.train.only(framework)


def test_for_vertex_nothing_of_kubernetes_is_in_it(tmp_path: Path) -> None:
    package = train_only.compile_package(configured(tmp_path), target="vertex")
    assert len(list(yaml.safe_load_all(package))) == 1
    claims = TaskSettings(image="flights:1", volumes={"root": "/pipeline"})
    config = configured(tmp_path, tasks={"defaults": claims.model_dump(exclude_unset=True)})
    with pytest.raises(UserError, match="volumes of train-sklearn: Vertex has no such thing"):
        train_only.compile_package(config, target="vertex")


def test_a_metric_that_trainings_do_not_measure_is_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, select={"metric": "accuracy"})
    with pytest.raises(UserError, match="compared by auc or log_loss"):
        train_only.compile_package(config)


@pytest.fixture(scope="module")
def ran(
    transformed: Transformed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, subprocesses.Outcome]]:
    """The package has run; the folder, and what came of it."""
    folder = tmp_path_factory.mktemp("train-only")
    file = folder / "package.yaml"
    file.write_text(train_only.compile_package(configured(folder / "root")))
    data = {
        "train_data": transformed.pattern,
        "eval_data": transformed.pattern,
        "transform_graph": str(transformed.folder / "transform_graph"),
    }
    yield folder, subprocesses.run_package(file, data, folder=folder / "run", jobs=2)


def test_it_runs_from_the_data_to_the_champion(ran: tuple[Path, subprocesses.Outcome]) -> None:
    folder, outcome = ran
    logs = "\n".join(r.log.read_text() for r in outcome.results if r.log)
    assert outcome.succeeded, logs
    (table,) = folder.rglob(compare.FILE)
    said = json.loads(table.read_text())
    scores = {name: metrics["auc"] for name, metrics in said["candidates"].items()}
    assert set(scores) == {"sklearn", "xgboost"}
    assert said["champion"] == max(scores, key=lambda name: scores[name])
    (champion,) = [f.parent for f in folder.rglob(manifest.FILE) if "champion" in str(f)]
    bundle = Bundle.load(champion)
    assert bundle.predict(make_table()).shape == (make_table().num_rows,)
    assert manifest.read(champion).framework == said["champion"]
    (used,) = [f for f in folder.rglob(PARAMETERS_FILE) if "xgboost" in str(f)]
    assert json.loads(used.read_text())["trees"] == 20


def test_mlflow_knows_the_trainings_and_a_version_of_the_best(
    ran: tuple[Path, subprocesses.Outcome],
) -> None:
    folder, outcome = ran
    uri = f"sqlite:///{folder}/root/mlflow.db"
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    version = client.get_model_version_by_alias("small-train-only", "challenger")
    (table,) = folder.rglob(compare.FILE)
    assert version.tags["framework"] == json.loads(table.read_text())["champion"]
    assert version.tags["tfx.run"] == outcome.run_id
    assert not {tags.MODEL, tags.EVALUATION, tags.SELECTION} & set(version.tags)
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["framework"] for run in runs} == {"sklearn", "xgboost"}
    assert all({"auc", "log_loss", "rows"} <= set(run.data.metrics) for run in runs)


def candidate(name: str, rows: int = 10, **metrics: float) -> compare.Candidate:
    made = manifest.Manifest(framework=name, label="y", inputs={}, example={})
    return compare.Candidate(Path(), Path(), "", made, {"rows": rows, **metrics})


def test_the_best_by_the_metrics_own_direction_comes_first() -> None:
    two = [candidate("a", auc=0.7, log_loss=0.5), candidate("b", auc=0.8, log_loss=0.6)]
    assert [c.name for c in compare.rank(two, Metric.AUC)] == ["b", "a"]
    assert [c.name for c in compare.rank(two, Metric.LOG_LOSS)] == ["a", "b"]
    same = [candidate("b", auc=0.7), candidate("a", auc=0.7)]
    assert [c.name for c in compare.rank(same, Metric.AUC)] == ["a", "b"]


def test_models_that_were_judged_by_different_rows_are_not_compared() -> None:
    with pytest.raises(UserError, match=r"by different rows \(a by 10, b by 11\)"):
        compare.rank([candidate("a", auc=0.7), candidate("b", 11, auc=0.8)], Metric.AUC)


def test_a_folder_without_a_training_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = packed.pack_text(configured(tmp_path).model_dump_json().encode())
    arguments = ["--config-gzip", config, "--run-id", "r", "--champion-dir", str(tmp_path / "c")]
    arguments += ["--comparison-dir", str(tmp_path / "t"), "--candidate", "no", "no-run", "uri"]
    assert compare.main(arguments) == 2
    assert "no-run holds no metrics.json" in capsys.readouterr().err


def test_neither_compiling_nor_comparing_imports_tfx() -> None:
    program = (
        "import sys, pipeline.runners.train_only, pipeline.tasks.compare;"
        "print([name for name in ('tfx', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT
    )
    assert done.stdout.strip() == "[]", done.stderr
