import hashlib
from pathlib import Path

import pytest

from tools import pytorch
from tools.environment import EXTRAS, ROOT
from tools.pytorch import beside, cpu_wheel, describe, offers, pins, weight

WHEEL = "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
# a Python 3.11 whose pip is told of a folder and of a page on the web
PYTHON = """#!/bin/sh
case "$*" in
    *sys.version_info*) echo cp311 ;;
    *"pip config list"*)
        echo "global.cert='/etc/ssl/ca.crt'"
        printf '%s\\n' "global.find-links='\\n{folder}\\nhttps://wheels.example/'" ;;
esac
"""
LOCK = """\
# Made by hand.
filelock==4.2 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
networkx==3.6 ; python_full_version < '3.12' \\
    --hash=sha256:ba
networkx==3.7 ; python_full_version >= '3.12' \\
    --hash=sha256:bb
nvidia-cublas==13.1 ; sys_platform == 'linux' \\
    --hash=sha256:ca
torch==2.13.0 \\
    --hash=sha256:da \\
    --hash=sha256:db
triton==3.7 ; sys_platform == 'linux' \\
    --hash=sha256:ea
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Linux machine with a lock, and no find-links."""
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setattr(pytorch, "ROOT", tmp_path)
    monkeypatch.setattr(pytorch.platform, "system", lambda: "Linux")
    monkeypatch.setattr(pytorch.platform, "machine", lambda: "x86_64")
    (tmp_path / EXTRAS["pytorch"]).write_text(LOCK)
    return tmp_path


@pytest.fixture
def python(machine: Path) -> Path:
    path = machine / "python3.11"
    path.write_text(PYTHON.format(folder=machine / "pips"))
    path.chmod(0o755)
    return path


def offer(folder: Path, name: str = WHEEL) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("a wheel")
    return folder / name


@pytest.mark.parametrize("variable", ["PIP_FIND_LINKS", "UV_FIND_LINKS"])
def test_a_cpu_wheel_in_a_folder_that_the_environment_names_is_taken(
    machine: Path, python: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    wheel = offer(machine / "wheels")
    assert cpu_wheel(python) is None
    separator = "," if variable == "UV_FIND_LINKS" else " "
    monkeypatch.setenv(variable, separator.join([str(machine / "none"), wheel.parent.as_uri()]))
    assert cpu_wheel(python) == wheel


def test_a_cpu_wheel_in_a_folder_of_pips_settings_is_taken(machine: Path, python: Path) -> None:
    wheel = offer(machine / "pips")
    assert cpu_wheel(python) == wheel


def test_a_python_without_pip_has_the_environment_alone(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = machine / "python3.11"
    python.write_text("#!/bin/sh\ncase $* in *pip*) exit 1 ;; esac\necho cp311\n")
    python.chmod(0o755)
    assert list(offers(python)) == []
    monkeypatch.setenv("PIP_FIND_LINKS", str(machine))
    assert list(offers(python)) == [machine]


@pytest.mark.parametrize(
    "name",
    [
        WHEEL.replace("+cpu", ""),
        WHEEL.replace("+cpu", "+cu130"),
        WHEEL.replace("2.13.0", "2.12.1"),
        WHEEL.replace("cp311", "cp312"),
        WHEEL.replace("cp311-cp311", "cp311-cp311t"),
        WHEEL.replace("x86_64", "aarch64"),
        WHEEL.replace("manylinux", "musllinux"),
        WHEEL.replace("torch", "torchvision"),
    ],
)
def test_a_wheel_of_another_build_version_python_or_system_is_not_taken(
    machine: Path, python: Path, name: str
) -> None:
    offer(machine / "pips", name)
    assert cpu_wheel(python) is None


def test_a_wheel_with_several_platforms_is_taken(machine: Path, python: Path) -> None:
    name = WHEEL.replace("manylinux_2_28", "manylinux_2_17_x86_64.manylinux2014")
    wheel = offer(machine / "pips", name)
    assert cpu_wheel(python) == wheel


def test_beside_a_cpu_wheel_the_lock_keeps_its_needs_with_their_hashes(machine: Path) -> None:
    wheel = offer(machine / "wheels")
    needed = f"Resolved 3 packages\nfilelock==4.2\nnetworkx==3.6\ntorch @ {wheel.as_uri()}\n"
    kept = LOCK.partition("nvidia")[0].partition("\n")[2]
    digest = hashlib.sha256(b"a wheel").hexdigest()
    assert beside(LOCK, needed, wheel) == (
        f"{kept}torch @ {wheel.as_uri()} --hash=sha256:{digest}\n"
    )


def test_the_build_and_what_it_weighs_are_told(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert describe(machine / WHEEL) == f"the CPU build in {machine}"
    assert "CUDA build, 2.7 GB to download and about 5 GB on disk" in describe(None)
    assert weight(machine / WHEEL) < weight(None)
    monkeypatch.setattr(pytorch.platform, "system", lambda: "Darwin")
    assert describe(None) == "PyPI's CPU build"


def test_the_locked_torch_is_the_one_whose_weight_is_told() -> None:
    lock = (ROOT / EXTRAS["pytorch"]).read_text(encoding="utf-8")
    (torch,) = [pin for pin in pins(lock) if pin.startswith("torch==")]
    assert torch.startswith("torch==2.13.0 "), "measure CUDA_DOWNLOAD_GB and CUDA_DISK_GB anew"
