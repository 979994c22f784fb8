"""Rows per second of batch inference, by framework, from a Parquet file to another one.

python -m benchmarks.predict [--rows 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import growth, project, report_predict
from custom_components.batch_predict.score import Scorer
from custom_components.batch_predict.write import write
from models.bundle import Bundle
from pipeline.data_config import CsvOptions

FOLDER = project.OUTPUT / "predict"
FRAMEWORKS = ("keras", "pytorch", "sklearn", "xgboost")
COPY = "copy"
"""The rows as they are, without a model."""
_WARM_UP_ROWS = 50_000


def trained(frameworks: list[str]) -> dict[str, Path]:
    """The bundle of each framework, trained by one run of the flights pipeline."""
    root = FOLDER / "root"
    shutil.rmtree(root, ignore_errors=True)
    words = ["--set", f"root={root}", "--set", f"train.frameworks={json.dumps(frameworks)}"]
    project.run(project.PROJECT, growth.CONFIG, *words, log=FOLDER / "run.log")
    return {
        framework: next((root / f"Trainer.{framework}" / "model").glob("*/Format-Serving"))
        for framework in frameworks
    }


def copied(file: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file."""
    yield from pq.ParquetFile(file).iter_batches(1 << 15)


def predicted(file: Path, bundle: Path) -> dict[str, float]:
    """Seconds of wall and processor for one file, and the peak of memory, in this process.

    The model is loaded, and has answered some rows, before.
    """
    output = str(FOLDER / "predictions.parquet")
    scorer = Scorer(Bundle.load(bundle), "1", CsvOptions()) if bundle.name != COPY else None
    if scorer:
        few = FOLDER / "few.parquet"
        write(scorer.scored([str(few)]), output)
    wall, cpu = time.perf_counter(), time.process_time()
    write(scorer.scored([str(file)]) if scorer else copied(file), output)
    return {
        "seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _apart(file: Path, bundle: Path) -> dict[str, float]:
    """`predicted` in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "benchmarks.predict", "--one", str(bundle), str(file)]
    done = subprocess.run(command, cwd=project.PROJECT, check=True, stdout=subprocess.PIPE)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _write_data(rows: int) -> Path:
    """A file of so many flights without the label, and a small one beside it."""
    shutil.rmtree(FOLDER / "data", ignore_errors=True)
    year = growth.year_of_flights().drop_columns(["late"])
    growth.write_rows(rows, FOLDER / "data", year, per_file=rows)
    (file,) = (FOLDER / "data").glob("*.parquet")
    pq.write_table(year[:_WARM_UP_ROWS], FOLDER / "few.parquet")
    return file


def main() -> None:
    """Measures every framework in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--one", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    if arguments.one:
        bundle, file = arguments.one
        print(json.dumps(predicted(file, bundle)))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    with_torch = importlib.util.find_spec("torch") is not None
    bundles = trained([name for name in FRAMEWORKS if with_torch or name != "pytorch"])
    file = _write_data(arguments.rows)
    rounds = [
        {name: _apart(file, bundle) for name, bundle in {COPY: Path(COPY), **bundles}.items()}
        for _ in range(arguments.rounds)
    ]
    figures: dict[str, Any] = {
        "rows": arguments.rows,
        "rounds": arguments.rounds,
        "cores": os.cpu_count(),
        "frameworks": {
            name: {key: min(one[name][key] for one in rounds) for key in rounds[0][name]}
            for name in rounds[0]
        },
    }
    print(report_predict.predict(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
