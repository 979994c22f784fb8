"""Runs benchmarks, each in a process of its own, and writes what they found to RESULTS.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import results

FOLDER = Path(__file__).parent


def main() -> int:
    """Runs those that the command line names; 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(results.SECTIONS)}; all by default. Sections of others are kept",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in results.SECTIONS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(results.SECTIONS)}")
    failed = []
    for name in [n for n in results.SECTIONS if n in (arguments.names or results.SECTIONS)]:
        print(f"\n{results.SECTIONS[name][0]} ({name})\n", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "figures.json"
            command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(file)]
            code = subprocess.run(command, cwd=FOLDER.parent, check=False).returncode
            if file.is_file():
                measured = results.load(FOLDER / "results.json")
                measured[name] = results.section(json.loads(file.read_text()))
                results.save(measured, FOLDER)
            if code:
                failed.append(name)
    if failed:
        print(f"failed, or missed what they are to reach: {', '.join(failed)}", file=sys.stderr)
    print(f"\nResults: {FOLDER.name}/RESULTS.md")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
