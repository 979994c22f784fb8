"""Trainings that go on from a model that is there, and those that begin anew instead."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from models import ensemble, history, manifest, train, training, warm, xgboost_model
from models.dataset import Rows
from pipeline.provenance import Provenance
from pipeline.train_config import Framework, TrainConfig
from tests.models.conftest import FEATURES
from tests.models.learnable import SIZES, entropy, learnable
from tests.models.transformed import Transformed

HYPER: dict[str, dict[str, Any]] = {
    "keras": {
        **{"hidden_units": (8,), "dropout": 0.5, "batch_size": 64, "max_epochs": 8},
        "learning_rate": 0.02,
    },
    "xgboost": {
        **{"max_trees": 200, "patience": 5, "max_depth": 6, "min_child_weight": 1},
        **{"learning_rate": 0.2, "colsample_bytree": 0.4, "reg_lambda": 10},
    },
}
HYPER["pytorch"] = HYPER["keras"] | {"device": "cpu"}


@dataclass(frozen=True)
class Before:
    """A framework, and a model that was trained on some rows."""

    name: str
    module: ModuleType
    model: Any
    told: history.History
    folder: Path

    def settings(self, **changes: Any) -> TrainConfig:
        hyper = HYPER[self.name] | {"members": 1} if self.name != "xgboost" else HYPER[self.name]
        return TrainConfig.model_validate({"validation_share": 0.3, self.name: hyper | changes})

    def says(self, model: Any, rows: Rows) -> np.ndarray:
        """The probability [rows] of label 1."""
        if self.name == "keras":
            return np.asarray(self.module.predicted(model, rows.numbers, rows.categories))[:, 0]
        if self.name == "pytorch":
            self.module.save(model, self.folder.parent)
            return self.module.load(self.folder.parent)(rows.numbers, rows.categories)
        return model.inplace_predict(xgboost_model.matrix(rows.numbers, rows.categories))


@pytest.fixture(scope="module")
def rows() -> Rows:
    return learnable(2000)


@pytest.fixture(scope="module", params=["keras", "pytorch", "xgboost"])
def before(rows: Rows, request: Any, tmp_path_factory: Any) -> Before:
    if request.param == "pytorch":
        pytest.importorskip("torch", reason="PyTorch is an extra: make setup EXTRAS=pytorch")
    module = importlib.import_module(f"models.{request.param}_model")
    folder = tmp_path_factory.mktemp("warm") / "base"
    folder.mkdir()
    found = Before(request.param, module, None, None, folder)
    model, told, _ = module.train(rows, SIZES, found.settings())
    module.save(model, folder)
    return replace(found, model=model, told=told)


def test_it_begins_where_the_model_before_is_and_needs_fewer_steps(before: Before, rows: Rows):
    _, told, held_out_loss = before.module.train(rows, SIZES, before.settings(), before.folder)
    _, stop = rows.hold_out(0.3)
    some = rows.take(stop)
    expected = entropy(some.labels, before.says(before.model, some))
    assert told.search.before == pytest.approx(expected, abs=1e-5)
    assert told.steps == told.search.best_step < before.told.steps
    assert held_out_loss == told.search.best_loss <= expected + 1e-5
    assert len(told.training.learned) == told.steps


def test_a_model_that_no_step_makes_better_stays_as_it_is(before: Before, rows: Rows):
    wild = before.settings(learning_rate=1.0 if before.name == "xgboost" else 10.0)
    model, told, held_out_loss = before.module.train(rows, SIZES, wild, before.folder)
    assert (told.steps, told.training.learned) == (0, ())
    assert held_out_loss == told.search.before
    np.testing.assert_array_equal(before.says(model, rows), before.says(before.model, rows))


def test_a_model_of_another_shape_is_not_gone_on_from(before: Before, rows: Rows):
    other = {"categories": "native"} if before.name == "xgboost" else {"hidden_units": (9,)}
    with pytest.raises(warm.Unfit, match="the model before"):
        before.module.train(rows, SIZES, before.settings(**other), before.folder)
    more = {"max_trees": before.told.steps + 4} if before.name == "xgboost" else {"members": 2}
    with pytest.raises(warm.Unfit, match="the model before"):
        before.module.train(rows, SIZES, before.settings(**more), before.folder)


@pytest.mark.parametrize("name", ["keras", "pytorch"])
def test_each_of_several_networks_goes_on_by_itself(rows: Rows, tmp_path: Path, name: str):
    if name == "pytorch":
        pytest.importorskip("torch", reason="PyTorch is an extra: make setup EXTRAS=pytorch")
    module = importlib.import_module(f"models.{name}_model")
    some = rows.take(slice(200))
    hyper = HYPER[name] | {"members": 3, "epochs": 1}
    settings = TrainConfig.model_validate({name: hyper})
    model, _, _ = module.train(some, SIZES, settings)
    module.save(model, tmp_path)
    still = TrainConfig.model_validate({name: hyper | {"learning_rate": 1e-12, "weight_decay": 0}})
    same, _, _ = module.train(some, SIZES, still, tmp_path)
    kept = Before(name, module, model, None, tmp_path / "base")
    np.testing.assert_allclose(kept.says(same, some), kept.says(model, some), atol=1e-6)


def test_trees_go_on_from_the_values_themselves_not_from_their_bins(rows: Rows):
    settings = TrainConfig.model_validate({"xgboost": HYPER["xgboost"] | {"trees": 30}})
    base, _, _ = xgboost_model.train(rows, SIZES, settings)
    rng = np.random.default_rng(5)
    shifted = rng.normal(0.3, 1.0, rows.numbers.shape).astype(np.float32)
    other = replace(rows, numbers=shifted)
    everything = np.arange(len(rows))
    data = xgboost_model.quantized(other, everything, settings, base=base)
    import xgboost as xgb

    grown = xgb.train(xgboost_model.parameters(settings, len(rows)), data, 5)
    both = xgboost_model.joined(base, grown)
    said = xgboost_model.said_of(both, other, everything, "margin")
    # A value that is nearer to a cut than what is taken off falls on the other side.
    assert np.mean(np.abs(said - grown.predict(data, output_margin=True)) > 1e-5) < 0.005


@pytest.fixture(scope="module")
def trained(transformed: Transformed, tmp_path_factory: Any) -> Path:
    return run(transformed, tmp_path_factory.mktemp("first"), spans=(1, 2)).model_folder


def run(transformed: Transformed, folder: Path, **changes: Any) -> training.Task:
    xgboost = {"trees": 5, "min_child_weight": 1} | changes.pop("xgboost", {})
    spans = changes.pop("spans", ())
    task = training.Task(
        train_files=[transformed.pattern] * max(1, len(spans)),
        transform_graph=str(transformed.folder / "transform_graph"),
        features=FEATURES,
        settings=TrainConfig.model_validate({"warm_start": True, "xgboost": xgboost}),
        model_folder=folder / "model",
        run_folder=folder / "run",
        provenance=Provenance(run=f"run-{folder.name}", spans=spans),
    )
    task = replace(task, **changes)
    training.run(changes.get("framework", Framework.XGBOOST), task)
    return task


def test_the_manifest_and_the_history_say_what_was_gone_on_from(
    transformed: Transformed, trained: Path, tmp_path: Path
):
    first = manifest.read(trained)
    assert (first.base, first.provenance.spans) == (None, (1, 2))
    begun = history.read(trained.parent / "run").begun
    assert begun == "anew: no model made with xgboost is live that these rows are new to"

    second = run(transformed, tmp_path / "second", spans=(2, 3), base=trained)
    found = manifest.read(second.model_folder)
    assert found.base.digest == first.digest and found.base.spans == (1, 2)
    model = f"model {first.digest[:12]} of run {first.provenance.run}"
    begun = history.read(second.run_folder).begun
    assert begun == f"on from {model}, which knows spans 1, 2"

    third = run(transformed, tmp_path / "third", spans=(3, 4), base=second.model_folder)
    assert manifest.read(third.model_folder).base.spans == (1, 2, 3)
    assert xgboost_model._read(third.model_folder).num_boosted_rounds() == 15


def test_a_bundle_that_was_sealed_before_there_were_bases_is_whole(trained: Path, tmp_path: Path):
    content = json.loads((trained / manifest.FILE).read_text())
    del content["base"]
    (tmp_path / manifest.FILE).write_text(json.dumps(content))
    assert manifest.read(tmp_path) == manifest.read(trained)


def test_a_member_of_an_ensemble_is_gone_on_from(
    transformed: Transformed, trained: Path, model_folder: Path, tmp_path: Path
):
    ensemble.write(tmp_path / "both", {"xgboost": trained, "keras": model_folder})
    task = run(transformed, tmp_path, spans=(3,), base=tmp_path / "both")
    assert manifest.read(task.model_folder).base.digest == manifest.read(trained).digest


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"transform": "another"}, "another transform graph: features, preprocessing or schema"),
        ({"framework": "keras"}, "the model before is made with keras"),
    ],
)
def test_what_does_not_fit_is_told_and_the_training_begins_anew(
    transformed: Transformed, trained: Path, tmp_path: Path, change: dict[str, str], why: str
):
    folder = tmp_path / "base"
    folder.mkdir()
    for file in trained.glob("*.ubj"):
        (folder / file.name).write_bytes(file.read_bytes())
    manifest.write(folder, manifest.read(trained).model_copy(update=change))
    task = run(transformed, tmp_path, spans=(3,), base=folder)
    assert manifest.read(task.model_folder).base is None
    assert why in history.read(task.run_folder).begun
    assert xgboost_model._read(task.model_folder).num_boosted_rounds() == 5


def test_the_length_is_chosen_on_groups_of_the_newest_span_alone():
    folds = np.array([10, 900, 1010, 1900] * 5, np.int32)
    some = learnable(20)
    some = replace(some, folds=folds)
    learn, stop = some.hold_out(0.2)
    assert set(folds[stop]) == {10} and set(folds[learn]) == {900, 1010, 1900}
    warm.check_new(some, 0.2)


@pytest.mark.parametrize("folds", [[900, 1010, 1900], [10, 1010, 1900], [1010, 1900]])
def test_a_newest_span_of_too_few_groups_is_no_ground_to_go_on(folds: list[int]):
    some = replace(learnable(20), folds=np.resize(np.array(folds, np.int32), 20))
    with pytest.raises(warm.Unfit, match="the newest span has too few groups"):
        warm.check_new(some, 0.2)
    _, stop = some.hold_out(0.2)
    assert len(stop)


def test_the_program_takes_a_base_and_says_what_came_of_it(
    transformed: Transformed, trained: Path, tmp_path: Path, capsys: Any
):
    common = [
        *("--train-data", transformed.pattern, "--eval-data", transformed.pattern),
        *("--transform-graph", str(transformed.folder / "transform_graph")),
        *("--features", FEATURES.model_dump_json(), "--model-dir", str(tmp_path / "model")),
    ]
    assert train.main(["xgboost", *common, "--param", "trees=2", "--base", str(trained)]) == 0
    digest = manifest.read(trained).digest
    assert f"xgboost: on from model {digest[:12]} of run" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train.main(["sklearn", *common, "--base", str(trained)])
