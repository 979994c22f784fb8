"""Which build of PyTorch the extra takes: a CPU wheel that is offered here, or the index's own.

On Linux the index has CUDA builds alone. Where pip or uv is told to look into a folder
(`find-links`) and a CPU wheel of the locked version lies there, that one is taken, and with it only
what it needs of the extra's lock.
"""

import ast
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tools.environment import EXTRAS, ROOT, digest

LOCK = EXTRAS["pytorch"]
# What torch 2.13.0 and what it needs weigh for Linux on x86_64.
CUDA_DOWNLOAD_GB = 2.7
CUDA_DISK_GB = 5
CPU_DISK_GB = 1


def cpu_wheel(python: Path) -> Path | None:
    """The CPU wheel of the locked version that is offered for that Python, if there is one."""
    if platform.system() != "Linux":
        return None  # the index's own build for macOS is one for the CPU
    pin = re.search(r"^torch==([^\s;+]+)", (ROOT / LOCK).read_text(encoding="utf-8"), re.MULTILINE)
    said = ask(python, "-c", "import sys; print('cp%d%d' % sys.version_info[:2])").strip()
    if pin is None or not said:
        return None
    name = re.compile(
        rf"torch-{re.escape(pin[1])}\+cpu-{said}-({said}|abi3|none)-"
        rf"([\w.]+\.)?(many)?linux\w*_{platform.machine()}(\.[\w.]+)?\.whl"
    )
    wheels = (wheel for folder in offers(python) for wheel in sorted(folder.glob("torch-*.whl")))
    return next((wheel for wheel in wheels if name.fullmatch(wheel.name)), None)


def offers(python: Path) -> Iterator[Path]:
    """The local folders of uv's and pip's find-links: from the environment, then pip's settings."""
    places = os.environ.get("UV_FIND_LINKS", "").split(",")
    places += os.environ.get("PIP_FIND_LINKS", "").split()
    # without pip (Debian's Python) the environment alone counts
    for line in ask(python, "-m", "pip", "config", "list").splitlines():
        key, _, value = line.partition("=")
        if key.endswith(".find-links"):
            places += ast.literal_eval(value).split()
    for place in dict.fromkeys(place.strip() for place in places):
        url = urlsplit(place)
        folder = Path(unquote(url.path) if url.scheme == "file" else place).expanduser()
        if place and folder.is_dir():
            yield folder.absolute()


def ask(python: Path, *arguments: str) -> str:
    """What that Python prints, nothing if it fails."""
    command = [str(python), "-Es", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout if result.returncode == 0 else ""


def describe(wheel: Path | None) -> str:
    """The build that will be taken, in a few words."""
    if wheel is not None:
        return f"the CPU build in {wheel.parent}"
    if platform.system() == "Linux":
        return (
            f"PyPI's CUDA build, {CUDA_DOWNLOAD_GB} GB to download and about {CUDA_DISK_GB} GB on"
            " disk (a folder with a CPU wheel can be named in PIP_FIND_LINKS)"
        )
    return "PyPI's CPU build"


def weight(wheel: Path | None) -> int:
    """The gigabytes that the build takes on the disk."""
    return CUDA_DISK_GB if wheel is None and platform.system() == "Linux" else CPU_DISK_GB


def beside(lock: str, needed: str, wheel: Path) -> str:
    """An extra's lock with a wheel in place of its torch, and of the rest what the wheel needs.

    Args:
        lock: The text of the lock.
        needed: What uv resolved the wheel to, one package a line.
        wheel: The CPU wheel.
    """
    names = set(re.findall(r"^([\w.-]+)==", needed, re.MULTILINE))
    kept = [pin for pin in pins(lock) if pin.split("==")[0] in names]
    return "\n".join([*kept, f"torch @ {wheel.as_uri()} --hash=sha256:{digest(wheel)}", ""])


def pins(lock: str) -> list[str]:
    """The packages of a lock, each with its hashes."""
    return re.findall(r"^[\w.-]+==(?:.*\\\n)*.*", lock, re.MULTILINE)
