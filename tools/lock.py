"""Resolve pyproject.toml anew into the hashed lock files; `--upgrade` takes newer releases."""

import sys
from pathlib import Path

from tools.environment import LOCKS, ROOT, TOOLS
from tools.install import BOOTSTRAP, UV_SETTINGS, bootstrap
from tools.steps import SetupError, Steps, only_one

HEADER = "# Made by `make lock` from pyproject.toml: do not edit.\n"
PYPROJECT = str(ROOT / "pyproject.toml")


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
    except SetupError as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1
    return 0


def write(steps: Steps, path: Path, *arguments: str) -> None:
    """Resolve into one lock file that holds for every Python and system of pyproject.toml."""
    command = [bootstrap(steps) / "uv", "pip", "compile", "--quiet", "--universal"]
    command += ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--output-file", path, *arguments]
    steps.run(f"Resolving {path.name}", command, settings=UV_SETTINGS)
    path.write_text(HEADER + path.read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
