"""From which model a training goes on, and why it begins anew where it does not (a warm start)."""

from __future__ import annotations

from pathlib import Path

from models import manifest
from models.dataset import Rows
from models.features import FOLDS
from models.manifest import ENSEMBLE, MEMBERS, Base, Manifest
from pipeline.features_config import FeaturesConfig, Problem
from pipeline.train_config import GOES_ON, Framework

_KINDS = {
    Problem.BINARY: "of two classes",
    Problem.MULTICLASS: "of several classes",
    Problem.REGRESSION: "as a number",
}


class Unfit(Exception):
    """Why a training cannot go on from a model, in words that follow "anew: "."""


def find(
    folder: Path | None, framework: Framework, features: FeaturesConfig, *, transform: str
) -> tuple[Path, Base]:
    """The bundle to go on from: the one in a folder, or an ensemble's member.

    Args:
        folder: Of a bundle; None where there is none.
        framework: What the model to be is made with.
        features: The columns, and what is predicted.
        transform: The fingerprint of the transform graph that it learns from.

    Raises:
        UserError: If the folder holds no bundle, or it was changed.
        Unfit: If there is no model of the framework in it, it predicts something else, or its
            inputs mean something else.
    """
    if framework not in GOES_ON:
        raise Unfit(f"a model made with {framework} cannot go on")
    if folder is None:
        raise Unfit(f"no model made with {framework} is live that these rows are new to")
    found = manifest.read(folder)
    manifest.verify(folder, found)
    if found.framework == ENSEMBLE and (folder / MEMBERS / framework).is_dir():
        folder = folder / MEMBERS / framework
        found = manifest.read(folder)
    if found.framework != framework:
        raise Unfit(f"the model before is made with {found.framework}")
    if found.label != features.label or found.problem != features.problem:
        raise Unfit(f"the model before predicts {found.label}, {_KINDS[found.problem]}")
    if found.classes != features.class_names:
        raise Unfit(f"the model before tells {', '.join(found.classes)} apart")
    if found.transform != transform:
        raise Unfit(
            "the model before learned from another transform graph: features, preprocessing or "
            "schema have changed"
        )
    return folder, _base(found)


def _base(found: Manifest) -> Base:
    before = found.base.spans if found.base else ()
    return Base(
        digest=found.digest,
        run=found.provenance.run,
        spans=tuple(sorted({*before, *found.provenance.spans})),
    )


def sentence(base: Base) -> str:
    """From which model a training has gone on, in words."""
    run = f" of run {base.run}" if base.run else ""
    numbers = ", ".join(map(str, base.spans))
    known = f", which knows {'span' if len(base.spans) == 1 else 'spans'} {numbers}"
    spans = known if base.spans else ""
    return f"on from model {base.digest[:12]}{run}{spans}"


def check_new(rows: Rows, share: float) -> None:
    """Makes sure that groups of rows can be held out that no model has learned from.

    Raises:
        Unfit: If there are none, or nothing new would be left to learn from.
    """
    new = rows.folds < FOLDS
    held_out = rows.folds < share * FOLDS
    if not held_out.any() or not (new & ~held_out).any():
        raise Unfit(
            "the newest span has too few groups of rows (data.split_by) to hold some out "
            f"(train.validation_share = {share})"
        )
