"""Resolve pyproject.toml anew into the hashed lock files; `--upgrade` takes newer releases."""

import sys
from pathlib import Path

from tools.environment import EXTRAS, LOCKS, ROOT, TOOLS
from tools.install import BOOTSTRAP, UV_SETTINGS, bootstrap
from tools.pytorch import pins
from tools.steps import SetupError, Steps, only_one

HEADER = "# Made by `make lock` from {}: do not edit.\n"
PYPROJECT = str(ROOT / "pyproject.toml")
DOCKER = ROOT / "deploy" / "docker" / "trainer"
# The images of trainers: what all share, first, and what each adds to that.
TRAINERS = ["base", "keras", "pytorch", "sklearn", "xgboost"]


def main(options: list[str]) -> int:
    """Write the lock files; give the exit code."""
    TOOLS.mkdir(exist_ok=True)
    run, dev = ROOT / LOCKS["run"], ROOT / LOCKS["dev"]
    try:
        with only_one() as lock:
            steps = Steps(lock)
            write(steps, BOOTSTRAP, "--group", "bootstrap", *options)
            write(steps, dev, PYPROJECT, "--extra", "dev", *options)
            write(steps, run, PYPROJECT, "--constraints", str(dev), *options)
            for extra, name in EXTRAS.items():
                path, command = ROOT / name, ["--extra", extra, "--constraints", str(dev)]
                write(steps, path, PYPROJECT, *command, *options)
                leave_out(path, run)
            for name in TRAINERS:
                trainer(steps, name, *options)
    except SetupError as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1
    return 0


def write(steps: Steps, path: Path, *arguments: str, source: str = "pyproject.toml") -> None:
    """Resolve into one lock file that holds for every Python and system of pyproject.toml."""
    command = [bootstrap(steps) / "uv", "pip", "compile", "--quiet", "--universal"]
    command += ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--output-file", path, *arguments]
    steps.run(f"Resolving {path.name}", command, settings=UV_SETTINGS)
    header = HEADER.format(source)
    path.write_text(header + path.read_text(encoding="utf-8"), encoding="utf-8")


def trainer(steps: Steps, name: str, *options: str) -> None:
    """Write what one trainer's image installs, at the versions of the other locks."""
    path, base = DOCKER / f"{name}.lock", DOCKER / "base.lock"
    wishes = [DOCKER / each for each in dict.fromkeys(["base.in", f"{name}.in"])]
    arguments = [str(wish) for wish in wishes]
    for lock in [LOCKS["run"], *EXTRAS.values()]:
        arguments += ["--constraints", str(ROOT / lock)]
    arguments += ["--excludes", str(DOCKER / "left-out.txt"), *options]
    write(steps, path, *arguments, source=" and ".join(wish.name for wish in wishes))
    if path != base:
        leave_out(path, base)


def leave_out(path: Path, base: Path) -> None:
    """Leave out of an extra's lock what the lock `base` has just so."""
    header, _, lock = path.read_text(encoding="utf-8").partition("\n")
    there = set(pins(base.read_text(encoding="utf-8")))
    added = [pin for pin in pins(lock) if pin not in there]
    path.write_text("\n".join([header, *added, ""]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
