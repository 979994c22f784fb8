"""What several frameworks cost: the whole pipeline with one and with more, and their predictions.

python -m benchmarks.frameworks [--rounds 2]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import project, report_frameworks
from benchmarks.measure import Cost, best
from models import ensemble
from models.bundle import Bundle

FOLDER = project.OUTPUT / "frameworks"
CONFIG = "configs/flights.toml"
ROWS = project.PROJECT / "data" / "flights" / "span-04"
SCENARIOS = {
    "keras": ["keras"],
    "three": ["keras", "sklearn", "xgboost"],
    "four": ["keras", "pytorch", "sklearn", "xgboost"],
}
_BATCH = 1000
_SECONDS = 2.0
_WARM_UP_CALLS = 20


def scenarios() -> dict[str, list[str]]:
    """What is run here; four frameworks where PyTorch is installed."""
    with_torch = importlib.util.find_spec("torch") is not None
    return {name: s for name, s in SCENARIOS.items() if with_torch or "pytorch" not in s}


def root_of(name: str) -> Path:
    """Where the runs of a scenario lie."""
    return FOLDER / name


def run(name: str, frameworks: list[str]) -> Cost:
    """The first run of the flights pipeline with some frameworks, from an empty folder."""
    root = root_of(name)
    shutil.rmtree(root, ignore_errors=True)
    chosen = json.dumps(frameworks)
    words = ["--set", f"root={root}", "--set", f"train.frameworks={chosen}"]
    return project.run(project.PROJECT, CONFIG, *words, log=FOLDER / f"{name}.log")


def bundles(root: Path, frameworks: list[str]) -> dict[str, Path]:
    """The folder of each framework's bundle that a run has left, and of the mean of all."""
    found = {
        framework: next((root / f"Trainer.{framework}" / "model").glob("*/Format-Serving"))
        for framework in frameworks
    }
    everyone = root / "ensemble"
    ensemble.write(everyone, found)
    return {**found, "ensemble": everyone}


def predictions(bundle: Path) -> dict[str, float]:
    """How quickly a bundle answers raw rows, measured in a process that has loaded it alone."""
    command = [sys.executable, "-m", "benchmarks.frameworks", "--bundle", str(bundle)]
    done = subprocess.run(command, cwd=project.PROJECT, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def time_predictions(folder: Path) -> dict[str, float]:
    """Times one raw row as a dict, and 1,000 and a month's as Arrow tables."""
    start = time.perf_counter()
    bundle = Bundle.load(folder)
    loading = time.perf_counter() - start
    rows = pq.read_table(ROWS)
    dicts = rows.slice(0, _BATCH).to_pylist()
    one = _times(lambda call: bundle.predict([dicts[call % _BATCH]]))
    starts = range(0, len(rows) - _BATCH, _BATCH)
    batches = [rows.slice(begin, _BATCH) for begin in starts]
    many = _times(lambda call: bundle.predict(batches[call % len(batches)]))
    whole = _times(lambda _: bundle.predict(pa.table(rows)))
    return {
        "load_seconds": loading,
        "one_p50_ms": 1e3 * float(np.quantile(one, 0.5)),
        "one_p99_ms": 1e3 * float(np.quantile(one, 0.99)),
        "many_p50_ms": 1e3 * float(np.quantile(many, 0.5)),
        "many_p99_ms": 1e3 * float(np.quantile(many, 0.99)),
        "rows_per_second": len(rows) / float(np.min(whole)),
    }


def _times(call: Callable[[int], Any]) -> list[float]:
    """Seconds of each of as many calls as go into `_SECONDS`, after some untimed ones."""
    for number in range(_WARM_UP_CALLS):
        call(number)
    seconds: list[float] = []
    while sum(seconds) < _SECONDS or len(seconds) < _WARM_UP_CALLS:
        start = time.perf_counter()
        call(len(seconds))
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> int:
    """Runs the pipelines in turn, asks the models, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2, help="of each run; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bundle:
        print(json.dumps(time_predictions(arguments.bundle)))
        return 0
    chosen = scenarios()
    costs: dict[str, list[Cost]] = {name: [] for name in chosen}
    for _ in range(arguments.rounds):
        for name, frameworks in chosen.items():
            costs[name].append(run(name, frameworks))
    largest = list(chosen)[-1]
    made = bundles(root_of(largest), chosen[largest])
    figures = {
        "rounds": arguments.rounds,
        "runs": {
            name: {"frameworks": chosen[name], **best(cost).figures()}
            for name, cost in costs.items()
        },
        "predictions": {name: predictions(folder) for name, folder in made.items()},
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(report_frameworks.frameworks(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
