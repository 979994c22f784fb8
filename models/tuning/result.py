"""What a search for hyper-parameters has found, as data, a table and pictures.

Imports neither Optuna nor TensorFlow, so that whoever shows a result need not have them:

    found = result.read(Path(tuner_results.uri))
    print(found.sentence())
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.evaluate_config import Metric
from pipeline.sections import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "search.json"
"""The result's name in the folder of the TunerResults artifact."""
TRIALS_FILE = "trials.parquet"
"""A row for each trial, beside it."""
IMPORTANCE_FILE = "importance.svg"
"""A picture of the importance, if it is known."""
HISTORY_FILE = "history.svg"
"""A picture of the trials in their order."""


class Trial(Section):
    """One training with one set of hyper-parameters."""

    number: int
    """Its place in the search, from 0."""
    state: Literal["complete", "pruned", "failed"]
    """pruned: given up because it fell behind; failed: interrupted, or its loss was no number."""
    value: float | None
    """The loss of the rows held out; of a pruned one when it was given up."""
    params: dict[str, Any]
    """Its hyper-parameters; those that are not here were as configured."""
    seconds: float | None
    """How long it took."""
    as_configured: bool = False
    """Whether all hyper-parameters were as configured."""


class Result(Section):
    """What came of a search."""

    framework: str
    """What the models are made with."""
    loss: str = "log loss"
    """By what it was searched: log loss, in nats, or mean squared error."""
    params: dict[str, Any]
    """The best hyper-parameters; those that are not here are best as configured."""
    value: float
    """The loss of the best trial."""
    baseline: float | None
    """The loss with the hyper-parameters as configured; None if it was no number."""
    importance: dict[str, float]
    """How much of the loss's variance each hyper-parameter explains, the most important first;
    empty after too few trials."""
    trials: tuple[Trial, ...]
    """All of them, in their order."""

    def count(self, state: Literal["complete", "pruned", "failed"]) -> int:
        """How many trials ended in a state."""
        return sum(trial.state == state for trial in self.trials)

    def sentence(self) -> str:
        """The result for a person, in a line."""
        tried = f"{self.count('complete') + self.count('pruned')} trials"
        if pruned := self.count("pruned"):
            tried += f" ({pruned} pruned)"
        # A squared error has the label's scale, as its root has: thousands have no decimals.
        words = (Metric.LOG_LOSS if self.loss == "log loss" else Metric.RMSE).words
        found = f"{self.framework}: {self.loss} {words(self.value)} on held-out rows after {tried}"
        if self.baseline is not None:
            found += f", {words(self.baseline)} as configured"
        if self.importance:
            found += f"; {next(iter(self.importance))} matters most"
        return found


def read(folder: Path) -> Result:
    """The result in the folder of a TunerResults artifact."""
    return Result.model_validate_json((folder / FILE).read_text())


def write(folder: Path, result: Result) -> None:
    """Writes the result, its trials as a table, and its pictures."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(_table(result.trials), folder / TRIALS_FILE)
    _draw(folder / HISTORY_FILE, lambda axes: _history(axes, result))
    if result.importance:
        _draw(folder / IMPORTANCE_FILE, lambda axes: _importance(axes, result))
    (folder / FILE).write_text(result.model_dump_json(indent=2) + "\n")


def _table(trials: Iterable[Trial]) -> Any:
    import pyarrow as pa

    trials = list(trials)
    names = {name: None for trial in trials for name in trial.params}
    columns: dict[str, Any] = {
        name: [getattr(trial, name) for trial in trials]
        for name in ("number", "state", "value", "seconds", "as_configured")
    }
    columns |= {f"params.{name}": _column(trials, name) for name in names}
    return pa.table(columns)


def _column(trials: Iterable[Trial], name: str) -> list[Any]:
    """A hyper-parameter's values; as JSON where they are not all numbers."""
    values = [trial.params.get(name) for trial in trials]
    if all(isinstance(value, int | float | None) for value in values):
        return values
    return [None if value is None else json.dumps(value) for value in values]


def _draw(file: Path, draw: Any) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})


def _history(axes: Axes, result: Result) -> None:
    """The loss of each trial, and the best so far."""
    numbers, losses = _points(result, "complete")
    axes.plot(numbers, losses, "o", label="complete")
    if result.count("pruned"):
        axes.plot(*_points(result, "pruned"), "x", label="pruned")
    axes.step(numbers, [*accumulate(losses, min)], where="post", label="best so far")
    if result.baseline is not None:
        axes.axhline(result.baseline, color="gray", linestyle=":", label="as configured")
    axes.set(xlabel="trial", ylabel=f"{result.loss}, held out", title=result.framework)
    axes.legend(frameon=False)


def _points(result: Result, state: str) -> tuple[list[int], list[float]]:
    points = [
        (t.number, t.value) for t in result.trials if t.state == state and t.value is not None
    ]
    return [number for number, _ in points], [value for _, value in points]


def _importance(axes: Axes, result: Result) -> None:
    names = [*reversed(result.importance)]
    axes.barh(names, [result.importance[name] for name in names])
    axes.set(xlabel="share of the variance explained", title=result.framework)
