"""Say what was found on this machine, and what the set-up will use or has used."""

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from tools import bridge, pytorch
from tools.environment import (
    LOCKS,
    ROOT,
    VENV,
    identity,
    installed,
    is_current,
    is_ready,
    read_stamp,
)
from tools.install import OLDEST_UV, base_python, check_disk, check_platform, uv_version
from tools.steps import SetupError


def main() -> int:
    """Print the findings, then what stands in the way; exit code 1 if anything does."""
    findings = {
        "system": system(),
        "glibc": glibc(),
        "processor": f"{os.cpu_count()} cores, {memory()}",
        "disk": f"{shutil.disk_usage(ROOT).free / 1e9:.0f} GB free",
        "python": f"{platform.python_version()}, {base_python()}",
        "uv": uv(),
        ".venv": environment(),
        "pytorch": torch(),
    }
    for name, finding in findings.items():
        print(f"{name:10} {finding}")
    problems = 0
    for check in [check_platform, *([] if read_stamp() else [check_disk])]:
        try:
            check()
        except SetupError as error:
            print(f"{'problem':10} {error}", file=sys.stderr)
            problems += 1
    return 1 if problems else 0


def system() -> str:
    """The system's own name, and the kind of its processor."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = f"{platform.system()} {platform.release()}"
    return f"{name}, {platform.machine()}"


def glibc() -> str:
    """The system's glibc, and whether a newer one is needed."""
    version = bridge.system_glibc()
    if version is None:
        return "none"
    said = ".".join(map(str, version))
    if not bridge.needed():
        return f"{said}, as new as TFX needs"
    have = "is in .tools/glibc" if (bridge.GLIBC / bridge.LOADER).exists() else "will be fetched"
    return f"{said}, older than TFX needs (2.39): a newer one, for .venv alone, {have}"


def memory() -> str:
    """How much memory there is."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 2**30:.0f} GiB of memory"


def uv() -> str:
    """The uv that will be used."""
    found = shutil.which("uv")
    version = uv_version(found) if found else ()
    if version >= OLDEST_UV:
        return f"{'.'.join(map(str, version))}, {found}"
    return "the pinned one, in .tools/bootstrap"


def environment() -> str:
    """How far the environment is."""
    stamp = kept()
    if stamp is None:
        return "to be made anew" if VENV.exists() else "not made yet"
    states = {name: "ready" if is_ready(stamp, name) else "not yet" for name in LOCKS}
    said = ", ".join(f"{LOCKS[name]} {state}" for name, state in states.items())
    other = stamp["python"] != identity(base_python())
    return f"{said}; keeps its Python, {stamp['python'][0]}" if other else said


def torch() -> str:
    """Whether PyTorch is there, and which build would be taken."""
    stamp = kept()
    if stamp is not None and is_current(stamp, "pytorch"):
        return "ready"
    base = Path(stamp["python"][0]) if stamp else base_python()
    have = "of an older lock" if "pytorch" in installed(stamp) else "not installed"
    build = pytorch.describe(pytorch.cpu_wheel(base))
    return f"{have}; `make setup EXTRAS=pytorch` takes {build}"


def kept() -> dict[str, Any] | None:
    """The stamp of the environment, unless PYTHON asks for one with another Python."""
    stamp = read_stamp()
    if stamp and os.environ.get("PYTHON") and stamp["python"] != identity(base_python()):
        return None
    return stamp


if __name__ == "__main__":
    sys.exit(main())
