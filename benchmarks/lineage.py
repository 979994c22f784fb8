"""Asks metadata stores of 100 to 10,000 executions where things come from, and times the answers.

python -m benchmarks.lineage [--sizes 100 1000 10000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks import history, project
from benchmarks.measure import best, measure
from benchmarks.report_lineage import lineage as report
from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.config_file import load
from pipeline.lineage import Store
from pipeline.store import connect
from tests import services

SIZES = (100, 1_000, 10_000)
FOLDER = project.OUTPUT / "lineage"
_MODULE = re.compile(r"^import time:.*\| +(tensorflow|tfx)$", re.MULTILINE)


def _of_spans(store: Store, span: int) -> list[lineage.Artifact]:
    return [model for examples in store.span(span) for model in examples.models()]


def _newest_span(store: Store) -> int:
    return max(run.span or 0 for run in store.runs(1))


def _facts_of_live(store: Store) -> list[object]:
    live = store.live_model()
    producer = live.producer
    return [*live.data_spans(), producer and producer.name, producer and producer.run.commit]


def _neighbours_of_champion(store: Store) -> list[object]:
    champion = next(a for a in store.live_model().parents() if a.type == "Model")
    return [champion.producer, *champion.consumers]


def _difference(store: Store) -> list[lineage.Change]:
    """Of two runs whose files are not there, so that the store alone is asked."""
    after, before = store.runs(history.WITH_FILES + 2)[-2:]
    return list(before.diff(after))


QUESTIONS: dict[str, Callable[[Store], Sized]] = {
    "20 newest runs": lambda store: [run.summary() for run in store.runs(20)],
    "newest run's nodes": lambda store: [node.facts() for node in store.runs(1)[0].nodes],
    "live model": lambda store: [store.live_model()],
    "its spans, producer, commit": _facts_of_live,
    "its ancestors": lambda store: store.live_model().ancestors(),
    "its champion's neighbours": _neighbours_of_champion,
    "schema's readers by name": lambda store: [
        node.name for schema in store.find("Schema") for node in schema.consumers
    ],
    "two runs' difference": _difference,
    "selections without a winner": lambda store: store.find("ModelSelection", winner=""),
    "models of the newest span": lambda store: _of_spans(store, _newest_span(store)),
    "models of the oldest span": lambda store: _of_spans(store, 1),
    "descendants of the oldest span": lambda store: store.span(1)[0].descendants(),
    "frame of all runs": lambda store: store.frame(),
}
"""What is asked of a store that has nothing in memory; the answer, whose length is told."""


def commands(config: Sequence[str], store: Store) -> dict[str, list[str]]:
    """The command lines to time, by what the table calls them."""
    newest, before = (run.id for run in store.runs(2))
    asked = {
        "runs": [],
        "show RUN": [newest],
        "show SCHEMA": [str(store.find("Schema")[0].id)],
        "live": [],
        "lineage": [],
        "diff RUN RUN": [before, newest],
        "recall NEWEST_SPAN": [str(_newest_span(store))],
        "recall OLDEST_SPAN": ["1"],
    }
    return {
        name: ["-m", "pipeline", name.partition(" ")[0], *config, *words]
        for name, words in asked.items()
    }


def ask(url: str, rounds: int) -> dict[str, dict[str, float]]:
    """The least seconds of each question, and how many things its answer has."""
    answers: dict[str, dict[str, float]] = {}
    for name, question in QUESTIONS.items():
        seconds = []
        for _ in range(rounds + 1):  # The first imports what the question takes.
            store = lineage.open(url)
            begin = time.perf_counter()
            answer = question(store)
            seconds.append(time.perf_counter() - begin)
        answers[name] = {"seconds": round(min(seconds[1:]), 5), "answer": len(answer)}
    return answers


def time_commands(url: str, config: Sequence[str], rounds: int) -> dict[str, dict[str, Any]]:
    """The least that each command takes, in turn, and the large libraries that it imports."""
    to_time = {"python -c pass": ["-c", "pass"], **commands(config, lineage.open(url))}
    costs: dict[str, list[Any]] = {name: [] for name in to_time}
    log = FOLDER / "last.log"
    for _ in range(rounds + 1):
        for name, words in to_time.items():
            costs[name].append(measure([sys.executable, *words], cwd=project.PROJECT, log=log))
    found: dict[str, dict[str, Any]] = {}
    for name, words in to_time.items():
        least = best(costs[name][1:])
        command = [sys.executable, "-X", "importtime", *words]
        measure(command, cwd=project.PROJECT, log=log)
        imported = sorted(set(_MODULE.findall(log.read_text())))
        figures = {"wall": round(least.wall, 3), "cpu": round(least.cpu, 3)}
        found[name] = {**figures, "imported": imported}
    return found


def configured(folder: Path) -> tuple[PipelineConfig, list[str]]:
    """The configuration of a pipeline whose root is `folder`, and the words for a command line."""
    setting = f"root={json.dumps(str(folder))}"
    return load(overrides=[setting]), ["--set", setting]


class Database(NamedTuple):
    """Where stores can be made."""

    url: Callable[[int], str]
    """Of an empty store, for a number of executions."""
    settle: Callable[[str], object] = lambda url: None
    """What the server at a store's URL does by itself once there is much in it."""


@contextmanager
def _sqlite() -> Iterator[Database]:
    yield Database(lambda size: f"sqlite:///{FOLDER}/{size}/metadata.sqlite")


@contextmanager
def _postgresql() -> Iterator[Database]:
    with services.postgresql() as server:

        def analyze(url: str) -> None:  # The tests' servers have no autovacuum, which would do so.
            server.sql("ANALYZE", database=url.rpartition("/")[2])

        yield Database(lambda _: server.database(), analyze)


@contextmanager
def _mariadb() -> Iterator[Database]:
    with services.mariadb() as server:
        yield Database(lambda _: server.database())


DATABASES = {"sqlite": _sqlite, "PostgreSQL": _postgresql, "MariaDB": _mariadb}


def main() -> int:
    """Fills the stores, asks them and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="executions")
    parser.add_argument("--rounds", type=int, default=5, help="of each question; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.environ[connect.PASSWORD_VARIABLE] = services.PASSWORD
    figures: dict[str, Any] = {"rounds": arguments.rounds, "databases": {}, "missing": {}}
    for name, opened in DATABASES.items():
        sizes: dict[str, Any] = {}
        try:
            with opened() as database:
                for size in sorted(arguments.sizes):
                    config, words = configured(FOLDER / str(size))
                    url = database.url(size)
                    print(f"{name}, {size:,} executions", file=sys.stderr, flush=True)
                    history.write(config, url, size)
                    database.settle(url)
                    sizes[str(size)] = ask(url, arguments.rounds)
                if name == "sqlite":
                    figures["commands"] = time_commands(url, words, arguments.rounds)
            figures["databases"][name] = sizes
        except pytest.skip.Exception as missing:
            figures["missing"][name] = str(missing)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(report(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
