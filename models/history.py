"""How a training went: the loss of each step, the same for every framework, as data and a picture.

Imports no framework, so that whoever shows it need not have one.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.sections import Section

FILE = "history.json"
"""The history's name in the folder of the ModelRun artifact."""
PARAMETERS_FILE = "hyperparameters.json"
"""The hyper-parameters that were used, beside it."""
PLOT_FILE = "history.svg"
"""Its picture, beside it."""


class Curve(Section):
    """The loss after each step of a training: mean cross entropy, in nats, or squared error."""

    learned: tuple[float, ...]
    """Of the rows that were learned from."""
    held_out: tuple[float, ...] = ()
    """Of the rows that were held out; empty if none were."""
    before: float | None = None
    """Of the rows held out, before the first step, by the model that the training goes on from;
    None if it begins anew."""

    @property
    def best_step(self) -> int:
        """The number of the step after which the loss of the rows held out was least.

        From 1; 0 if no step made the model that the training goes on from any better.
        """
        if self.before == self.best_loss:
            return 0
        return self.held_out.index(self.best_loss) + 1

    @property
    def best_loss(self) -> float:
        """The least loss of the rows held out."""
        return min(self.held_out if self.before is None else (self.before, *self.held_out))


class History(Section):
    """How a model came to be."""

    framework: str
    """What it was made with."""
    step: str
    """What a step is: "epoch", "tree", or "fit" where there is but one."""
    steps: int
    """How many steps the model was trained for; not those of the model that it goes on from."""
    loss: str = "log loss"
    """What the curves are of: log loss, or mean squared error."""
    begun: str = ""
    """From which model the training went on, or why it began anew; empty without a warm start."""
    search: Curve | None = None
    """The training on part of the rows that found `steps`; None if they were given."""
    training: Curve
    """The training on all rows."""
    seconds: float = 0.0
    """Both trainings together, without reading rows or writing the model."""


def ignore(step: int, loss: float) -> None:
    """Takes no notice of a step."""


def write(folder: Path, history: History) -> None:
    """Writes the history and its picture."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(history.model_dump_json(indent=2) + "\n")
    picture(history, folder / PLOT_FILE)


def read(folder: Path) -> History:
    """The history in the folder of a ModelRun artifact."""
    return History.model_validate_json((folder / FILE).read_text())


def picture(history: History, file: Path) -> None:
    """Draws the loss by step, with the step that was chosen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    curves = [("all rows", history.training.learned)]
    if history.search:
        curves += [
            ("search, learned from", history.search.learned),
            ("search, held out", history.search.held_out),
        ]
    for name, losses in curves:
        if losses:
            axes.plot(range(1, len(losses) + 1), losses, label=name)
    axes.axvline(history.steps, color="gray", linestyle=":", label=f"{history.steps} chosen")
    axes.set(xlabel=history.step, ylabel=history.loss, title=history.framework)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
