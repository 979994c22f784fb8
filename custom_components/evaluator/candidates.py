"""The models of an evaluation: the trained candidates, the mean of the best, and the live one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_components.evaluator.signature import check
from custom_components.evaluator.verdict import ENSEMBLE, LIVE
from models.bundle import Bundle, mean
from models.manifest import Manifest
from pipeline.errors import UserError

Ask = Callable[[Bundle], NDArray[np.float32]]


@dataclass(frozen=True)
class Models:
    """Bundles, by the names under which they are evaluated."""

    folders: Mapping[str, str]
    """Location of each bundle: the candidates' in the order of the alphabet, then the live one."""
    members: tuple[str, ...] = ()
    """The candidates whose mean is one more candidate; empty if there is none."""
    live_framework: str | None = None
    """What the live model is made with; None if no model is live."""

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

    def ask(self, question: Ask) -> dict[str, NDArray[np.float32]]:
        """Each model's answer [rows] to a question to its bundle; each bundle is asked once.

        Raises:
            UserError: If one gives more than one number for a row.
        """
        answers = {name: question(load(folder)) for name, folder in self.folders.items()}
        for name, answer in answers.items():
            if answer.ndim != 1:
                raise UserError(
                    f"the model {name!r} gives {answer.shape[1]} numbers for a row; expected one, "
                    "the probability of label 1."
                )
        if self.members:
            answers[ENSEMBLE] = mean([answers[member] for member in self.members])
        return {name: answers[name] for name in self.names}


@cache
def load(folder: str) -> Bundle:
    """The bundle in a folder, loaded once for each process."""
    return Bundle.load(folder)


def find(candidates: Iterable[str], live: str | None, *, ensemble: int) -> Models:
    """The models of an evaluation, named by what they are made with.

    Args:
        candidates: Locations of the bundles to judge.
        live: Location of the live model's bundle, if a model is live.
        ensemble: The mean of so many of the best candidates is judged too.

    Raises:
        UserError: If two are made with the same, or one cannot be evaluated.
    """
    manifests: dict[str, Manifest] = {}
    folders: dict[str, str] = {}
    for folder in candidates:
        manifest = check(Path(folder), "a candidate")
        name = manifest.framework
        if name in folders or name in (ENSEMBLE, LIVE):
            raise UserError(
                f"two models are called {name!r}: the one in {folder} and "
                f"{folders.get(name, 'one that the evaluator makes')}. A model is called by what "
                "it is made with (framework in its bundle.json): train one of each."
            )
        manifests[name], folders[name] = manifest, folder
    named = dict(sorted(folders.items()))
    if live:
        named[LIVE] = live
    return Models(
        folders=named,
        members=_best(manifests, ensemble),
        live_framework=check(Path(live), "the live model").framework if live else None,
    )


def _best(manifests: Mapping[str, Manifest], number: int) -> tuple[str, ...]:
    """The candidates with the lowest losses on rows held out from training, by name.

    Never by the eval split: what is chosen by the rows that judge it is judged too well.
    """

    def loss(name: str) -> tuple[float, str]:
        found = manifests[name].held_out_loss
        return (math.inf if found is None else found, name)

    best = sorted(manifests, key=loss)[:number]
    return tuple(sorted(best)) if len(best) > 1 else ()
