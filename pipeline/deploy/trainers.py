"""The images of the trainers, each built again only if what it contains has changed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.deploy.image import Request, write
from pipeline.deploy.image_builders import choose
from pipeline.deploy.image_source import source
from pipeline.errors import UserError
from pipeline.train_config import Framework

DOCKERFILE = "deploy/docker/trainer/Dockerfile"
_OF_THE_COMMIT = ("COMMIT", "CREATED", "SOURCE")
"""Build arguments that say where an image comes from, and not what is in it."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Trainer:
    """The image of one trainer."""

    framework: str
    repository: str
    content: str
    """SHA-256 of all that goes into it."""
    digest: str
    """Of its manifest."""
    pushed: bool
    built: bool
    """Whether it was built now; otherwise the registry had it."""

    @property
    def facts(self) -> dict[str, Any]:
        """As `build/trainers.json` has them."""
        return {**vars(self), "reference": f"{self.repository}@{self.digest}"}


def build(request: Request, frameworks: Sequence[Framework], *, output: Path) -> list[Trainer]:
    """Builds the images whose content the registry does not have; writes the facts of all.

    The image of a trainer is at the repository of the request with `-trainer-FRAMEWORK` behind it.

    Raises:
      UserError: one could not be built, and why. Then `output` is as it was.
    """
    builder = choose(request.builder)
    trainers = []
    with source(allow_dirty=request.allow_dirty, project=request.project) as origin:
        for framework in frameworks:
            name, repository = f"trainer-{framework}", f"{request.repository}-trainer-{framework}"
            given = {"FRAMEWORK": framework.value}
            content = digest(origin.folder, DOCKERFILE, {**request.arguments, **given})
            reference = f"{repository}:content-{content}"
            recipe = request.recipe(name, DOCKERFILE, origin, given)
            there = builder.digest(reference) if request.push else None
            found = there or builder.build(recipe, reference, push=request.push)
            trainers.append(
                Trainer(framework, repository, content, found, request.push, built=not there)
            )
    facts = {each.framework: each.facts for each in trainers}
    write(output, json.dumps(facts, indent=2) + "\n")
    return trainers


def digest(folder: Path, dockerfile: str, arguments: Mapping[str, str]) -> str:
    """SHA-256 of what goes into an image: its Dockerfile, what that copies, the build arguments.

    The names of files count, and whether they may be executed; their times do not.

    Raises:
      UserError: the Dockerfile takes something in a way of which this knows nothing, or copies a
        file that is not there.
    """
    sha = hashlib.sha256()
    for key, value in sorted(arguments.items()):
        if key not in _OF_THE_COMMIT:
            sha.update(f"{key}={value}\0".encode())
    for path in [folder / dockerfile, *copied(folder, dockerfile, arguments)]:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = bool(path.stat().st_mode & 0o100)
        sha.update(f"{path.relative_to(folder)}\0{executable}\0{content}\0".encode())
    return sha.hexdigest()


def copied(folder: Path, dockerfile: str, arguments: Mapping[str, str]) -> list[Path]:
    """The files that a Dockerfile copies out of the folder, in the order of their names."""
    text = (folder / dockerfile).read_text("utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    files: set[Path] = set()
    for line in text.splitlines():
        instruction, *words = line.split() or [""]
        if instruction.upper() == "COPY" and not words[0].startswith("--from"):
            for word in words[:-1]:
                files |= _files(folder, _filled(word, arguments, f"{dockerfile}: {line}"))
        elif instruction.upper() == "ADD":
            raise UserError(f"{dockerfile}: {line}\nuse COPY: what ADD takes is not known here")
    return sorted(files)


def _filled(word: str, arguments: Mapping[str, str], where: str) -> str:
    """A source of COPY with its build arguments put in."""
    filled = _VARIABLE.sub(lambda match: arguments.get(match[1], match[0]), word)
    if re.match(r"--|<<|\[", filled) or "$" in filled:
        raise UserError(f"{where}\n{word}: expected plain names of files, or ${{ARGUMENT}} in them")
    return filled


def _files(folder: Path, pattern: str) -> set[Path]:
    found = set(folder.glob(pattern))
    if not found:
        raise UserError(f"{pattern} is copied into an image, and is not in {folder}")
    below = {file for path in found if path.is_dir() for file in path.rglob("*")}
    return {file for file in found | below if file.is_file() and file.suffix != ".pyc"}
