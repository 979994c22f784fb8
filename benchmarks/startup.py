"""Seconds until commands answer, beside TFX's own command line.

python -m benchmarks.startup [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from benchmarks import project, report, taxi
from benchmarks.measure import CommandFailed, Cost, best, measure

FOLDER = project.OUTPUT / "startup"
NODE = "SchemaGen"


def commands(root: Path) -> dict[str, list[str]]:
    """The commands to time, by the name that the table gives them."""
    python = sys.executable
    run = project.newest_run(root)
    empty_job = ["--ir", str(run / "pipeline.pb"), "--run-id", run.name, "--node-id", NODE]
    empty_job += ["--store", f"sqlite://{root}/metadata.sqlite"]
    empty_job += ["--span", "1"]
    config = ["--config", taxi.CONFIG, "--set", f"root={root}"]
    return {
        "local_runner.py --help": [python, "local_runner.py", "--help"],
        "python -m pipeline --help": [python, "-m", "pipeline", "--help"],
        "python -m pipeline lineage": [python, "-m", "pipeline", "lineage", *config],
        "python -m pipeline init": [python, "-m", "pipeline", "init", *_table()],
        report.COMPLETED_NODE: [python, "-m", "pipeline.node", *empty_job],
        report.TFX_HELP: [str(Path(python).with_name("tfx")), "--help"],
    }


def _table() -> list[str]:
    """The words that have `init` look at the taxi data, 15,000 rows."""
    words = [str(taxi.DATA), "--label", "trip_seconds", "--yes", "--force"]
    return [*words, "--directory", str(FOLDER / "configs")]


def make_store(root: Path) -> None:
    """Runs the taxi pipeline in `root`, unless its newest run there came to its end."""
    with contextlib.suppress(FileNotFoundError):
        if json.loads((project.newest_run(root) / "run.json").read_text())["finished"]:
            return
    taxi.make_data()
    log = FOLDER / "run.log"
    project.run(project.PROJECT, taxi.CONFIG, "--set", f"root={root}", log=log)


def main() -> int:
    """Times the commands in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each command; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    root = FOLDER / "root"
    make_store(root)
    to_time = commands(root)
    costs: dict[str, list[Cost]] = {name: [] for name in to_time}
    errors: dict[str, str] = {}
    for _ in range(arguments.rounds + 1):
        for number, (name, command) in enumerate(to_time.items()):
            if name in errors:
                continue
            log = FOLDER / f"{number}.log"
            try:
                costs[name].append(measure(command, cwd=project.PROJECT, log=log))
            except CommandFailed as failure:
                errors[name] = project.reason(failure)
            if NODE in command and name not in errors and "resumed" not in log.read_text():
                errors[name] = f"{NODE} was not taken as completed"
    figures = {
        "rounds": arguments.rounds,
        "commands": {
            # The first round, which finds files not in memory yet, is not counted.
            name: {"error": errors[name]} if name in errors else best(runs[1:]).figures()
            for name, runs in costs.items()
        },
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(report.startup(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
