"""The list of what a bundle holds, by which a damaged or a foreign one is told: bundle.json.

Imports neither TensorFlow nor NumPy nor any framework, so that a question about a model is answered
quickly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.provenance import Provenance
from pipeline.sections import Section

FILE = "bundle.json"
"""The manifest's name in a bundle's folder."""
FORMAT = "tabular-bundle/1"
"""Which bundles this code writes, and reads."""
EXAMPLE_ROW_FILE = "example_row.json"
"""In the folder of a transform graph: a raw row of the data that it was made from."""
ENSEMBLE = "ensemble"
"""The `framework` of the mean of other models."""
MEMBERS = "members"
"""The folder of an ensemble's members, each a bundle under its framework's name."""

Type = Literal["string", "int64", "float32", "float64"]
"""What a column holds: text, whole numbers that no row may lack, numbers, or whole numbers of which
some may be missing."""


class Base(Section):
    """The model that a training went on from."""

    digest: str
    """Of its manifest: the bundle's identity."""
    run: str | None = None
    """The id of the run that trained it; None outside a pipeline."""
    spans: tuple[int, ...] = ()
    """All the spans that it has learned from: its own, and those of the models before it."""


class Manifest(Section):
    """What a bundle is and where it comes from."""

    format: Literal["tabular-bundle/1"] = "tabular-bundle/1"
    """The layout of the folder."""
    framework: str
    """What the model is made with: a Framework's value, or "ensemble"."""
    label: str
    """The column that is predicted."""
    problem: Problem = Problem.BINARY
    """What kind of value is predicted."""
    classes: tuple[str, ...] = ("0", "1")
    """The label's values in the order of the classes' numbers, from 0; none in a regression."""
    inputs: dict[str, Type]
    """The raw columns that it takes, with their types; a float64 column holds whole numbers, some
    of them missing."""
    example: dict[str, bool | int | float | str | None]
    """A raw row of the training data."""
    transform: str = ""
    """SHA-256 of the transform graph: bundles of the same one may share it in memory."""
    held_out_loss: float | None = None
    """Mean cross entropy, in nats, of the rows held out from training, before it was trained on
    those as well; None if no rows were. By it the members of an ensemble are chosen."""
    provenance: Provenance = Provenance()
    """The run, the data and the code that made it."""
    base: Base | None = None
    """The model that its training went on from; None if it began anew."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every other file of the bundle, by its path."""
    digest: str = ""
    """SHA-256 of all the above: the bundle's identity."""

    def sealed(self, folder: Path) -> Manifest:
        """With the checksums of what `folder` holds, and its own."""
        with_files = self.model_copy(update={"files": checksums(folder), "digest": ""})
        return with_files.model_copy(update={"digest": with_files._own_digest()})

    def _own_digest(self) -> str:
        # At these defaults as if there were no such fields: bundles were sealed before they were.
        newer = ("base", "problem", "classes")
        unused = {n for n in newer if getattr(self, n) == type(self).model_fields[n].default}
        content = self.model_dump(mode="json", exclude={"digest", *unused})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write(folder: Path, manifest: Manifest) -> Manifest:
    """Seals a bundle whose other files are there; the manifest as it was written."""
    sealed = manifest.sealed(folder)
    (folder / FILE).write_text(sealed.model_dump_json(indent=2) + "\n")
    return sealed


def read(folder: Path) -> Manifest:
    """The manifest of a bundle, without a look at its other files.

    Raises:
        UserError: If there is none, or it is not one of `FORMAT`, or it was changed.
    """
    file = folder / FILE
    try:
        content = json.loads(file.read_text())
    except OSError:
        raise UserError(f"{folder} holds no bundle: expected {FILE} there.") from None
    except ValueError:
        raise UserError(f"{file} is damaged: it is no JSON. {_ADVICE}") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise UserError(f"{folder} is no bundle of this kind: {found!r}, expected {FORMAT!r}.")
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"{file} is damaged: {where} is not what it should be. {_ADVICE}") from None
    if manifest.digest != manifest._own_digest():
        raise UserError(f"{file} was changed after it was written. {_ADVICE}")
    return manifest


def verify(folder: Path, manifest: Manifest) -> None:
    """Compares the files of a bundle with their checksums.

    Raises:
        UserError: If one is not there or was changed.
    """
    found = checksums(folder)
    for name, expected in manifest.files.items():
        if name not in found:
            raise UserError(f"{folder} is not whole: {name} is not there. {_ADVICE}")
        if found[name] != expected:
            raise UserError(f"{folder / name} was changed after it was written. {_ADVICE}")


_ADVICE = "Do not use it: take the bundle again from where it was made."


def fingerprint(folder: Path) -> str:
    """SHA-256 of a transform graph: of all files below `folder` but the example row."""
    files = {k: v for k, v in checksums(folder).items() if k != EXAMPLE_ROW_FILE}
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but its manifest, by the path from there."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file != folder / FILE
    }


def size(folder: Path) -> int:
    """Bytes of all files of a bundle."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def plain(row: Mapping[str, Any]) -> dict[str, bool | int | float | str | None]:
    """A row as JSON can hold it: text for bytes, null for a missing number.

    Numbers have 32 bits, as the graph reads them, and are as short as they can be.
    """
    return {column: _plain(value) for column, value in row.items()}


def _plain(value: Any) -> bool | int | float | str | None:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, float):
        import numpy as np

        return None if value != value else float(str(np.float32(value)))
    return value if isinstance(value, bool | int | float | str) else None
