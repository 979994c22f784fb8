"""Runs TFX's taxi template and this project's pipeline on the same rows, turn by turn.

python -m benchmarks.taxi [--runs 2]     # --data: only make the data of configs/taxi.toml
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import project, report, template
from benchmarks.measure import Cost, best, measure

FOLDER = project.OUTPUT / "taxi"
DATA = Path("output/benchmarks/taxi/data/span-1/data.csv")
CONFIG = "configs/taxi.toml"
_STEPS = 1000
_OURS = "output/taxi"


@dataclass
class Side:
    """One of the two: how it is run, and what its runs took."""

    name: str
    start: Callable[..., Cost]
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    def run(self, scenario: str, *arguments: Any) -> Cost:
        """Runs and measures `scenario` once; an untimed one is named "warm-up"."""
        runs = self.costs.setdefault(scenario, [])
        log = FOLDER / "logs" / f"{self.name}-{scenario}-{len(runs) + 1}.log"
        cost = self.start(*arguments, log=log)
        runs.append(cost)
        print(f"{scenario:10} {self.name:9} {cost.wall:6.1f} s", file=sys.stderr)
        return cost


@dataclass(frozen=True)
class First:
    """What a first run, from nothing to a pushed model, has left.

    Attributes:
      wall: its seconds.
      components: seconds of each component, and as "rest" those before and between them.
      pushed: how many models it has pushed.
      utilisation: share of the cores' time that it used, where that is known.
    """

    wall: float
    components: dict[str, float]
    pushed: int
    utilisation: float | None = None

    @classmethod
    def of_template(cls, folder: Path, cost: Cost) -> First:
        """Of the template, whose components run one after the other."""
        found = template.components(folder)
        found["rest"] = round(cost.wall - sum(found.values()), 2)
        return cls(cost.wall, found, template.pushed(folder))

    @classmethod
    def of_ours(cls, root: Path, cost: Cost) -> First:
        """Of this project, whose nodes run side by side: the rest is what is before the first."""
        ran = project.nodes(root)
        found = project.node_seconds(ran)
        if ran:
            found["rest"] = round(ran[0]["start"], 2)
        busy = project.utilisation(ran, os.cpu_count() or 1)
        return cls(cost.wall, found, project.pushed(root), busy)


def make_data() -> int:
    """Makes the data of configs/taxi.toml; the number of rows."""
    return template.write_data(project.PROJECT / DATA)


def start_template(folder: Path, *, log: Path) -> Cost:
    """Runs the template in `folder`."""
    command = [sys.executable, "local_runner.py"]
    return measure(command, cwd=folder, env=template.ENVIRONMENT, log=log)


def compare(runs: int) -> dict[str, Any]:
    """Measures every scenario `runs` times on either side, in turn."""
    rows = make_data()
    data = project.PROJECT / DATA
    plain = template.copy(FOLDER / "template", data=data)
    cached = template.copy(FOLDER / "template-cached", data=data, cache=True)
    ours = project.copy(FOLDER / "ours")
    (ours / DATA).parent.mkdir(parents=True, exist_ok=True)
    (ours / DATA).write_bytes(data.read_bytes())
    for folder in (plain, cached, ours):
        compileall.compile_dir(folder, quiet=2)
    root = ours / _OURS

    def start_ours(*arguments: str, log: Path) -> Cost:
        return project.run(ours, CONFIG, *arguments, log=log)

    theirs, mine = Side("template", start_template), Side("ours", start_ours)
    # Twice: what it keeps in its second run is judged against a baseline, for the first time.
    theirs.run("warm-up", cached)
    theirs.run("warm-up", cached)
    mine.run("warm-up", "--set", "root=output/warm-up")

    firsts: dict[str, list[First]] = {"template": [], "ours": []}
    for _ in range(runs):
        template.forget(plain)
        cost = theirs.run("first", plain)
        firsts["template"].append(First.of_template(plain, cost))
        shutil.rmtree(root, ignore_errors=True)
        cost = mine.run("first")
        firsts["ours"].append(First.of_ours(root, cost))
        theirs.run("second", plain)
        mine.run("second", "--no-cache")
    log = FOLDER / "logs" / "template-accuracy.log"
    accuracy = {"template": template.accuracy(plain, log=log), "ours": project.accuracy(root)}

    mine.run("warm-up")  # As the template's second: judged against what it has pushed.
    for _ in range(runs):
        theirs.run("unchanged", cached)
        mine.run("unchanged")
    for attempt in range(1, runs + 1):
        template.set_train_steps(cached, _STEPS + attempt)
        theirs.run("edit", cached)
        with (ours / "models" / "keras_model.py").open("a") as model:
            model.write(f"\n_EDITED = {attempt}\n")
        mine.run("edit")
    fastest = {side: min(found, key=lambda first: first.wall) for side, found in firsts.items()}
    return {
        "rows": rows,
        "runs": runs,
        "cores": os.cpu_count() or 1,
        "scenarios": {
            scenario: {s.name: best(s.costs[scenario]).figures() for s in (theirs, mine)}
            for scenario in report.SCENARIOS
        },
        "components": {side: first.components for side, first in fastest.items()},
        "utilisation": fastest["ours"].utilisation,
        "pushed": {side: min(first.pushed for first in found) for side, found in firsts.items()},
        "accuracy": accuracy,
        "steps": {"template": _STEPS, "ours": project.train_steps(root, ours / CONFIG)},
        "template_steps_per_second": template.steps_per_second(
            FOLDER / "logs" / "template-first-1.log"
        ),
    }


def main() -> int:
    """Measures both and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2, help="of each scenario; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--data", action="store_true", help="only make the data")
    arguments = parser.parse_args()
    if arguments.data:
        print(f"{make_data()} rows: {DATA}")
        return 0
    figures = compare(arguments.runs)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(report.taxi(figures))
    if not all(figures["pushed"].values()):
        print("a side has pushed no model: the comparison does not hold", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
