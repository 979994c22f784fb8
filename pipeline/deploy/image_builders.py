"""Who builds images, pushes them and looks them up: Docker's buildx, or buildah with skopeo."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.deploy import image_programs as programs
from pipeline.errors import UserError

_BUILDX = "pipeline-images"
"""A builder of its own: Docker's default one keeps no layers in a registry and attests nothing."""


@dataclass(frozen=True)
class Recipe:
    """What to build."""

    name: str
    """Which of the project's images this is, such as `pipeline`."""
    folder: Path
    """Holds what the Dockerfile copies."""
    dockerfile: str
    """Its place in the folder."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    """Files that the build may read and the image does not keep, as in `id=pip,src=pip.conf`."""
    cache: str | None = None
    """The repository that keeps layers from one build to the next; None for this machine alone."""

    @property
    def options(self) -> list[str]:
        """The options that every builder understands."""
        options = ["--file", str(self.folder / self.dockerfile)]
        for key, value in self.arguments.items():
            options += ["--build-arg", f"{key}={value}"]
        for secret in self.secrets:
            options += ["--secret", secret]
        return options


class Builder(ABC):
    """Builds images; nothing that it is told is a password, they sign in by themselves."""

    name: str

    @abstractmethod
    def build(self, recipe: Recipe, reference: str, *, push: bool) -> str:
        """Builds, and pushes if asked; the digest of the manifest, as `sha256:…`.

        Raises:
          UserError: it could not, and why.
        """

    @abstractmethod
    def digest(self, reference: str) -> str | None:
        """The digest that the registry has under a tag; None if it has no such tag.

        Raises:
          UserError: the registry did not answer, or refused.
        """

    @abstractmethod
    def bill(self, reference: str, *, digest: str, pushed: bool) -> str:
        """The bill of materials of an image that was built, as a JSON document.

        Raises:
          UserError: there is none.
        """


class Docker(Builder):
    """BuildKit: it also attests, beside the pushed image, what is in it and how it was built."""

    name = "docker"

    def build(self, recipe: Recipe, reference: str, *, push: bool) -> str:
        """Builds with layers kept in the registry, a bill of materials and provenance."""
        with tempfile.TemporaryDirectory() as folder:
            facts = Path(folder) / "metadata.json"
            command = ["docker", "buildx", "build", "--progress", "plain", *_buildx()]
            command += [*recipe.options, "--tag", reference, "--metadata-file", str(facts)]
            command += ["--output", f"type=image,push={_word(push)}"]
            command += ["--sbom=true", "--provenance=mode=max"]
            if recipe.cache:
                cache = f"type=registry,ref={recipe.cache}:{recipe.name}"
                command += ["--cache-from", cache, "--cache-to"]
                # a cache that cannot be written is no reason to fail
                command += [f"{cache},mode=max,image-manifest=true,ignore-error=true"]
            programs.run([*command, str(recipe.folder)], f"{reference} could not be built")
            return str(json.loads(facts.read_text("utf-8"))["containerimage.digest"])

    def digest(self, reference: str) -> str | None:
        """Asks the registry, by the sign-in of Docker."""
        said = programs.ask(_inspect(reference, "json .Manifest"), absent=(": not found",))
        return None if said is None else str(json.loads(said)["digest"])

    def bill(self, reference: str, *, digest: str, pushed: bool) -> str:
        """The SPDX document that BuildKit attested beside the pushed image; else there is none."""
        at = f"{reference.rpartition(':')[0]}@{digest}"
        said = programs.ask(_inspect(at, "json .SBOM.SPDX"))
        document = json.loads(said or "null")
        if not document:
            raise UserError(f"{at} was pushed without a bill of materials: build a new commit")
        return json.dumps(document, indent=2) + "\n"


class Buildah(Builder):
    """Buildah needs no server; without root or user namespaces set BUILDAH_ISOLATION=chroot."""

    name = "buildah"

    def build(self, recipe: Recipe, reference: str, *, push: bool) -> str:
        """Builds with its layers kept on this machine, and in the registry if asked."""
        command = ["buildah", "bud", "--layers", *recipe.options, "--tag", reference]
        if recipe.cache:
            command += ["--cache-from", recipe.cache, "--cache-to", recipe.cache]
        programs.run([*command, str(recipe.folder)], f"{reference} could not be built")
        if not push:
            format_ = ("--type", "image", "--format", "{{.FromImageDigest}}")
            return str(programs.ask(["buildah", "inspect", *format_, reference])).strip()
        with tempfile.TemporaryDirectory() as folder:
            digest = Path(folder) / "digest"
            to = f"docker://{reference}"
            programs.run(
                ["buildah", "push", "--digestfile", str(digest), reference, to],
                f"{reference} could not be pushed",
            )
            return digest.read_text("utf-8").strip()

    def digest(self, reference: str) -> str | None:
        """Asks the registry, by the sign-in of `buildah login`."""
        if shutil.which("skopeo") is None:
            raise UserError(
                "skopeo is not installed: with buildah it asks the registry what is there already"
            )
        asked = ["skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}"]
        absent = ("manifest unknown", "name unknown")
        said = programs.ask([*asked, f"docker://{reference}"], absent=absent)
        return None if said is None else said.strip()

    def bill(self, reference: str, *, digest: str, pushed: bool) -> str:
        """A CycloneDX document of what is installed in the image."""
        from pipeline.deploy import sbom

        repository = reference.rpartition(":")[0]
        with _mounted(f"{repository}@{digest}" if pushed else reference) as root:
            return sbom.bill(root, repository=repository, digest=digest)


def choose(name: str | None) -> Builder:
    """The builder of that name; of no name, Docker where it answers, else buildah.

    Raises:
      UserError: it is not there.
    """
    if name != "buildah":
        trouble = _docker_trouble()
        if not trouble:
            return Docker()
        if name == "docker":
            raise UserError(f"{trouble}; or build with --builder buildah")
    if shutil.which("buildah"):
        return Buildah()
    if name == "buildah":
        raise UserError("buildah is not installed")
    raise UserError(f"nothing here builds images: buildah is not installed, and {trouble}")


def _docker_trouble() -> str:
    if shutil.which("docker") is None:
        return "docker is not installed"
    if not programs.succeeds(["docker", "buildx", "version"]):
        return "docker has no buildx plugin"
    if not programs.succeeds(["docker", "version", "--format", "{{.Server.Version}}"]):
        return "no Docker server answers: start it, or see DOCKER_HOST"
    return ""


def _buildx() -> list[str]:
    """The builder: BUILDX_BUILDER, or one that is made here the first time."""
    if "BUILDX_BUILDER" in os.environ:
        return []
    if not programs.succeeds(["docker", "buildx", "inspect", _BUILDX]):
        command = ["docker", "buildx", "create", "--name", _BUILDX, "--driver", "docker-container"]
        programs.run(command, "no builder could be made in Docker")
    return ["--builder", _BUILDX]


def _inspect(reference: str, template: str) -> list[str]:
    return [
        "docker",
        "buildx",
        "imagetools",
        "inspect",
        reference,
        "--format",
        f"{{{{{template}}}}}",
    ]


@contextmanager
def _mounted(reference: str) -> Iterator[Path]:
    """The files of an image, of which there is a container meanwhile."""
    container = str(programs.ask(["buildah", "from", reference])).strip()
    try:
        yield Path(str(programs.ask(["buildah", "mount", container])).strip())
    finally:
        programs.ask(["buildah", "rm", container])


def _word(flag: bool) -> str:
    return "true" if flag else "false"
