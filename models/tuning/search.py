"""The search itself: Optuna's tree-structured Parzen estimator over trials on held-out rows.

Bergstra, Bardenet, Bengio, Kégl, Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; trials
that fall behind the median are given up: Golovin et al., Google Vizier, KDD 2017.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from models import problems
from models.tuning import space as spaces
from models.tuning.result import Result, Trial
from models.tuning.trainers import Stopped, Trainer, trainers
from pipeline import code, progress
from pipeline.errors import UserError
from pipeline.sections import Section
from pipeline.train_config import Framework, TrainConfig, TuneConfig

if TYPE_CHECKING:
    from models.dataset import Rows

_AS_CONFIGURED = "as configured"
"""Attribute of the trial that is made with the settings as they are."""
_REPORTS = 10
"""How often a trial of full length says how far it is; each time the study is written to disk."""
_WARM_UP_SHARE = 0.1
"""Share of the longest training before which no trial is given up."""
_IMPORTANCE_TRIALS = 4
_STATES: dict[TrialState, Literal["complete", "pruned", "failed"]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def tune(
    framework: Framework,
    rows: Rows,
    sizes: Sequence[int],
    settings: TrainConfig,
    tune: TuneConfig,
    storage: Path,
    *,
    search: str | None = None,
) -> Result:
    """Searches for the hyper-parameters with the lowest loss on held-out groups.

    The first trial has the settings as they are, so that what is found is no worse on those rows. A
    search that was interrupted goes on where it was; with one job it then finds what it would have
    found, and every time the same.

    Args:
        framework: Whose hyper-parameters.
        rows: The train split; part of its groups are held out from each trial.
        sizes: How many values each categorical column may take.
        settings: What is not searched, and the first trial.
        tune: The space, and how long to search.
        storage: The folder where studies are kept, in a file for each framework, data, settings,
            space and code.
        search: The dotted name of a `trainers.Search`, in place of the framework's own.

    Raises:
        UserError: If the space does not fit the framework, there are too few rows, no trial came to
            a loss, or another process is at work on the same search.
    """
    settings = settings.for_rows(len(rows))
    space = spaces.space_of(framework, settings, tune)
    task = _Task(framework, settings, space, search or f"models.{framework}_model.search")
    storage.mkdir(parents=True, exist_ok=True)
    file = storage / f"{framework}-{_digest(rows, task, tune)[:16]}.sqlite"
    current = spaces.stored(task.section, space)
    with _alone(file), _quiet_optuna():
        study = _open(file, task, tune)
        _take_up(study, current)
        searching = _Search(study, task, tune, current)
        if searching.left:
            with trainers(min(tune.jobs, searching.left), task.search, rows, sizes) as found:
                searching.run(found)
        return _result(study, task, problems.loss_name(rows.classes))


@dataclass(frozen=True)
class _Task:
    """What is searched, and how each trial is made."""

    framework: Framework
    settings: TrainConfig
    space: spaces.Space
    search: str

    @property
    def section(self) -> Section:
        """The hyper-parameters as they are."""
        return self.settings.of(self.framework)

    @property
    def longest(self) -> int:
        """Steps of a training of full length."""
        lengths = (getattr(self.section, name, None) for name in ("max_epochs", "max_trees"))
        return next(filter(None, lengths), 1)


def _digest(rows: Rows, task: _Task, tune: TuneConfig) -> str:
    """SHA-256 of all that decides what a trial comes to."""
    shared = {"seed", "class_weight", "validation_share"}
    about = {
        "settings": task.settings.model_dump(mode="json", include=shared | {task.framework.value}),
        "space": {name: values.model_dump(mode="json") for name, values in task.space.items()},
        "prune": tune.prune,
        "code": code.digest([task.search]),
    }
    sha = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for field in fields(rows):
        array = np.asarray(getattr(rows, field.name))
        sha.update(f"{field.name} {array.dtype} {array.shape}".encode())
        sha.update(np.ravel(array).data)
    return sha.hexdigest()


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Holds a study for this process; the system lets go of it when the process ends, however."""
    with file.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is at work on the same search ({file}): wait for it, or end it"
            ) from None
        yield


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without a line for each trial, and warnings about what is meant to be so."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)


def _open(file: Path, task: _Task, tune: TuneConfig) -> optuna.Study:
    warm_up = int(_WARM_UP_SHARE * task.longest)
    return optuna.create_study(
        study_name=task.framework.value,
        storage=optuna.storages.RDBStorage(
            f"sqlite:///{file}", engine_kwargs={"creator": lambda: _connect(file)}
        ),
        load_if_exists=True,
        pruner=(
            optuna.pruners.MedianPruner(n_warmup_steps=warm_up)
            if tune.prune
            else optuna.pruners.NopPruner()
        ),
    )


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, check_same_thread=False)
    # Not a wait for the disk at each of the many small steps of a trial: after a power cut the last
    # ones may be missing, and are made again.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _take_up(study: optuna.Study, current: dict[str, Any] | None) -> None:
    """Has the settings as they are tried first, and once more what an interrupted run had begun."""
    trials = study.get_trials(deepcopy=False)
    again = [trial for trial in trials if trial.state is TrialState.RUNNING]
    if not trials:
        study.enqueue_trial(current or {}, user_attrs={_AS_CONFIGURED: True})
    for trial in again:
        study.tell(trial.number, state=TrialState.FAIL)
        params = (current or {}) if _AS_CONFIGURED in trial.user_attrs else trial.params
        study.enqueue_trial(params, user_attrs=trial.user_attrs)


