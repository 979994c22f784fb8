"""Build the site of docs/ into build/site, strictly; `--serve` shows it while you write."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from tools.environment import ROOT

# Zensical, the successor, is told of at each build; see pyproject.toml.
QUIET = {"NO_MKDOCS_2_WARNING": "1"}


def main(argv: Sequence[str] | None = None) -> int:
    """Builds or serves the site; the exit code."""
    parser = argparse.ArgumentParser(prog="make docs", description=__doc__)
    parser.add_argument("--serve", action="store_true", help="show it on http://127.0.0.1:8000")
    arguments = parser.parse_args(argv)
    command = [sys.executable, "-m", "mkdocs", "serve" if arguments.serve else "build", "--quiet"]
    code = subprocess.run(command, cwd=ROOT, env=os.environ | QUIET, check=False).returncode
    if code == 0:
        print("build/site/index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
