"""Training of the PyTorch model, and its files."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from models.dataset import Rows
from pipeline.errors import UserError
from pipeline.train_config import TrainConfig
from tests.models.learnable import SIZES, base_entropy, entropy, learnable

torch = pytest.importorskip("torch", reason="PyTorch is an extra: make setup EXTRAS=pytorch")

from models import pytorch_model  # noqa: E402


@pytest.fixture(scope="module")
def rows() -> Rows:
    return learnable(1200)


def settings(**changes: object) -> TrainConfig:
    hyper = {"hidden_units": (8,), "batch_size": 64, "max_epochs": 4, "learning_rate": 0.02}
    hyper |= {"device": "cpu", "dropout": 0.5} | changes.pop("pytorch", {})
    return TrainConfig.model_validate({"validation_share": 0.3, "pytorch": hyper, **changes})


def predictions(rows: Rows, model: object, folder: Path) -> np.ndarray:
    pytorch_model.save(model, folder)
    return pytorch_model.load(folder)(rows.numbers, rows.categories)


def test_it_learns_more_than_the_base_rate(rows):
    _, _, held_out = pytorch_model.train(rows, SIZES, settings(pytorch={"max_epochs": 12}))
    assert held_out < base_entropy(rows.labels) - 0.05


def test_an_untrained_model_predicts_the_base_rate(rows, tmp_path):
    fitting = pytorch_model.Fitting(rows, SIZES, settings(), members=3, epochs=1)
    nothing = np.zeros((1, 3), np.float32), np.zeros((1, 1), np.int32)
    none = replace(rows, numbers=nothing[0], categories=nothing[1])
    (said,) = predictions(none, fitting.networks, tmp_path)
    assert said == pytest.approx(rows.labels.mean(), abs=1e-6)


def test_networks_side_by_side_learn_as_if_each_were_alone(rows):
    hyper = settings(pytorch={"dropout": 0})
    several = pytorch_model.Fitting(rows, SIZES, hyper, members=3, epochs=1)
    alone = pytorch_model.Fitting(rows, SIZES, hyper, members=1, epochs=1)
    second = slice(1, 2)
    with torch.no_grad():
        for weight, same in zip(several.networks.weights, alone.networks.weights, strict=True):
            same.copy_(weight[second])
    everything = np.arange(len(rows))
    several.epoch(everything)
    alone.epoch(everything)
    inputs = torch.from_numpy(rows.numbers), torch.from_numpy(rows.categories)
    np.testing.assert_allclose(
        several.networks.eval()(*inputs)[second].detach(),
        alone.networks.eval()(*inputs).detach(),
        atol=1e-4,
    )


def test_training_goes_on_for_as_many_epochs_as_were_best_on_held_out_groups(rows, tmp_path):
    changes = {"max_epochs": 30, "patience": 2, "learning_rate": 0.1, "members": 1}
    _, history, held_out = pytorch_model.train(rows, SIZES, settings(pytorch=changes))
    losses = history.search.held_out
    assert history.steps == int(np.argmin(losses)) + 1
    assert len(losses) == min(30, history.steps + 2)
    assert held_out == min(losses)
    assert len(history.training.learned) == history.steps
    learn, stop = (rows.take(part) for part in rows.hold_out(0.3))
    for epochs in (1, history.steps):
        # Other rows have another base rate, from which the networks start.
        model, _, _ = pytorch_model.train(
            learn, SIZES, settings(pytorch=changes | {"epochs": epochs})
        )
        said = predictions(stop, model, tmp_path)
        assert losses[epochs - 1] == pytest.approx(entropy(stop.labels, said), abs=0.02)


def test_a_given_number_of_epochs_is_not_searched_for(rows):
    _, history, held_out = pytorch_model.train(rows, SIZES, settings(pytorch={"epochs": 2}))
    assert (history.steps, history.search, held_out) == (2, None, None)
    assert len(history.training.learned) == 2


def test_one_seed_gives_the_same_weights_and_another_does_not(rows, tmp_path):
    first, again, other = (
        predictions(rows, pytorch_model.train(rows, SIZES, settings(seed=seed))[0], tmp_path)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_training_leaves_the_random_numbers_and_threads_of_others_alone(rows):
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    pytorch_model.train(rows, SIZES, settings(pytorch={"epochs": 1}))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_balanced_classes_raise_the_probability_of_the_rarer_one(rows, tmp_path):
    none, balanced = (
        predictions(
            rows,
            pytorch_model.train(rows, SIZES, settings(class_weight=mode, pytorch={"epochs": 3}))[0],
            tmp_path,
        ).mean()
        for mode in ("none", "balanced")
    )
    assert none < balanced - 0.1


def test_dropout_leaves_out_a_share_and_keeps_the_mean():
    torch.manual_seed(1)
    left = pytorch_model.dropout(torch.ones(200, 500), 0.3)
    assert (left == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    assert left.mean() == pytest.approx(1, abs=0.01)


def test_the_search_says_each_held_out_loss_and_can_be_stopped(rows):
    told = []

    def report(epoch: int, loss: float) -> None:
        told.append((epoch, loss))
        if epoch == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pytorch_model.search(rows, SIZES, settings(), report=report)
    losses = pytorch_model.search(rows, SIZES, settings()).held_out
    assert told == list(enumerate(losses[:2], start=1))


def test_a_saved_model_says_the_mean_of_its_networks(rows, tmp_path):
    model, _, _ = pytorch_model.train(rows, SIZES, settings())
    said = predictions(rows, model, tmp_path)
    with torch.inference_mode():
        logits = model(torch.from_numpy(rows.numbers), torch.from_numpy(rows.categories))
    assert logits.shape == (4, len(rows))
    np.testing.assert_array_equal(said, torch.sigmoid(logits).mean(0).numpy())
    assert said.dtype == np.float32


def test_many_rows_are_answered_in_parts(rows, tmp_path, monkeypatch):
    model, _, _ = pytorch_model.train(rows, SIZES, settings())
    whole = predictions(rows, model, tmp_path)
    monkeypatch.setattr(pytorch_model, "_ROWS_AT_ONCE", 100)
    in_parts = pytorch_model.load(tmp_path)(rows.numbers, rows.categories)
    np.testing.assert_allclose(in_parts, whole, atol=1e-6)


def test_rows_on_disk_give_what_rows_in_memory_do(rows, tmp_path):
    names = [field.name for field in fields(rows) if field.name != "classes"]
    for name in names:
        np.save(tmp_path / f"{name}.npy", getattr(rows, name))
    mapped = Rows(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in names))
    _, one, _ = pytorch_model.train(rows, SIZES, settings())
    _, other, _ = pytorch_model.train(mapped, SIZES, settings())
    assert one == other


@pytest.mark.parametrize("empty", ["numbers", "categories"])
def test_a_model_may_have_no_numbers_or_no_categories(rows, tmp_path, empty):
    parts = {"numbers": rows.numbers, "categories": rows.categories}
    parts[empty] = parts[empty][:, :0]
    some = replace(rows, **parts)
    model, _, _ = pytorch_model.train(some, SIZES if empty == "numbers" else [], settings())
    assert predictions(some, model, tmp_path).shape == (len(rows),)


def test_a_gpu_that_is_not_there_is_asked_for_in_vain():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="finds no GPU here"):
        pytorch_model.device(settings(pytorch={"device": "cuda"}).pytorch)


class _Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("touched"),))


def test_weights_that_hold_more_than_tensors_are_not_unpickled(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, _, _ = pytorch_model.train(rows, SIZES, settings(pytorch={"epochs": 1}))
    pytorch_model.save(model, tmp_path)
    torch.save({"weights": _Harmful()}, tmp_path / pytorch_model.FILE)
    with pytest.raises(UserError, match="holds no PyTorch model of this kind"):
        pytorch_model.load(tmp_path)
    assert not Path("touched").exists()


@pytest.mark.parametrize("file", [pytorch_model.FILE, pytorch_model.ARCHITECTURE_FILE])
@pytest.mark.parametrize("content", [None, b"", b"no model", b"{}"])
def test_foreign_files_are_refused_in_words(rows, tmp_path, file, content):
    model, _, _ = pytorch_model.train(rows, SIZES, settings(pytorch={"epochs": 1}))
    pytorch_model.save(model, tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match="holds no PyTorch model of this kind"):
        pytorch_model.load(tmp_path)


def test_weights_of_other_networks_are_refused_in_words(rows, tmp_path):
    model, _, _ = pytorch_model.train(rows, SIZES, settings(pytorch={"epochs": 1}))
    pytorch_model.save(model, tmp_path)
    torch.save({"weight": torch.zeros(3)}, tmp_path / pytorch_model.FILE)
    with pytest.raises(UserError, match="holds no PyTorch model of this kind"):
        pytorch_model.load(tmp_path)
