"""Runs the flights pipeline on more and more rows: how time and memory grow with them.

python -m benchmarks.growth [--sizes 15000 150000] [--keep]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import project, report
from benchmarks.measure import CommandFailed

SIZES = (15_000, 150_000, 1_500_000, 5_000_000)
FOLDER = project.OUTPUT / "growth"
CONFIG = "configs/flights.toml"
ROWS_PER_FILE = 500_000
SETTINGS = ['train.frameworks=["keras"]', "train.keras.epochs=2"]
"""As many passes over every size: how many are best differs from size to size."""
_NOISE = 0.01
_SEED = 20130101


def year_of_flights() -> pa.Table:
    """All the flights there are."""
    spans = sorted((project.PROJECT / "data" / "flights").glob("span-*"))
    return pa.concat_tables(pq.read_table(span) for span in spans)


def write_rows(rows: int, folder: Path, year: pa.Table, *, per_file: int = ROWS_PER_FILE) -> None:
    """Writes `rows` rows made of `year` as Parquet files of at most `per_file` rows.

    Fewer rows than a year's are taken evenly from it, so that every size has all its days. More
    repeat it: from the second time on, floats get noise of a hundredth of their column's standard
    deviation and stay within its range. Dates are kept. One file is in memory at a time.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(_SEED)
    for number, begin in enumerate(range(0, rows, per_file)):
        row = np.arange(begin, min(begin + per_file, rows), dtype=np.int64)
        source = row * len(year) // rows if rows <= len(year) else row % len(year)
        chosen = year.take(pa.array(source))
        chosen = _jitter(chosen, year, pa.array(row >= len(year)), random)
        pq.write_table(chosen, folder / f"part-{number:03}.parquet")


def _jitter(
    rows: pa.Table, year: pa.Table, repeated: pa.Array, random: np.random.Generator
) -> pa.Table:
    """`rows` with noise on the floats of those that are `repeated`."""
    if not pc.any(repeated).as_py():
        return rows
    for index, column in enumerate(rows.schema):
        if not pa.types.is_floating(column.type):
            continue
        bounds = pc.min_max(year[column.name])
        spread = _NOISE * pc.stddev(year[column.name]).as_py()
        noise = pa.array(random.normal(0, spread, len(rows)).astype(np.float32))
        noisy = pc.add(rows[column.name], noise)
        noisy = pc.min_element_wise(noisy, bounds["max"], skip_nulls=False)
        noisy = pc.max_element_wise(noisy, bounds["min"], skip_nulls=False)
        noisy = pc.if_else(repeated, noisy, rows[column.name])
        rows = rows.set_column(index, column, noisy.cast(column.type))
    return rows


def grow(rows: int, year: pa.Table, *, keep: bool, settings: list[str]) -> dict[str, Any]:
    """What one size takes; its "error", where it failed."""
    folder = FOLDER / str(rows)
    shutil.rmtree(folder, ignore_errors=True)
    figures: dict[str, Any] = {}
    root = folder / "root"
    fixed = [f"data.path={folder}", "data.span=1", "data.window=1", f"root={root}"]
    words = [word for setting in [*fixed, *settings] for word in ("--set", setting)]
    try:
        write_rows(rows, folder / "span-01", year)
        log = FOLDER / f"{rows}.log"
        cost = project.run(project.PROJECT, CONFIG, *words, log=log)
        figures = cost.figures()
    except CommandFailed as failure:
        print(failure, file=sys.stderr)
        figures = {"error": project.reason(failure)}
    ran = project.nodes(root) if (root / "runs").is_dir() else []
    figures["nodes"] = {
        node["node"]: {
            "seconds": round(node["end"] - node["start"], 1),
            "peak_mb": node.get("peak_mb"),
        }
        for node in ran
    }
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def main() -> int:
    """Measures every size and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting"
    )
    parser.add_argument("--keep", action="store_true", help="keep the data and what runs made")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    settings = [*SETTINGS, *arguments.set]
    year = year_of_flights()
    sizes = {}
    for rows in sorted(arguments.sizes):
        sizes[str(rows)] = grow(rows, year, keep=arguments.keep, settings=settings)
        wall = sizes[str(rows)].get("wall")
        print(f"{rows:,} rows: {f'{wall} s' if wall else 'failed'}", file=sys.stderr)
    figures = {"settings": settings, "sizes": sizes}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(report.growth(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
