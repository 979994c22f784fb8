import json
import sys
from pathlib import Path

import pytest

from tools import environment, install, pytorch, steps
from tools.environment import EXTRAS, LOCKS, OFFERED, read_stamp, write_stamp
from tools.install import setup
from tools.steps import SetupError

LOCK = "sympy==1.14 \\\n    --hash=sha256:aa\ntorch==2.13.0 \\\n    --hash=sha256:bb\n"


class Recorder:
    """Takes the place of Steps: notes the commands, and runs none."""

    commands: list[list[str]]

    def __init__(self, lock: int) -> None:
        pass

    def run(self, title: str, command: list[object], **options: object) -> str:
        self.commands.append([str(word) for word in command])
        return "sympy==1.14\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with locks and a whole .venv, on a machine that offers no CPU wheel."""
    for lock in LOCKS.values():
        (tmp_path / lock).write_text(f"# {lock}\n")
    (tmp_path / EXTRAS["pytorch"]).write_text(LOCK)
    (tmp_path / ".venv").mkdir()
    monkeypatch.delenv("PYTHON", raising=False)
    for module in (environment, install, pytorch, steps):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for module in (environment, install):
        monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "setup.json")
    monkeypatch.setattr(install, "TOOLS", tmp_path / ".tools")
    monkeypatch.setattr(install, "Steps", Recorder)
    monkeypatch.setattr(install, "uv", lambda steps: Path("uv"))
    monkeypatch.setattr(install, "make_venv", lambda steps, base: None)
    monkeypatch.setattr(install, "check_platform", lambda: None)
    monkeypatch.setattr(pytorch, "cpu_wheel", lambda python: None)
    monkeypatch.setattr(pytorch.platform, "system", lambda: "Linux")
    Recorder.commands = []
    return tmp_path


@pytest.fixture
def wheel(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = project / "wheels" / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"
    path.parent.mkdir()
    path.write_text("a wheel")
    monkeypatch.setattr(pytorch, "cpu_wheel", lambda python: path)
    return path


def synced() -> list[list[str]]:
    """The names of the locks of each sync."""
    syncs = [command for command in Recorder.commands if command[1:3] == ["pip", "sync"]]
    return [[Path(word).name for word in words if "requirements" in word] for words in syncs]


BASE = Path(sys.executable)


@pytest.mark.usefixtures("project")
def test_an_extra_is_installed_beside_the_lock_and_stays() -> None:
    setup("run", ["pytorch"], BASE)
    setup("run", [], BASE)
    setup("run", ["pytorch"], BASE)
    assert synced() == [[LOCKS["run"], EXTRAS["pytorch"]]]
    setup("dev", [], BASE)
    assert synced()[1:] == [[LOCKS["dev"], EXTRAS["pytorch"]]]
    assert environment.is_ready(read_stamp(), "run", ["pytorch"])


def test_a_changed_lock_brings_the_extra_along(project: Path) -> None:
    setup("dev", ["pytorch"], BASE)
    (project / LOCKS["run"]).write_text("# changed\n")
    setup("run", [], BASE)
    assert synced()[1:] == [[LOCKS["dev"], EXTRAS["pytorch"]]]
    (project / EXTRAS["pytorch"]).write_text(LOCK + "# changed\n")
    setup("run", [], BASE)
    assert len(synced()) == 2
    setup("run", ["pytorch"], BASE)
    assert len(synced()) == 3


def test_the_notebooks_need_no_pytorch(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / EXTRAS["notebook"]).write_text("jupyterlab==4\n")
    free = type("Usage", (), {"free": 3e9})
    write_stamp(BASE, "run")
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: free)
    setup("run", ["notebook"], BASE)
    assert synced() == [[LOCKS["run"], EXTRAS["notebook"]]]
    assert "PyTorch" not in capsys.readouterr().out
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 9e9}))
    setup("run", ["pytorch"], BASE)
    assert synced()[1:] == [[LOCKS["run"], EXTRAS["pytorch"], EXTRAS["notebook"]]]


@pytest.mark.usefixtures("project")
def test_the_cuda_build_is_announced_with_its_weight(capsys: pytest.CaptureFixture[str]) -> None:
    setup("run", ["pytorch"], BASE)
    assert capsys.readouterr().out.startswith("PyTorch: PyPI's CUDA build, 2.7 GB to download")


def test_the_cpu_wheel_is_installed_with_what_it_needs_of_the_lock(
    project: Path, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup("run", ["pytorch"], BASE)
    assert f"PyTorch: the CPU build in {wheel.parent}\n" in capsys.readouterr().out
    resolution, sync = Recorder.commands
    assert resolution[-1] == str(project / ".tools" / "pytorch.in")
    assert (project / ".tools" / "pytorch.in").read_text() == f"torch @ {wheel.as_uri()}\n"
    assert sync[-1] == str(project / ".tools" / EXTRAS["pytorch"])
    assert "--require-hashes" in sync
    assert Path(sync[-1]).read_text().startswith("sympy==1.14 \\\n    --hash=sha256:aa\ntorch @ ")


@pytest.mark.usefixtures("project")
def test_where_no_cpu_wheel_is_offered_the_tests_go_without() -> None:
    setup("dev", [OFFERED], BASE)
    setup("dev", [OFFERED], BASE)
    assert synced() == [[LOCKS["dev"]]]


@pytest.mark.usefixtures("wheel")
def test_where_a_cpu_wheel_is_offered_the_tests_take_it_along() -> None:
    setup("dev", [], BASE)
    setup("dev", [OFFERED], BASE)
    setup("dev", [OFFERED], BASE)
    assert synced() == [[LOCKS["dev"]], [LOCKS["dev"], EXTRAS["pytorch"]]]


def test_a_disk_too_small_for_the_cuda_build_is_told_before_anything_is_done(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stamp(BASE, "dev")
    free = type("Usage", (), {"free": 3e9})
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: free)
    with pytest.raises(SetupError, match=r"needs about 5 GB .* has 3\.0 GB left"):
        setup("dev", ["pytorch"], BASE)
    assert Recorder.commands == []
    setup("dev", [], BASE)
    (project / LOCKS["dev"]).write_text("# changed\n")
    setup("dev", [], BASE)
    assert synced() == [[LOCKS["dev"]]]


@pytest.mark.usefixtures("project")
def test_an_unknown_extra_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert install.main("run", "pytorch", "nonsense") == 1
    message = capsys.readouterr().err
    assert message.startswith(
        "setup: there is no extra nonsense: EXTRAS takes pytorch, notebook, docs;"
    )
    assert message.count("\n") == 1
    assert Recorder.commands == []


@pytest.mark.usefixtures("project")
def test_a_stamp_from_before_there_were_extras_still_holds() -> None:
    write_stamp(BASE, "dev")
    stamp = json.loads(environment.STAMP.read_text())
    del stamp["extras"]
    environment.STAMP.write_text(json.dumps(stamp))
    assert environment.is_ready(read_stamp(), "dev")
    assert not environment.is_ready(read_stamp(), "dev", ["pytorch"])
    assert not environment.is_ready(read_stamp(), "dev", ["nonsense"])