@dataclass(frozen=True)
class _Attempt:
    """A trial under way."""

    trial: optuna.Trial
    settings: TrainConfig
    as_configured: bool


class _Search:
    """A search under way, by as many threads as there are trainers."""

    def __init__(
        self, study: optuna.Study, task: _Task, tune: TuneConfig, current: dict[str, Any] | None
    ) -> None:
        """`current` are the settings as they are, as Optuna stores them."""
        self._study = study
        self._task = task
        self._tune = tune
        self._current = current
        self._stride = max(1, task.longest // _REPORTS)
        self._ends = time.monotonic() + 60 * tune.minutes
        # Of this object and of the study, which is a file.
        self._lock = threading.Lock()
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        self._begun = self._ended = len(done)

    @property
    def left(self) -> int:
        """Trials that have not begun."""
        return max(0, self._tune.trials - self._begun)

    def run(self, found: Sequence[Trainer]) -> None:
        """Makes trials until there are as many as asked for, or the time is over."""
        if len(found) == 1:
            self._work(found[0])
            return
        with ThreadPoolExecutor(len(found)) as pool:
            try:
                for ended in as_completed([pool.submit(self._work, one) for one in found]):
                    ended.result()
            except BaseException:
                # What the others are at work on is begun anew by the next run.
                for trainer in found:
                    trainer.close()
                raise

    def _work(self, trainer: Trainer) -> None:
        while attempt := self._begin():
            self._end(attempt, self._lowest(attempt, trainer))

    def _begin(self) -> _Attempt | None:
        """The next trial, with its hyper-parameters; None when there is none to make."""
        with self._lock:
            progress.report(self._ended, self._tune.trials, "trials")
            if not self.left or time.monotonic() > self._ends:
                return None
            # By the trial's place and not by this process's past: a search that is resumed goes on
            # as it would have gone.
            seed = (self._task.settings.seed + self._begun) % 2**32
            self._study.sampler = optuna.samplers.TPESampler(seed=seed)
            self._begun += 1
            trial = self._study.ask()
            as_configured = _AS_CONFIGURED in trial.user_attrs
            values = (
                {}
                if as_configured and self._current is None
                else spaces.suggest(trial, self._task.space, self._task.section)
            )
        settings = self._task.settings.with_parameters(self._task.framework, values)
        return _Attempt(trial, settings, as_configured)

    def _lowest(self, attempt: _Attempt, trainer: Trainer) -> float | None:
        """The lowest loss of the trial; None if it was given up."""

        def report(step: int, loss: float) -> None:
            if (
                self._tune.prune
                and step % self._stride == 0
                and self._is_behind(attempt, step, loss)
            ):
                raise Stopped

        try:
            return trainer(attempt.settings, report)
        except Stopped:
            return None

    def _is_behind(self, attempt: _Attempt, step: int, loss: float) -> bool:
        with self._lock:
            attempt.trial.report(loss, step)
            return not attempt.as_configured and attempt.trial.should_prune()

    def _end(self, attempt: _Attempt, lowest: float | None) -> None:
        with self._lock:
            if lowest is None:
                self._study.tell(attempt.trial, state=TrialState.PRUNED)
            elif math.isfinite(lowest):
                self._study.tell(attempt.trial, lowest)
            else:
                self._study.tell(attempt.trial, state=TrialState.FAIL)
            self._ended += 1
            progress.report(self._ended, self._tune.trials, "trials")


def _result(study: optuna.Study, task: _Task, loss: str) -> Result:
    trials = [
        _trial(trial, task.space)
        for trial in study.get_trials(deepcopy=False, states=tuple(_STATES))
    ]
    complete = [
        (trial.value, trial)
        for trial in trials
        if trial.state == "complete" and trial.value is not None
    ]
    if not complete:
        raise UserError(
            f"tune: none of {len(trials)} trials of {task.framework} came to a loss that is a "
            "number: look at the data, and at tune.space"
        )
    value, best = min(complete, key=lambda found: (found[0], found[1].number))
    return Result(
        framework=task.framework,
        loss=loss,
        params=best.params,
        value=value,
        baseline=next((value for value, trial in complete if trial.as_configured), None),
        importance=_importance(study, task),
        trials=tuple(trials),
    )


def _trial(trial: FrozenTrial, space: spaces.Space) -> Trial:
    return Trial(
        number=trial.number,
        state=_STATES[trial.state],
        value=trial.value if trial.value is not None and math.isfinite(trial.value) else None,
        params=spaces.values_of(trial.params, space),
        seconds=trial.duration.total_seconds() if trial.duration else None,
        as_configured=_AS_CONFIGURED in trial.user_attrs,
    )


def _importance(study: optuna.Study, task: _Task) -> dict[str, float]:
    """By functional ANOVA: Hutter, Hoos, Leyton-Brown, ICML 2014; the most important first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    with_params = [trial for trial in complete if trial.params]
    if len(with_params) < _IMPORTANCE_TRIALS or len({trial.value for trial in with_params}) < 2:
        return {}
    found = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=task.settings.seed % 2**32),
        params=[*task.space],
    )
    return {name: float(share) for name, share in found.items()}
