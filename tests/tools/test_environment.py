import re
import sys
from pathlib import Path

import pytest

from tools import environment
from tools.environment import EXTRAS, LOCKS, ROOT, is_ready, read_stamp, write_stamp


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with locks and an empty .venv."""
    (tmp_path / ".venv").mkdir()
    for lock in LOCKS.values():
        (tmp_path / lock).write_text(f"# {lock}\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "STAMP", tmp_path / ".venv" / "setup.json")
    return tmp_path


@pytest.fixture
def python(tmp_path: Path) -> Path:
    path = tmp_path / "python3"
    path.write_text("a Python")
    return path


@pytest.mark.usefixtures("project")
def test_without_a_stamp_nothing_is_ready() -> None:
    assert not is_ready(read_stamp(), "run")


@pytest.mark.usefixtures("project")
def test_the_larger_lock_makes_the_smaller_ready_and_not_the_other_way_round(python: Path) -> None:
    write_stamp(python, "run")
    assert is_ready(read_stamp(), "run")
    assert not is_ready(read_stamp(), "dev")
    write_stamp(python, "dev")
    assert is_ready(read_stamp(), "run")
    assert is_ready(read_stamp(), "dev")


def test_a_changed_lock_is_not_ready_but_the_environment_is_kept(
    project: Path, python: Path
) -> None:
    write_stamp(python, "dev")
    (project / LOCKS["run"]).write_text("# changed\n")
    assert read_stamp() is not None
    assert not is_ready(read_stamp(), "run")
    assert is_ready(read_stamp(), "dev")


def test_a_replaced_python_a_moved_folder_and_a_torn_stamp_are_not_used(
    project: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stamp(python, "dev")
    python.write_text("another Python")
    assert read_stamp() is None
    write_stamp(python, "dev")
    monkeypatch.setattr(environment, "ROOT", project / "elsewhere")
    assert read_stamp() is None
    monkeypatch.setattr(environment, "ROOT", project)
    assert read_stamp() is not None
    environment.STAMP.write_text('{"root": ')
    assert read_stamp() is None


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z])", text)[1:]
    return {block.split(" \\")[0]: block.strip() for block in blocks}


def hashes(lock: str) -> dict[str, list[str]]:
    """By package and version: of some, dev has need on more systems than run."""
    return {
        name.partition(" ")[0]: re.findall(r"sha256:\w+", pin) for name, pin in pins(lock).items()
    }


def test_the_locks_agree_and_every_package_has_a_hash_and_no_index_is_named() -> None:
    run, dev = hashes(LOCKS["run"]), hashes(LOCKS["dev"])
    assert len(run) > 100
    assert {name: dev.get(name) for name in run} == run
    for lock in [*LOCKS.values(), *EXTRAS.values(), "tools/bootstrap.lock"]:
        assert "://" not in (ROOT / lock).read_text(encoding="utf-8")
        assert all("--hash=sha256:" in block for block in pins(lock).values())


@pytest.mark.parametrize("lock", EXTRAS.values())
def test_the_lock_of_an_extra_holds_what_it_adds_and_agrees_with_the_others(lock: str) -> None:
    extra, run, dev = pins(lock), pins(LOCKS["run"]), pins(LOCKS["dev"])
    assert not {name: run[name] for name in extra if run.get(name) == extra[name]}
    versions = {name.split(" ")[0] for name in dev}
    names = {version.split("==")[0] for version in versions}
    assert {
        version for name in extra if (version := name.split(" ")[0]).split("==")[0] in names
    } <= versions


def test_the_environment_that_runs_the_tests_is_the_one_that_is_locked() -> None:
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("these tests run in another environment")
    assert is_ready(read_stamp(), "dev")
