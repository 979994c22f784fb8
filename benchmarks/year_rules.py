"""Plays a year of retraining by a rule: the continuous loop, month after month, with real runs."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import local_runner
from custom_components.evaluator.verdict import LIVE
from pipeline import lineage, runs
from pipeline.config import PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.challengers import Registered
from pipeline.continuous.lease import Lease
from pipeline.continuous.loop import Loop
from pipeline.continuous.observe import Seen, observe
from pipeline.continuous.runs import Done, LocalRuns
from pipeline.continuous.spans import Arrival, Watch
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.housekeeping import backup
from pipeline.lineage.run import Run
from pipeline.quiet import errors_to

FIRST = 3
"""The first model learned from the months up to this one."""
METRICS = (Metric.AUC, Metric.LOG_LOSS, Metric.CALIBRATION)
_FIRST_FILE = "first.tar.gz"
_HOUR = 3600

_FIXED = (
    "continuous.drift.enabled=false",
    "continuous.performance={}",
    "continuous.max_age_spans=0",
    # What it trains goes live, whatever comes of it.
    "evaluate.thresholds={}",
    "evaluate.guards=[]",
    "select.margin=-1.0",
    "select.confidence=0.5",
)
_MONTHLY = (*_FIXED, "continuous.every_span=true")

Result = TypeVar("Result")
Scores = dict[str, float]
"""Metrics by their names."""


@dataclass(frozen=True)
class Rule:
    """When to retrain, and from what: settings beside those of the pipeline's own file."""

    title: str
    settings: tuple[str, ...] = ()


RULES = {
    "frozen": Rule("frozen: January to March", _FIXED),
    "last": Rule("each month, on the last month", (*_MONTHLY, "data.window=1")),
    "three": Rule("each month, on the last three", (*_MONTHLY, "data.window=3")),
    "expanding": Rule("each month, on all months so far", (*_MONTHLY, 'data.window="expanding"')),
    "policy": Rule("the policy as shipped"),
}


@dataclass
class Year:
    """What the rules have in common: where they play, on which data, up to which month."""

    folder: Path
    settings: tuple[str, ...]
    """Of every rule, and of the first model."""
    last: int
    tell: Callable[[str], None]

    @property
    def months(self) -> range:
        """The months that are scored."""
        return range(FIRST + 1, self.last + 1)

    def config(self, name: str, *more: str) -> tuple[PipelineConfig, list[str]]:
        """The configuration of a root of its own, and the words that lead to it."""
        chosen = [f"root={self.folder / name}", *self.settings, *more]
        return load(DEFAULT, chosen), [word for text in chosen for word in ("--set", text)]

    def prepare(self) -> float:
        """Trains the first model, which all rules begin with; the seconds of its run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        config, words = self.config("first")
        seconds = _Runs(config, words, self.folder / "first.log").first()
        backup.backup(config, self.folder / _FIRST_FILE)
        return seconds

    def play(self, name: str, rule: Rule) -> dict[str, Any]:
        """Goes through the months by a rule, from the first model on.

        Each month comes, is scored by the model that is live, and is then decided about.
        """
        backup.restore(self.folder / _FIRST_FILE, self.folder / name)
        config, words = self.config(name, *rule.settings)
        runs = _Runs(config, words, self.folder / f"{name}.log")
        watch = _Months(config)
        months: list[dict[str, Any]] = []

        def look(span: int) -> Seen:
            seen = apart(_look, config, span)
            if span == watch.newest and len(months) < span - FIRST:
                months.append(_scored(seen))
            return seen

        def tell(event: str, facts: dict[str, str]) -> None:
            self.tell(f"{name}: {facts.get('reason', '')} {facts.get('outcome', '')}".strip())
            if event == "failed":
                raise UserError(f"{name}: {facts['failure']}; see {runs.log}")
            if event == "decided":
                months[-1] |= {"reason": facts["reason"]}

        loop = Loop(config, runs, look, tell, Lease(config), watch, Registered(config))
        for month in self.months:
            watch.newest = month
            before = lineage.open(config).live_model().id
            loop.step()
            months[-1] |= runs.outcome(before)
        for month, following in itertools.pairwise(months):
            if month["pushed"]:
                kept = apart(_score, config, month["replaced"], following["month"])
                month["next"] = {"pushed": following["scores"], "replaced": kept}
        return {"title": rule.title, "months": months}


class _Months(Watch):
    """The data as it is when a month has come and the next one has not."""

    def __init__(self, config: PipelineConfig) -> None:
        # Of a clock that jumps, every file rests.
        super().__init__(config, itertools.count(0, _HOUR).__next__)
        self.newest = 0

    def look(self) -> list[Arrival]:
        return [one for one in super().look() if FIRST < one.span <= self.newest]


class _Runs(LocalRuns):
    """The local runner in children of this process, which has loaded TensorFlow and TFX."""

    def __init__(self, config: PipelineConfig, words: Sequence[str], log: Path) -> None:
        super().__init__(config, words)
        self.log = log
        self._trained: list[tuple[Done, float]] = []

    def first(self) -> float:
        """Runs the whole pipeline, before there is a live model; the seconds that took.

        Raises:
          UserError: it failed.
        """
        begin = time.monotonic()
        with self._alone() as lock:
            code = self._run(["--span", str(FIRST)], lock, lambda: None)
        if code:
            raise UserError(f"the first model's run failed; see {self.log}")
        return time.monotonic() - begin

    def train(self, decision: int, span: int, note: str, begun: Callable[[str], None]) -> Done:
        begin = time.monotonic()
        done = super().train(decision, span, note, begun)
        self._trained.append((done, time.monotonic() - begin))
        return done

    def outcome(self, live: int) -> dict[str, Any]:
        """What the last month's decision came to; `live` was the model that was live before it."""
        if not self._trained:
            return {"trained": False, "pushed": False}
        done, seconds = self._trained.pop()
        run = lineage.open(self._config).run(done.run_id)
        return {
            "trained": True,
            "seconds": round(seconds, 1),
            "pushed": bool(done.pushed),
            "replaced": live,
            "verdict": run.decision,
            "judged": _judged(run),
        }

    def _run(self, options: Sequence[str], lock: TextIO, meanwhile: Callable[[], None]) -> int:
        words = [*self._words, "--plain", *options]
        code = apart(_local_runner, words, self.log, lock.fileno())
        meanwhile()
        return code


