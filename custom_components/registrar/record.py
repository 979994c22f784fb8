"""What there is to tell MLflow of a run: the schema of registration.json, and of what came of it.

Both lie in the folder of the Registration artifact. The first is written before MLflow is asked, so
nothing is lost where it does not answer; the second once MLflow has all of it. This module imports
neither TFX nor MLflow.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.files import storage
from pipeline.provenance import Provenance

FILE = "registration.json"
"""What there is to tell."""
OUTCOME_FILE = "outcome.json"
"""What came of it; not there while it waits to be told."""

NODE = "Registrar"
"""The id of the node that writes them."""
KEY = "registration"
"""The key of its output."""

CHAMPION = "champion"
"""The alias of the version that is live."""
CHALLENGER = "challenger"
"""The alias of the version that was selected and is not live yet."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(_Record):
    """An artifact of the metadata store."""

    id: int
    """Its id; 0 of a training that no store knows."""
    uri: str
    """Its folder."""


class Training(_Record):
    """A model, and how it came to be; MLflow's word is run."""

    name: str
    """Under which it was judged: its framework, or "ensemble"."""
    bundle: str
    """The folder of its bundle."""
    digest: str
    """The bundle's identity, by which a training that MLflow has already is found again."""
    problem: Problem = Problem.BINARY
    """What it predicts."""
    classes: tuple[str, ...] = ("0", "1")
    """The label's values in the order of the classes' numbers; none in a regression."""
    model: Source
    """The Model artifact."""
    parameters: dict[str, str]
    """Hyper-parameters, the seed, and how many steps it was trained for."""
    metrics: dict[str, float]
    """What it came to on all rows of the eval split, with the intervals' ends, and its costs."""
    curves: dict[str, tuple[float, ...]] = {}
    """The loss after each step: `training.learned`, `search.learned`, `search.held_out`."""
    history: str | None = None
    """The folder of its ModelRun artifact; an ensemble has none."""
    provenance: Provenance
    """The node, the data and the code that made it."""
    base: str = ""
    """The digest of the model that the training went on from; empty if it began anew."""
    started: int
    """When it began, in milliseconds since the epoch."""
    ended: int
    """When it was at its end."""


class Push(_Record):
    """Where a model went live."""

    pushed_model: int
    """The id of the PushedModel artifact."""
    version: str
    """The version's name in the serving folder."""
    destination: str
    """Its folder."""


class Champion(_Record):
    """The candidate that was selected."""

    name: str
    """Of `Record.trainings`."""
    model: Source
    """The Model artifact that the selector put out, a copy of the candidate's or an ensemble."""
    refused: str | None = None
    """Why the canary refused it; None if it did not."""
    push: Push | None = None
    """Where it is live; None if it waits for approval, or was refused."""


class Record(_Record):
    """What there is to tell of a run."""

    pipeline: str
    """The pipeline's name: the experiment's in MLflow."""
    model_name: str
    """Under which the champion is registered."""
    run: str
    """The run's id."""
    execution: int
    """The Registrar's execution in the metadata store."""
    commit: str | None
    """The commit of the code."""
    clean: bool | None
    """Whether the code was as in that commit."""
    note: str
    """A person's words about the run."""
    schema_digest: str
    """SHA-256 of the schema of the raw columns."""
    evaluation: Source
    """The ModelEvaluation artifact, with the verdict."""
    selection: Source
    """The ModelSelection artifact."""
    metric: Metric
    """By which models were compared."""
    reason: str
    """Why the champion is one, or why there is none."""
    trainings: tuple[Training, ...]
    """The candidates, and the ensemble if it is the champion."""
    champion: Champion | None
    """None if the live model stays."""
    recorded: int
    """When this was written, in milliseconds since the epoch."""

    def training(self, name: str) -> Training:
        """The training of that name."""
        return next(training for training in self.trainings if training.name == name)


class Outcome(_Record):
    """What came of telling MLflow."""

    tracking_uri: str
    """Whom it was told."""
    experiment: str
    """The experiment's id."""
    runs: dict[str, str]
    """The id of MLflow's run of each training, by the training's name."""
    model_name: str
    """The registered model."""
    model_version: str | None
    """The champion's version; None if there is no champion."""


def write(folder: str | Path, content: Record | Outcome) -> None:
    """Writes a record, or what came of it, whole or not at all."""
    name = FILE if isinstance(content, Record) else OUTCOME_FILE
    # Later it is read where the copies of this node's inputs are gone.
    text = storage.original(content.model_dump_json(indent=2) + "\n")
    if storage.is_remote(str(folder)):
        storage.write(f"{folder}/{name}", text.encode())
        return
    file = Path(folder) / name
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.replace(file)


def read(folder: str | Path) -> Record:
    """The record in a folder.

    Raises:
        UserError: If it is damaged.
    """
    try:
        return Record.model_validate_json(_contents(folder, FILE))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(
            f"{folder}/{FILE} is damaged: {where} is not what it should be. To leave this run "
            "untold, remove the file."
        ) from None


def read_outcome(folder: str | Path) -> Outcome | None:
    """What came of a record; None while it waits."""
    try:
        return Outcome.model_validate_json(_contents(folder, OUTCOME_FILE))
    except FileNotFoundError:
        return None


def waiting(root: str | Path) -> list[str]:
    """The folders of those records of a pipeline that were not told yet, oldest first."""
    folder = f"{root}/{NODE}/{KEY}"
    if storage.is_remote(folder):
        files = {entry.name for entry in storage.entries(folder)}
    else:
        files = {str(file.relative_to(folder)) for file in Path(folder).glob("*/*.json")}
    numbers = {name.partition("/")[0] for name in files if name.endswith(f"/{FILE}")}
    untold = [n for n in numbers if n.isdecimal() and f"{n}/{OUTCOME_FILE}" not in files]
    return [f"{folder}/{number}" for number in sorted(untold, key=int)]


def _contents(folder: str | Path, name: str) -> bytes:
    if storage.is_remote(str(folder)):
        return storage.read(f"{folder}/{name}")
    return (Path(folder) / name).read_bytes()
