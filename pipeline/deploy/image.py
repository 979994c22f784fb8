"""The pipeline's image: built for a commit, and known from then on by its digest."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import PROJECT
from pipeline.deploy.image_builders import Recipe, choose
from pipeline.deploy.image_source import Source, source
from pipeline.errors import UserError

DOCKERFILE = "deploy/docker/Dockerfile"
LOCAL = "localhost/pipeline"
"""Where an image is that is for this machine alone."""


@dataclass(frozen=True)
class Request:
    """How images are to be built."""

    repository: str = LOCAL
    """With the registry: `europe-docker.pkg.dev/PROJECT/images/flights`."""
    push: bool = False
    builder: str | None = None
    """`docker` or `buildah`; None takes what is there."""
    cache: str | None = None
    """The repository that keeps layers; None for this machine alone."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    allow_dirty: bool = False
    project: Path = PROJECT

    def __post_init__(self) -> None:
        """Refuses what no registry can take.

        Raises:
          UserError: with a push that has nowhere to go, or a repository that is none.
        """
        name = self.repository.rpartition("/")[2]
        if self.repository != self.repository.lower() or ":" in name or "@" in name:
            raise UserError(
                f"--repository {self.repository}: expected REGISTRY/PATH in small letters, without "
                "a tag: the tag is the commit"
            )
        if self.push and "/" not in self.repository.removeprefix("localhost/"):
            raise UserError("--push needs --repository REGISTRY/PATH: where to?")

    def recipe(
        self, name: str, dockerfile: str, origin: Source, more: Mapping[str, str] | None = None
    ) -> Recipe:
        """What to build of a source by one of its Dockerfiles."""
        arguments = {**self.arguments, **(more or {}), **origin.arguments}
        return Recipe(name, origin.folder, dockerfile, arguments, self.secrets, self.cache)


@dataclass(frozen=True)
class Image:
    """An image that was built."""

    repository: str
    commit: str
    """With + behind it if files were changed since."""
    tag: str
    digest: str
    """Of its manifest; of one that was not pushed, as this machine has it."""
    pushed: bool
    sbom: str | None = None
    """The file with its bill of materials."""

    @property
    def reference(self) -> str:
        """The image and no other, whatever becomes of the tag."""
        return f"{self.repository}@{self.digest}"

    @property
    def facts(self) -> dict[str, Any]:
        """As `build/image.json` has them."""
        return {**vars(self), "reference": self.reference}


def build(request: Request, *, output: Path, sbom: Path | None = None) -> Image:
    """Builds the pipeline's image, unless the registry has it of this commit; writes its facts.

    Args:
      request: How.
      output: Gets the facts of the image, as JSON.
      sbom: Gets its bill of materials: SPDX of Docker, CycloneDX of buildah.

    Raises:
      UserError: it could not be built, and why. Then `output` is as it was.
    """
    builder = choose(request.builder)
    if sbom and builder.name == "docker" and not request.push:
        raise UserError("Docker keeps the bill of materials in the registry: --sbom needs --push")
    with source(allow_dirty=request.allow_dirty, project=request.project) as origin:
        tag = origin.tag
        reference = f"{request.repository}:{tag}"
        there = builder.digest(reference) if request.push and not origin.changed else None
        if there:
            print(f"{reference} is there already", file=sys.stderr)
        recipe = request.recipe("pipeline", DOCKERFILE, origin)
        digest = there or builder.build(recipe, reference, push=request.push)
    if sbom:
        text = builder.bill(reference, digest=digest, pushed=request.push)
        write(sbom, text)
    image = Image(
        request.repository, origin.commit, tag, digest, request.push, str(sbom) if sbom else None
    )
    write(output, json.dumps(image.facts, indent=2) + "\n")
    return image


def write(path: Path, text: str) -> None:
    """Writes a file as a whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
