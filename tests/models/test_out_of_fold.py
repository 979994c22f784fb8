"""Tests of models.out_of_fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.manifest import MEMBERS
from models.out_of_fold import OutOfFold
from pipeline.errors import UserError

KEYS = OutOfFold.keys([b"first", b"second", b"third"])


def make(folder: Path, *shape: int, keys: list[bytes] = KEYS, seed: int = 0) -> OutOfFold:
    """Some predictions, written to a folder."""
    values = np.random.default_rng(seed).random(shape, np.float32)
    made = OutOfFold({key: place for place, key in enumerate(keys)}, values)
    folder.mkdir(parents=True, exist_ok=True)
    made.write(folder)
    return made


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4)])
def test_predictions_are_read_as_they_were_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    made = make(tmp_path, *shape)
    found = OutOfFold.of(tmp_path)
    assert found is not None
    assert found.repeats == 2
    np.testing.assert_array_equal(found.predictions(KEYS), made.values)


def test_a_row_that_is_not_known_has_no_prediction(tmp_path: Path) -> None:
    made = make(tmp_path, 2, 3, 4)
    found = made.predictions([KEYS[2], *OutOfFold.keys([b"another"]), KEYS[0]])
    np.testing.assert_array_equal(found[:, 0], made.values[:, 2])
    np.testing.assert_array_equal(found[:, 2], made.values[:, 0])
    assert np.isnan(found[:, 1]).all()


def test_an_ensemble_says_the_mean_of_what_its_members_say(tmp_path: Path) -> None:
    one = make(tmp_path / MEMBERS / "keras", 2, 3)
    # The other knows the rows in another order, and one less.
    other = make(tmp_path / MEMBERS / "sklearn", 2, 2, keys=[KEYS[1], KEYS[0]], seed=1)
    found = OutOfFold.of(tmp_path)
    assert found is not None
    said = found.predictions(KEYS)
    np.testing.assert_allclose(said[:, 0], (one.values[:, 0] + other.values[:, 1]) / 2)
    assert np.isnan(said[:, 2]).all()


def test_an_ensemble_of_which_a_member_has_none_has_none(tmp_path: Path) -> None:
    make(tmp_path / MEMBERS / "keras", 2, 3)
    (tmp_path / MEMBERS / "sklearn").mkdir()
    assert OutOfFold.of(tmp_path) is None


def test_members_that_were_parted_differently_often_have_no_mean(tmp_path: Path) -> None:
    make(tmp_path / MEMBERS / "keras", 2, 3)
    make(tmp_path / MEMBERS / "sklearn", 3, 3)
    with pytest.raises(UserError, match="different numbers of repeats"):
        OutOfFold.of(tmp_path)
