"""Make the project's environment, .venv, from the hashed lock files: `install.py run|dev [EXTRA]`.

Nothing outside the project's folder is changed but uv's cache. The stamp is written last, so an
interrupted set-up is seen, and done again, by the next call.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools import bridge, pytorch
from tools.environment import (
    EXTRAS,
    LOCKS,
    OFFERED,
    PYTHON,
    ROOT,
    STAMP,
    TOOLS,
    VENV,
    digest,
    identity,
    installed,
    is_ready,
    read_stamp,
    write_stamp,
)
from tools.steps import DISK_GB, SetupError, Steps, only_one

BOOTSTRAP = ROOT / "tools" / "bootstrap.lock"
OLDEST_UV = (0, 13)  # older ones have not been tried
UV_SETTINGS = {"UV_PYTHON_DOWNLOADS": "never", "UV_COMPILE_BYTECODE_TIMEOUT": "600"}
if Path("/etc/ssl/certs/ca-certificates.crt").exists():  # as pip does: a company's own may be there
    UV_SETTINGS["UV_SYSTEM_CERTS"] = "1"


def main(name: str, *extras: str) -> int:
    """Set up the lock of that name and those extras; give the exit code."""
    base = base_python()
    if sys.prefix != sys.base_prefix:  # an activated environment, perhaps the one to be remade
        os.execv(base, [str(base), "-EsB", "-m", "tools.install", name, *extras])
    try:
        check_extras(extras)
        setup(name, extras, base)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        place = error.filename or ROOT
        print(f"setup: {place}: {error.strerror}; mend this and try again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the next call completes it.", file=sys.stderr)
        return 130
    return 0


def setup(name: str, extras: Sequence[str], base: Path) -> None:
    """Bring .venv to what the locks say; make it anew unless it is whole."""
    check_platform()
    TOOLS.mkdir(exist_ok=True)
    with only_one() as lock:
        stamp = read_stamp()
        if stamp is not None and not os.environ.get("PYTHON"):
            base = Path(stamp["python"][0])  # whichever Python was chosen before stays
        elif stamp is not None and stamp["python"] != identity(base):
            stamp = None
        wanted = {*extras, *installed(stamp)}
        wheel = pytorch.cpu_wheel(base) if wanted & {"pytorch", OFFERED} else None
        if list(extras) == [OFFERED]:
            extras = ["pytorch"] if wheel else []
        if is_ready(stamp, name, extras):
            return
        started = time.monotonic()
        new = set(extras) - set(installed(stamp))
        check_disk((0 if stamp else DISK_GB) + (pytorch.weight(wheel) if "pytorch" in new else 0))
        steps = Steps(lock)
        STAMP.unlink(missing_ok=True)
        if stamp is None:
            make_venv(steps, base)
        elif "dev" in stamp["locks"]:
            name = "dev"
        extras = sorted({*extras, *installed(stamp)})
        install(steps, name, extras, wheel)
        write_stamp(base, name, extras)
        print(f"The environment is ready, after {time.monotonic() - started:.0f} s.", flush=True)


def make_venv(steps: Steps, base: Path) -> None:
    """Make an empty .venv; its Python loads a newer glibc where the system's is too old."""
    title = f"Making .venv with Python {platform.python_version()} ({base})"
    steps.run(title, [base, "-Es", "-m", "venv", "--clear", "--without-pip", VENV])
    if bridge.needed():
        bridge.fetch(steps)
        bridge.cross(steps, base, bootstrap(steps) / "patchelf")


def install(steps: Steps, name: str, extras: Sequence[str], wheel: Path | None) -> None:
    """Install just what the lock of that name and those extras' say, and compile it."""
    locks = [ROOT / LOCKS[name]]
    if "pytorch" in extras:
        print(f"PyTorch: {pytorch.describe(wheel)}", flush=True)
        locks.append(pytorch_lock(steps, locks[0], wheel))
    locks += [ROOT / EXTRAS[extra] for extra in extras if extra != "pytorch"]
    command = [uv(steps), "pip", "sync", "--quiet", "--python", PYTHON, "--require-hashes"]
    command += ["--build-constraints", BOOTSTRAP, "--compile-bytecode", *locks]
    names = " and ".join(lock.name for lock in locks)
    steps.run(f"Installing the packages of {names}", command, settings=UV_SETTINGS)


def pytorch_lock(steps: Steps, base: Path, wheel: Path | None) -> Path:
    """The lock of PyTorch beside the lock `base`: of the CPU wheel, if one is given."""
    lock = ROOT / pytorch.LOCK
    if wheel is None:
        return lock
    wish, left = TOOLS / "pytorch.in", TOOLS / lock.name
    wish.write_text(f"torch @ {wheel.as_uri()}\n", encoding="utf-8")
    command = [uv(steps), "pip", "compile", "--no-header", "--no-annotate", "--python", PYTHON]
    command += ["--constraints", base, "--constraints", lock, wish]
    title = f"Resolving what {wheel.name} needs"
    needed = steps.run(title, command, shown=False, settings=UV_SETTINGS)
    left.write_text(pytorch.beside(lock.read_text(encoding="utf-8"), needed, wheel), "utf-8")
    return left


def uv(steps: Steps) -> Path:
    """The uv on PATH if it will do, otherwise the pinned one in the project's folder."""
    found = shutil.which("uv")
    will_do = found is not None and uv_version(found) >= OLDEST_UV
    return Path(found) if found and will_do else bootstrap(steps) / "uv"


def uv_version(program: str) -> tuple[int, ...]:
    """The first two numbers of a uv's version, none if it does not run."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return ()
    match = re.match(r"uv (\d+)\.(\d+)", said)
    return tuple(map(int, match.groups())) if match else ()


def bootstrap(steps: Steps) -> Path:
    """The folder of the pinned uv and patchelf, installed once by Python's own pip."""
    venv = TOOLS / "bootstrap"
    stamp = venv / "digest"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != digest(BOOTSTRAP):
        command = [base_python(), "-Es", "-m", "venv", "--clear", venv]
        steps.run("Making .tools/bootstrap", command, shown=False)
        command = [venv / "bin" / "python", "-Es", "-m", "pip", "install", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "2", "--require-hashes"]
        steps.run("Installing uv", [*command, "--no-deps", "--requirement", BOOTSTRAP])
        stamp.write_text(digest(BOOTSTRAP), encoding="utf-8")
    return venv / "bin"


def base_python() -> Path:
    """The Python that is running, past any environment that it is in."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def check_platform() -> None:
    """Raise SetupError where there are no packages of TFX."""
    here = f"{platform.system()} {platform.machine()}"
    glibc = here == "Linux x86_64" and bridge.system_glibc() is not None
    if not (glibc or here == "Darwin arm64"):
        raise SetupError(
            f"there are no packages of TFX for this system ({here}, {platform.libc_ver()[0]}):"
            " use Linux with glibc on x86_64, macOS on arm64, or the devcontainer."
        )


def check_disk(needed: int = DISK_GB) -> None:
    """Raise SetupError if so many gigabytes would fill the disk."""
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < needed:
        raise SetupError(
            f"the set-up needs about {needed} GB on the disk of {ROOT}, which has {free:.1f} GB"
            " left: free some space and try again."
        )


def check_extras(extras: Sequence[str]) -> None:
    """Raise SetupError for an extra that there is not."""
    unknown = [extra for extra in extras if extra not in (*EXTRAS, OFFERED)]
    if unknown:
        raise SetupError(
            f"there is no extra {', '.join(unknown)}: EXTRAS takes {', '.join(EXTRAS)};"
            " name one of these, or leave EXTRAS out."
        )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