def warm_up() -> None:
    """Loads TensorFlow and TFX, for a process that will fork the rest from itself."""
    from pipeline import node
    from pipeline.lazy import imports

    with imports(), errors_to(Path(os.devnull)):
        node.warm_up()


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """What a function gives, called in a child: where TensorFlow is used, none may be forked."""
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(max_workers=1, mp_context=fork) as pool:
        return pool.submit(function, *arguments).result()


def _local_runner(words: Sequence[str], log: Path, lock: int) -> int:
    os.environ[runs.LOCK_VARIABLE] = str(lock)
    with log.open("a") as output, redirect_stdout(output), redirect_stderr(output):
        return local_runner.main(words)


def _look(config: PipelineConfig, span: int) -> Seen:
    with errors_to(Path(os.devnull)):
        return observe(config, span)


def _score(config: PipelineConfig, model: int, span: int) -> Scores:
    """The metrics of a pushed model, by its number in the store, on all rows of a span."""
    from pipeline.continuous.live_scores import score  # brings TensorFlow

    store = lineage.open(config)
    with errors_to(Path(os.devnull)):
        scores = score(config, {LIVE: store.artifact(model)}, store.span(span)[-1])[LIVE]
    return {str(metric): scores[metric].value for metric in METRICS}


def _scored(seen: Seen) -> dict[str, Any]:
    known = seen.observation
    scores = known.scores or {}
    return {
        "month": known.span,
        "rows": known.rows,
        "learned": list(known.learned),
        "scores": {str(metric): scores[metric].value for metric in METRICS},
    }


def _judged(run: Run) -> dict[str, Scores]:
    """How the selector saw the best candidate and the live model, on the rows that judge."""
    (evaluation,), (selection,) = run.outputs("ModelEvaluation"), run.outputs("ModelSelection")
    models = evaluation.verdict().models
    best = selection.selection().candidates[0].name
    pairs = {"candidate": best, "live": LIVE}
    return {
        role: {str(metric): models[name][metric] for metric in METRICS}
        for role, name in pairs.items()
    }
