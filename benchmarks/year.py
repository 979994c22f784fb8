"""A year of retraining: flights of 2013, month by month, by the shipped policy and by fixed rules.

python -m benchmarks.year [--quick]

Each month is first scored by the model that is live, on all rows of it; then the rule decides.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import project, report_year, results
from benchmarks.year_rules import RULES, Year, warm_up
from pipeline.config import PROJECT

FILE = PROJECT / "benchmarks" / "year.json"
PICTURE = PROJECT / "docs" / "year.svg"
PAGES = {
    PROJECT / "docs" / "continuous.md": report_year.year,
    PROJECT / "README.md": report_year.summary,
}
"""Where the results are told, between `_BEGIN` and `_END`, and by what."""
FRAMEWORK = "xgboost"
"""The one that is trained: the cheapest to, and the one that goes live of the four."""
_BEGIN, _END = "<!-- year: written by make year -->\n", "<!-- year: end -->\n"
_SETTINGS = (f'train.frameworks=["{FRAMEWORK}"]', "register.enabled=false")
_LAST = 12
_QUICK_RULES, _QUICK_LAST, _QUICK_ROWS = ("last", "policy"), 5, 8


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Plays the year by each rule; what came of it.

    Args:
      folder: is emptied, and holds what the runs make.
      quick: two rules for two months, on every eighth row: to see that it works.
    """
    names = _QUICK_RULES if quick else tuple(RULES)
    begin = time.monotonic()

    def tell(words: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {words}", flush=True)

    settings = _SETTINGS
    if quick:
        data = folder.with_name(f"{folder.name}-data")
        _thin(data, _QUICK_LAST)
        settings += (f"data.path={data}", "train.xgboost.max_trees=30")
    warm_up()
    tell("TensorFlow and TFX are loaded; the first model is trained")
    year = Year(folder, settings, _QUICK_LAST if quick else _LAST, tell)
    first = year.prepare()
    played = {name: year.play(name, RULES[name]) for name in names}
    seconds = round(time.monotonic() - begin)
    return {
        "framework": FRAMEWORK,
        "seconds": seconds,
        "first_seconds": round(first, 1),
        "rules": played,
    }


def _thin(folder: Path, last: int) -> None:
    """Writes every eighth row of the first months below `folder`."""
    for span in range(1, last + 1):
        name = f"span-{span:02}"
        (source,) = (PROJECT / "data" / "flights" / name).glob("*.parquet")
        table = pq.read_table(source)
        (folder / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(
            table.take(list(range(0, len(table), _QUICK_ROWS))), folder / name / source.name
        )


def told(page: str, words: str) -> str:
    """A page with `words` between its markers.

    Raises:
      ValueError: it has none.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"the page has no {_BEGIN.strip()} and {_END.strip()}")
    return f"{before}{begin}\n{words}\n\n{end}{after}"


def publish(figures: dict[str, Any]) -> None:
    """Writes the results, the picture, and the tables of the pages that show them."""
    pages = {page: told(page.read_text(), of(figures)) for page, of in PAGES.items()}
    FILE.write_text(json.dumps(results.section(figures), indent=1) + "\n")
    PICTURE.write_text(report_year.picture(figures)._repr_svg_() + "\n")
    for page, text in pages.items():
        page.write_text(text)


def main() -> int:
    """Plays the year and tells; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="two rules, two months, few rows; nothing is published"
    )
    parser.add_argument("--folder", type=Path, default=project.OUTPUT / "year")
    arguments = parser.parse_args()
    figures = measure(arguments.folder.absolute(), quick=arguments.quick)
    if not arguments.quick:
        publish(figures)
    print(f"\n{report_year.year(figures)}\n\n{figures['seconds'] / 60:.1f} minutes")
    return int(not all(p.kept for p in report_year.promises(figures)) and not arguments.quick)


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    os._exit(exit_code)
