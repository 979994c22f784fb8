"""The models of an evaluation: the trained candidates, the mean of the best, and the live one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_components.evaluator.signature import check
from custom_components.evaluator.verdict import ENSEMBLE, LIVE
from models.bundle import Bundle, mean
from models.manifest import Manifest
from models.out_of_fold import OutOfFold
from pipeline.errors import UserError
from pipeline.features_config import Problem

_LEARNED = (
    "the live one is not compared: trained without cross-validation, it has learned from rows that "
    "judge"
)

Ask = Callable[[Bundle], NDArray[np.float32]]
Answers = dict[str, NDArray[np.float32]]
"""By model, [rows] or, of more than two classes, [rows, classes]."""


@dataclass(frozen=True)
class Target:
    """What models predict."""

    problem: Problem = Problem.BINARY
    classes: tuple[str, ...] = ("0", "1")
    """The label's values in the order of the classes' numbers; none in a regression."""

    @property
    def words(self) -> str:
        """As in "multiclass (red, green, blue)"."""
        return f"{self.problem} ({', '.join(self.classes)})" if self.classes else self.problem


@dataclass(frozen=True)
class Models:
    """Bundles, by the names under which they are evaluated."""

    folders: Mapping[str, str]
    """Location of each bundle: the candidates' in the order of the alphabet, then the live one."""
    members: tuple[str, ...] = ()
    """The candidates whose mean is one more candidate; empty if there is none."""
    live_framework: str | None = None
    """What the live model is made with; None if no model is live."""
    not_compared: str = ""
    """Why a live model is not among them; empty if it is, or there is none."""
    target: Target = Target()
    """What they predict."""
    repeats: int = 0
    """How often the rows were parted in a cross-validation; 0: there is none."""

    @property
    def trained(self) -> tuple[str, ...]:
        """The candidates that are trained: all but the mean."""
        return tuple(name for name in self.folders if name != LIVE)

    @property
    def candidates(self) -> tuple[str, ...]:
        """What is judged."""
        return (*self.trained, *([ENSEMBLE] if self.members else []))

    @property
    def live(self) -> str | None:
        """The name of the model that is live, if there is one."""
        return LIVE if LIVE in self.folders else None

    @property
    def names(self) -> tuple[str, ...]:
        """The candidates, then the live model."""
        return (*self.candidates, *([LIVE] if self.live else []))

    def parts(self, name: str) -> list[str]:
        """Locations of the bundles that a model is made of."""
        return [self.folders[part] for part in (self.members if name == ENSEMBLE else [name])]

    def ask(self, question: Ask) -> Answers:
        """Each model's answer to a question to its bundle; each bundle is asked once.

        Raises:
            UserError: If one does not give as many numbers for a row as there are to be.
        """
        answers = {name: question(load(folder)) for name, folder in self.folders.items()}
        classes = len(self.target.classes)
        expected = classes if self.target.problem is Problem.MULTICLASS else 1
        for name, answer in answers.items():
            given = 1 if answer.ndim == 1 else answer.shape[1]
            if given != expected or (answer.ndim > 1) != (expected > 1):
                raise UserError(
                    f"the model {name!r} gives {given} numbers for a row; expected {expected}, as "
                    f"the problem is {self.target.words}."
                )
        return self._with_mean(answers)

    def unlearned(
        self, examples: Sequence[bytes] | NDArray[Any], answers: Answers
    ) -> list[Answers]:
        """Answers by models that have not learned from the rows, in a cross-validation.

        Args:
            examples: Serialized tf.Examples.
            answers: What the models themselves say of them, which stands in for a row that a
                model's cross-validation did not know.

        Returns:
            One for each repeat; `answers` alone where there is no cross-validation.

        Raises:
            UserError: If a candidate was trained without one.
        """
        if not self.repeats:
            return [answers]
        keys = OutOfFold.keys(examples)
        known = {name: self._repeated(name, keys, answers[name]) for name in self.folders}
        parts = [{name: said[n] for name, said in known.items()} for n in range(self.repeats)]
        return [self._with_mean(part) for part in parts]

    def _repeated(
        self, name: str, keys: Sequence[bytes], answer: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        found = out_of_fold(self.folders[name])
        if found is None:
            raise UserError(
                f"the model {name!r} has no out-of-fold predictions, and "
                "evaluate.cross_validation asks for them. Train it again."
            )
        said = found.predictions(keys)[np.arange(self.repeats) % found.repeats]
        return np.where(np.isnan(said), answer, said)

    def _with_mean(self, answers: Answers) -> Answers:
        if self.members:
            answers[ENSEMBLE] = mean([answers[member] for member in self.members])
        return {name: answers[name] for name in self.names}


@cache
def load(folder: str) -> Bundle:
    """The bundle in a folder, loaded once for each process."""
    return Bundle.load(folder)


@cache
def out_of_fold(folder: str) -> OutOfFold | None:
    """What the models of a bundle's cross-validation say, read once for each process."""
    return OutOfFold.of(Path(folder))


def find(
    candidates: Iterable[str],
    live: str | None,
    target: Target,
    *,
    ensemble: int,
    repeats: int = 0,
) -> Models:
    """The models of an evaluation, named by what they are made with.

    Args:
        candidates: Locations of the bundles to judge.
        live: Location of the live model's bundle, if a model is live.
        target: What they are to predict.
        ensemble: The mean of so many of the best candidates is judged too.
        repeats: How often the rows were parted in a cross-validation; 0: there is none.

    Raises:
        UserError: If two are made with the same, one cannot be evaluated, or the live model
            predicts something else.
    """
    manifests: dict[str, Manifest] = {}
    folders: dict[str, str] = {}
    for folder in candidates:
        manifest = check(Path(folder), "a candidate")
        if (said := _target(manifest)) != target:
            raise UserError(
                f"a candidate ({manifest.framework}) was trained for the problem {said.words}, and "
                f"the configuration's is {target.words}. Train it again."
            )
        name = manifest.framework
        if name in folders or name in (ENSEMBLE, LIVE):
            raise UserError(
                f"two models are called {name!r}: the one in {folder} and "
                f"{folders.get(name, 'one that the evaluator makes')}. A model is called by what "
                "it is made with (framework in its bundle.json): train one of each."
            )
        manifests[name], folders[name] = manifest, folder
    named = dict(sorted(folders.items()))
    live_framework = _check_live(live, target) if live else None
    flattered = bool(live and repeats and out_of_fold(live) is None)
    if live and not flattered:
        named[LIVE] = live
    return Models(
        folders=named,
        members=_best(manifests, ensemble),
        live_framework=None if flattered else live_framework,
        not_compared=_LEARNED if flattered else "",
        target=target,
        repeats=repeats,
    )


def _check_live(folder: str, target: Target) -> str:
    """What the live model is made with."""
    found = check(Path(folder), "the live model")
    if (said := _target(found)) != target:
        raise UserError(
            f"the live model predicts {said.words}, and the problem of the configuration is "
            f"{target.words}: no metric can compare them. A pipeline of another name, or of "
            "another root, begins without a live model."
        )
    return found.framework


def _target(found: Manifest) -> Target:
    return Target(found.problem, found.classes)


def _best(manifests: Mapping[str, Manifest], number: int) -> tuple[str, ...]:
    """The candidates with the lowest losses on rows held out from training, by name.

    Never by the eval split: what is chosen by the rows that judge it is judged too well. In a
    cross-validation, where all rows judge, it is by their out-of-fold losses, and a little so.
    """

    def loss(name: str) -> tuple[float, str]:
        found = manifests[name].held_out_loss
        return (math.inf if found is None else found, name)

    best = sorted(manifests, key=loss)[:number]
    return tuple(sorted(best)) if len(best) > 1 else ()
