"""The mean of several models as a bundle of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import ensemble, manifest
from models.bundle import Bundle
from pipeline.errors import UserError
from tests.models.tiny import RAW, SERIALIZED, expected, save_model


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("members")
    return {
        "keras": save_model(folder / "keras", spans=(1, 2)),
        "xgboost": save_model(folder / "xgboost", framework="xgboost", bias=1.0, spans=(2, 3)),
    }


def test_an_ensemble_predicts_the_mean_of_its_members(
    members: dict[str, Path], tmp_path: Path
) -> None:
    ensemble.write(tmp_path / "both", members)
    both = Bundle.load(tmp_path / "both")
    by_hand = np.mean([expected(), expected(1.0)], axis=0)
    np.testing.assert_allclose(both.predict(RAW), by_hand, atol=1e-6)
    np.testing.assert_allclose(both.predict_examples(SERIALIZED), by_hand, atol=1e-6)
    alone = [Bundle.load(member).predict(RAW) for member in members.values()]
    np.testing.assert_allclose(both.predict(RAW), np.mean(alone, axis=0), atol=1e-7)


def test_it_says_what_it_takes_and_where_it_comes_from(
    members: dict[str, Path], tmp_path: Path
) -> None:
    written = ensemble.write(tmp_path / "both", members)
    assert written == manifest.read(tmp_path / "both")
    assert (written.framework, written.label) == ("ensemble", "late")
    assert written.inputs == {"temp": "float32", "carrier": "string"}
    assert written.example == {"temp": 0.5, "carrier": "AA"}
    assert written.provenance.node == "ModelSelector"
    assert (written.provenance.pipeline, written.provenance.run) == ("toy", "run-1")
    assert written.provenance.spans == (1, 2, 3)
    assert written.held_out_loss is None
    for name, member in members.items():
        assert manifest.read(tmp_path / "both" / "members" / name) == manifest.read(member)


def test_members_that_predict_something_else_are_refused(
    members: dict[str, Path], tmp_path: Path
) -> None:
    other = save_model(tmp_path / "other", framework="sklearn", label="cancelled")
    with pytest.raises(UserError, match="sklearn predicts 'cancelled' of 0, 1 and keras 'late'"):
        ensemble.write(tmp_path / "both", members | {"sklearn": other})
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("inputs", [{"temp": "float32"}, {"temp": "int64", "carrier": "string"}])
def test_members_that_take_other_columns_are_refused(
    members: dict[str, Path], tmp_path: Path, inputs: dict[str, str]
) -> None:
    other = save_model(tmp_path / "other", framework="sklearn", inputs=inputs)
    differing = "carrier" if len(inputs) == 1 else "temp"
    with pytest.raises(UserError, match=rf"do not take the same columns \({differing}\)"):
        ensemble.write(tmp_path / "both", members | {"sklearn": other})


def test_a_member_that_was_changed_is_refused(tmp_path: Path) -> None:
    member = save_model(tmp_path / "keras")
    (member / "fingerprint.pb").write_bytes(b"x")
    with pytest.raises(UserError, match="was changed after it was written"):
        ensemble.write(tmp_path / "both", {"keras": member})
    assert not (tmp_path / "both").exists()


def test_a_member_that_is_changed_later_is_refused_by_who_loads_the_ensemble(
    members: dict[str, Path], tmp_path: Path
) -> None:
    ensemble.write(tmp_path / "both", members)
    (tmp_path / "both" / "members" / "xgboost" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(UserError, match="was changed after it was written"):
        Bundle.load(tmp_path / "both")
