from pathlib import Path

import pytest

from tools.environment import EXTRAS, LOCKS, ROOT
from tools.lock import DOCKER, TRAINERS, leave_out
from tools.pytorch import pins


def read(path: Path) -> list[str]:
    return pins(path.read_text(encoding="utf-8"))


def test_of_an_extra_what_the_other_lock_has_just_so_is_left_out(tmp_path: Path) -> None:
    base, extra = tmp_path / "base.lock", tmp_path / "extra.lock"
    both, wider = "a==1 \\\n    --hash=sha256:aa", "b==2 \\\n    --hash=sha256:bb"
    narrower = wider.replace("b==2", "b==2 ; python_full_version < '3.12'")
    base.write_text(f"# a base\n{both}\n{narrower}\n")
    extra.write_text(f"# an extra\n{both}\n{wider}\nc==3 \\\n    --hash=sha256:cc\n")
    leave_out(extra, base)
    assert extra.read_text() == f"# an extra\n{wider}\nc==3 \\\n    --hash=sha256:cc\n"


@pytest.mark.parametrize("name", TRAINERS)
def test_an_image_of_a_trainer_installs_what_is_locked_and_nothing_twice(name: str) -> None:
    locked = {
        pin.split(" ")[0] for lock in [LOCKS["run"], *EXTRAS.values()] for pin in read(ROOT / lock)
    }
    image = read(DOCKER / f"{name}.lock")
    assert {pin.split(" ")[0] for pin in image} <= locked
    assert all("--hash=sha256:" in pin for pin in image)
    if name != "base":
        assert not set(image) & set(read(DOCKER / "base.lock"))


def test_the_images_leave_out_what_training_never_imports() -> None:
    names = {pin.split("==")[0] for name in TRAINERS for pin in read(DOCKER / f"{name}.lock")}
    left_out = (DOCKER / "left-out.txt").read_text(encoding="utf-8").splitlines()
    assert not names & set(left_out)
    assert {"tensorflow", "tensorflow-transform", "torch", "xgboost-cpu", "skops"} <= names
