"""What stands here for the images in which steps run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.errors import UserError


@dataclass(frozen=True)
class Here:
    """The commands of this machine stand for an image.

    Attributes:
      entrypoint: in the place of the image's own.
    """

    entrypoint: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skip:
    """Steps in that image are passed over.

    Attributes:
      reason: a sentence for a person.
    """

    reason: str


DEFAULT: Mapping[str, Here | Skip] = {
    "python": Here(),
    "docker": Skip("Docker's programs are brought to Cloud Build alone"),
    "aquasec/trivy": Skip("images are scanned in Cloud Build alone"),
    "hashicorp/terraform": Skip("Terraform is brought to Cloud Build alone"),
    "gcr.io/google.com/cloudsdktool/google-cloud-cli": Skip("gcloud is for Cloud Build alone"),
}


def parse(texts: Iterable[str]) -> dict[str, Here | Skip]:
    """The map of `--map IMAGE=COMMAND-PREFIX` and `--map IMAGE=skip`, over the default.

    Raises:
      UserError: a text is neither.
    """
    builders = dict(DEFAULT)
    for text in texts:
        image, equals, prefix = text.partition("=")
        if not (image and equals):
            raise UserError(f"--map {text}: expected IMAGE=COMMAND-PREFIX or IMAGE=skip.")
        skipped = prefix == "skip"
        builders[_plain(image)] = Skip(f"--map {text}") if skipped else Here(tuple(prefix.split()))
    return builders


def find(image: str, builders: Mapping[str, Here | Skip]) -> Here | Skip:
    """What stands for an image, whatever its tag and digest.

    Raises:
      UserError: nothing does.
    """
    if found := builders.get(_plain(image)):
        return found
    raise UserError(
        f"nothing stands here for the image {image}. Say --map {_plain(image)}=COMMAND-PREFIX (or "
        f"=skip); known are {', '.join(sorted(builders))}."
    )


def _plain(image: str) -> str:
    """The image's name without tag, digest and Docker Hub's own names."""
    name = re.sub(r"(:[\w.-]+)?(@sha256:\w+)?$", "", image)
    return re.sub(r"^(docker\.io/)?(library/)?", "", name)
