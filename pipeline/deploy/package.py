"""Compiles the package that is deployed, and keeps which commit and image it is of."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipeline.cluster import reach
from pipeline.cluster.remote import Package
from pipeline.config import PipelineConfig
from pipeline.config_file import load
from pipeline.deploy.repository import CHANGED, label, short
from pipeline.errors import UserError
from pipeline.quiet import errors_to
from pipeline.sections import Section

BUILD = Path("build")
FILE = BUILD / "package.json"
Target = Literal["kfp", "vertex"]
_BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


class Built(Section):
    """What build/package.json says of a package."""

    name: str
    """The pipeline's name."""
    target: Target
    """Who is to run it."""
    commit: str
    """Of the code, with + behind it if files were changed since."""
    image: str
    """The container image of its tasks, by its digest."""
    digest: str
    """SHA-256 of its text, in hexadecimal digits."""
    file: str
    """The file that holds it."""

    @classmethod
    def read(cls, target: Target) -> tuple[Built, Package]:
        """The package that was compiled last in this folder.

        Raises:
          UserError: there is none for that target, or its file is another by now.
        """
        compile_it = "`python -m pipeline deploy compile` writes it"
        try:
            built = cls.model_validate_json(FILE.read_bytes(), strict=True)
            text = Path(built.file).read_text(encoding="utf-8")
        except (OSError, ValidationError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise UserError(
                f"{FILE}: there is no package to deploy ({why}); {compile_it}"
            ) from None
        package = Package(text, label(built.commit))
        if package.digest != built.digest:
            raise UserError(
                f"{built.file} is not the package that {FILE} tells of: it has been changed since; "
                f"{compile_it} anew"
            )
        if built.target != target:
            raise UserError(
                f"{FILE}: the package was compiled for {built.target}, not for {target}; give "
                "compile and this command the same --target"
            )
        return built, package


def by_digest(image: str) -> bool:
    """Whether an image is named by its digest: NAME@sha256:, and 64 digits."""
    return bool(_BY_DIGEST.fullmatch(image))


def image_of(given: str, commit: str) -> str:
    """The image's reference by digest: `given`, or what a file of `deploy image` says.

    Args:
      given: a reference, or the path of a JSON file.
      commit: the file's image has to be of this one.

    Raises:
      UserError: it is no reference by digest, or the file cannot be read or is of another commit.
    """
    reference = given
    if given.endswith(".json"):
        try:
            facts = json.loads(Path(given).read_bytes())
            reference, of = str(facts["reference"]), str(facts["commit"])
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{given}: there is no built image; `python -m pipeline deploy image` writes it"
            ) from None
        if of.removesuffix(CHANGED) != commit.removesuffix(CHANGED):
            raise UserError(
                f"{given}: the image is of commit {short(of)}, but the code here is of "
                f"{short(commit)}; build the image anew"
            )
    if not by_digest(reference):
        raise UserError(
            f"image {reference!r} is named by a tag, which can come to mean another one; name it "
            "by its digest, as in registry.example.com/flights@sha256:… (64 digits)"
        )
    return reference


def compile_(
    config_file: Path, overrides: Sequence[str], *, target: Target, image: str | None, commit: str
) -> Built:
    """Compiles the package into the build folder; nothing is left there if that fails.

    Args:
      config_file: the configuration.
      overrides: of its settings.
      target: who is to run it.
      image: for all tasks, as `image_of` takes it; None: as configured.
      commit: of the code here.

    Raises:
      UserError: the configuration is wrong, its runs would fail, or an image has no digest.
    """
    FILE.unlink(missing_ok=True)
    reference = image_of(image, commit) if image else None
    package = _compiled(config_file, overrides, target=target, image=reference)
    tagged = [name for name in package.images if not by_digest(name)]
    if tagged:
        raise UserError(
            f"tasks have images that are named by a tag: {', '.join(tagged)}; give --image for "
            "those of tasks.defaults, and name all others by their digest, as in …@sha256:…"
        )
    file = BUILD / f"{package.name}.yaml"
    _write(file, package.text)
    built = Built(
        name=package.name,
        target=target,
        commit=commit,
        image=_main_image(package),
        digest=package.digest,
        file=str(file),
    )
    _write(FILE, built.model_dump_json(indent=2) + "\n")
    return built


def compare(
    golden: Path, config_file: Path, overrides: Sequence[str], *, target: Target
) -> Package:
    """Compiles anew, with the image of a package from elsewhere, which has to give the same bytes.

    Raises:
      UserError: `golden` is no package, or another one; the message has the first other line.
    """
    try:
        there = Package.read(golden)
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{golden}: there is no package to compare with") from None
    here = _compiled(config_file, overrides, target=target, image=_main_image(there))
    if here.text != there.text:
        lines = zip_longest(there.text.splitlines(), here.text.splitlines(), fillvalue="(nothing)")
        number, (theirs, ours) = next((n, p) for n, p in enumerate(lines, 1) if p[0] != p[1])
        raise UserError(
            f"{golden}: the package compiled here is another one. Line {number} there:\n  "
            f"{_clipped(theirs)}\nand here:\n  {_clipped(ours)}\nCompare the commits, --config, "
            "--set and --target, and the versions of the libraries."
        )
    return here


def policy(config_file: Path, overrides: Sequence[str], *, target: Target, image: str) -> Package:
    """The package that has the policy decide, in `image`, and start runs in it.

    Raises:
      UserError: the configuration is wrong, or its runs would fail.
    """
    given = [*overrides, _of_image(image)]
    config = _checked(config_file, given, target)
    with errors_to(BUILD / "compile.log"):
        from pipeline.runners import policy_task

        return Package(policy_task.compile_package(config, config_file, given, target=target))


def _compiled(
    config_file: Path, overrides: Sequence[str], *, target: Target, image: str | None
) -> Package:
    config = _checked(config_file, [*overrides, *map(_of_image, filter(None, [image]))], target)
    with errors_to(BUILD / "compile.log"):
        from pipeline.runners import kubeflow

        return Package(kubeflow.compile_package(config, target=target))


def _of_image(image: str) -> str:
    return f"tasks.defaults.image={json.dumps(image)}"


def _checked(config_file: Path, overrides: Sequence[str], target: Target) -> PipelineConfig:
    config = load(config_file, overrides)
    reach.check(config, target)
    BUILD.mkdir(exist_ok=True)
    return config


def _main_image(package: Package) -> str:
    """The image of the task that begins a run, which it keeps with its facts."""
    executors: dict[str, Any] = package.spec.get("deploymentSpec", {}).get("executors", {})
    return str(executors.get("exec-init", {}).get("container", {}).get("image", ""))


def _write(file: Path, text: str) -> None:
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)


def _clipped(line: str) -> str:
    return line if len(line) <= 100 else f"{line[:97]}..."
