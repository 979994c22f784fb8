"""The mean of several models as a bundle of its own, which holds a copy of each."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from models import manifest
from models.manifest import ENSEMBLE, MEMBERS, Manifest
from pipeline import provenance
from pipeline.errors import UserError
from pipeline.provenance import Provenance

NODE = "ModelSelector"
"""The node that makes one."""


def write(folder: Path, members: Mapping[str, Path]) -> Manifest:
    """Writes the ensemble of some bundles to `folder`; the manifest as it was written.

    Args:
        folder: Where to; it need not exist. Its manifest comes last: without it, it is no bundle.
        members: The folder of each bundle, by the name that it is to have.

    Raises:
        UserError: If a member is no bundle or was changed, or if the members do not predict the
            same label from the same columns.
    """
    manifests = {name: _verified(member) for name, member in members.items()}
    _check_alike(manifests)
    for name, member in members.items():
        shutil.copytree(member, folder / MEMBERS / name)
    first = next(iter(manifests.values()))
    return manifest.write(
        folder,
        Manifest(
            framework=ENSEMBLE,
            label=first.label,
            problem=first.problem,
            classes=first.classes,
            inputs=first.inputs,
            example=first.example,
            provenance=_provenance([member.provenance for member in manifests.values()]),
        ),
    )


def _verified(folder: Path) -> Manifest:
    found = manifest.read(folder)
    manifest.verify(folder, found)
    return found


def _check_alike(manifests: Mapping[str, Manifest]) -> None:
    (first, expected), *others = manifests.items()
    for name, found in others:
        if _predicted(found) != _predicted(expected):
            raise UserError(
                f"{name} predicts {_predicted(found)} and {first} {_predicted(expected)}: models "
                "of one ensemble must predict the same. Train both with one configuration."
            )
        differing = sorted(
            column
            for column in {*found.inputs, *expected.inputs}
            if found.inputs.get(column) != expected.inputs.get(column)
        )
        if differing:
            raise UserError(
                f"{name} and {first} do not take the same columns ({', '.join(differing)}): models "
                "of one ensemble must. Train both with one configuration."
            )


def _predicted(found: Manifest) -> str:
    """What a model predicts, in words."""
    of = f" of {', '.join(found.classes)}" if found.classes else " as a number"
    return f"{found.label!r}{of}"


def _provenance(members: list[Provenance]) -> Provenance:
    """Where an ensemble comes from: the run of its newest member, the spans of all."""
    newest = max(members, key=lambda member: member.execution or 0)
    return provenance.of_node(
        pipeline=newest.pipeline,
        run=newest.run,
        node=NODE,
        spans=sorted({span for member in members for span in member.spans}),
    )
