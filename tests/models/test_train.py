"""The trainer as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from models import history, train
from models.bundle import Bundle
from models.features import ModelInputs
from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.train_config import Framework, TrainConfig
from tests.models.conftest import FEATURES
from tests.models.test_dataset import write
from tests.models.transformed import Transformed


def arguments(transformed: Transformed, folder: Path, *more: str) -> list[str]:
    return [
        *("xgboost", "--train-data", transformed.pattern, "--eval-data", transformed.pattern),
        *("--transform-graph", str(transformed.folder / "transform_graph")),
        *("--model-dir", str(folder / "model"), "--features", FEATURES.model_dump_json()),
        *("--param", "trees=20", "--param", "min_child_weight=1"),
        *more,
    ]


def test_it_writes_a_bundle_the_history_and_the_metrics_of_the_eval_data(
    transformed: Transformed, table: pa.Table, tmp_path: Path, capsys
):
    assert train.main(arguments(transformed, tmp_path, "--seed", "5")) == 0
    said = Bundle.load(tmp_path / "model").predict(table)
    labels = table["late"].to_numpy()
    metrics = json.loads((tmp_path / "model-run" / train.METRICS_FILE).read_text())
    assert metrics["rows"] == len(labels)
    assert metrics["auc"] == pytest.approx(roc_auc_score(labels, said), abs=1e-6)
    assert metrics["log_loss"] == pytest.approx(log_loss(labels, said), abs=1e-6)
    assert f"auc {metrics['auc']:.4f}" in capsys.readouterr().out
    assert history.read(tmp_path / "model-run").steps == 20


@pytest.mark.parametrize("framework", ["keras", "pytorch", "sklearn"])
def test_every_framework_is_trained_by_the_same_command(
    transformed: Transformed, table: pa.Table, tmp_path: Path, framework: str
):
    if framework == "pytorch":
        pytest.importorskip("torch", reason="PyTorch is an extra: make setup EXTRAS=pytorch")
    common = arguments(transformed, tmp_path)[1:-4]
    steps = "trees=5" if framework == "sklearn" else "epochs=1"
    assert train.main([framework, *common, "--param", steps]) == 0
    said = Bundle.load(tmp_path / "model").predict(table)
    metrics = json.loads((tmp_path / "model-run" / train.METRICS_FILE).read_text())
    assert metrics["auc"] == pytest.approx(roc_auc_score(table["late"], said), abs=1e-3)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--param", "max_dept=6"], "xgboost has no hyper-parameter max_dept; did you mean max_d"),
        (["--param", "max_depth"], "--param max_depth: expected NAME=VALUE"),
        (["--param", "max_depth=six"], '--param max_depth="six": input should be a valid integer'),
        (["--param", "max_depth=0"], "--param max_depth=0: input should be greater than or equal"),
        (["--features", "{}"], "--features: label: Field required"),
        (["--class-weight", "even"], "--class-weight even: input should be 'none' or 'balanced'"),
        (["--validation-share", "0.9"], "--validation-share 0.9: input should be less than 0.5"),
        (["--config", "no.toml"], "no.toml: no such configuration file"),
        (["--transform-graph", "nowhere"], "--transform-graph nowhere: holds no transform graph"),
        (["--train-weights", "1", "0.5"], "a number above 0 for each pattern of --train-data"),
        (["--train-weights", "0"], "--train-weights: expected a number above 0"),
        (["--train-data", "nowhere/*"], "no rows to learn from in nowhere/*"),
        (["--eval-data", "nowhere/*"], "nowhere/*"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_leaves_nothing_behind(
    transformed: Transformed, tmp_path: Path, capsys, more: list[str], sentence: str
):
    assert train.main(arguments(transformed, tmp_path, *more)) == 2
    assert sentence in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_holds_something_is_left_as_it_is(
    transformed: Transformed, tmp_path: Path, capsys
):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    assert train.main(arguments(transformed, tmp_path)) == 2
    assert "expected a new or an empty folder" in capsys.readouterr().err
    assert (tmp_path / "model" / "mine").exists()


def test_a_framework_that_is_not_installed_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(train.PACKAGES, Framework.PYTORCH, "no_such_package")
    with pytest.raises(UserError, match="make setup EXTRAS=pytorch"):
        train._check_installed(Framework.PYTORCH)


def test_hyper_parameters_are_typed_by_the_configuration():
    given = ["hidden_units=[64, 32]", "epochs=null", "dropout=0.25"]
    hyper = train.with_parameters(TrainConfig(), Framework.KERAS, given).keras
    assert (hyper.hidden_units, hyper.epochs, hyper.dropout) == ((64, 32), None, 0.25)
    linear = train.with_parameters(TrainConfig(), Framework.SKLEARN, ["model=linear"])
    assert linear.sklearn.model == "linear"
    assert linear.keras == TrainConfig().keras


@pytest.mark.parametrize("framework", Framework)
def test_help_lists_every_hyper_parameter_of_the_framework(framework: Framework, capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main([framework.value, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    for name, field in type(TrainConfig().of(framework)).model_fields.items():
        assert f"  {name}=" in out
        assert " ".join(field.description.split()) in out


def test_help_needs_no_framework_and_training_needs_no_tfx():
    heavy = ("tensorflow", "tfx", "torch", "sklearn", "xgboost", "numpy")
    code = f"""
import sys, models.train
models.train.parser()
sys.exit(any(name in sys.modules for name in {heavy}))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
    code = "import sys, models.training, models.xgboost_model; sys.exit('tfx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_metrics_count_ties_half_and_the_rows(tmp_path: Path):
    inputs = ModelInputs(("x", "y"), ("c",), (5,))
    pattern = write(tmp_path / "a.gz", range(30))
    said = np.round(np.random.default_rng(1).uniform(0.1, 0.9, 30), 1).astype(np.float32)
    metrics = train.evaluate(lambda numbers, categories: said, inputs, [pattern])
    labels = np.arange(30) % 2
    assert metrics["auc"] == pytest.approx(roc_auc_score(labels, said))
    assert metrics["log_loss"] == pytest.approx(log_loss(labels, said.astype(float)))
    assert metrics["rows"] == 30


def test_rows_of_one_class_are_no_test(tmp_path: Path):
    inputs = ModelInputs(("x", "y"), ("c",), (5,))
    pattern = write(tmp_path / "a.gz", range(0, 1))
    with pytest.raises(UserError, match="all rows have the same label"):
        train.evaluate(lambda numbers, categories: numbers[:, 0], inputs, [pattern])
