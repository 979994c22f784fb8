"""The images on the command line: `python -m pipeline deploy image` and `deploy trainers`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.train_config import Framework

if TYPE_CHECKING:
    from pipeline.deploy.image import Request

IMAGE = Path("build/image.json")
TRAINERS = Path("build/trainers.json")
_IMAGE = """\
Build the pipeline's image of the commit at HEAD: of its files, and of no others.

The tag is the commit. What the registry has under it already is not built again."""
_TRAINERS = """\
Build the images of the trainers whose content has changed.

The content is the Dockerfile, what it copies, and the build arguments. Its SHA-256 is in the tag;
what the registry has under it already is not built again."""
_SIGN_IN = """\
Sign in to the registry beforehand: docker login, buildah login, gcloud auth configure-docker. No
password is given here. For an index of packages of your own see deploy/docker/README.md."""


def add_commands(commands: Any) -> None:
    """Adds `image` and `trainers`.

    Args:
      commands: what `add_subparsers` of the parser of `deploy` gave.
    """

    def add(name: str, about: str, description: str, output: Path) -> Any:
        command = commands.add_parser(
            name,
            help=about,
            description=description,
            epilog=_SIGN_IN,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        option = command.add_argument
        option("--repository", metavar="REG/PATH", help="where the image goes, without a tag")
        option("--push", action="store_true", help="push it there")
        option(
            "--builder",
            choices=("docker", "buildah"),
            help="docker's buildx, or buildah with skopeo (default: docker where it answers)",
        )
        option("--cache", metavar="REG/PATH", help="keep layers there too, for other machines")
        option(
            "--build-arg",
            type=_pair,
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="BASE_IMAGE=…, EXTRAS=pytorch: no secrets; may be repeated",
        )
        option(
            "--secret",
            action="append",
            default=[],
            metavar="id=NAME,src=FILE",
            help="a file that the build reads and the image does not keep; may be repeated",
        )
        option("--allow-dirty", action="store_true", help="build files that are not committed")
        option(
            "--output",
            type=Path,
            default=output,
            metavar="FILE",
            help="what was built, as JSON (default: %(default)s)",
        )
        return command

    command = add("image", "build the pipeline's image of this commit", _IMAGE, IMAGE)
    command.add_argument(
        "--sbom", type=Path, metavar="FILE", help="write its bill of materials, as JSON"
    )
    command.set_defaults(run=_image)

    command = add("trainers", "build the trainers' images that changed", _TRAINERS, TRAINERS)
    command.add_argument(
        "frameworks",
        nargs="*",
        type=_framework,
        metavar="FRAMEWORK",
        help=f"{', '.join(Framework)} (default: all)",
    )
    command.set_defaults(run=_trainers)


def _image(arguments: argparse.Namespace) -> None:
    from pipeline.deploy import image

    built = image.build(_request(arguments), output=arguments.output, sbom=arguments.sbom)
    print(built.reference)


def _trainers(arguments: argparse.Namespace) -> None:
    from pipeline.deploy import trainers

    frameworks = arguments.frameworks or list(Framework)
    for each in trainers.build(_request(arguments), frameworks, output=arguments.output):
        print(f"{each.facts['reference']}  {'built' if each.built else 'unchanged'}")


def _request(arguments: argparse.Namespace) -> Request:
    from pipeline.deploy.image import LOCAL, Request

    return Request(
        repository=arguments.repository or LOCAL,
        push=arguments.push,
        builder=arguments.builder,
        cache=arguments.cache,
        arguments=dict(arguments.build_arg),
        secrets=arguments.secret,
        allow_dirty=arguments.allow_dirty,
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=VALUE")
    return key, value


def _framework(text: str) -> Framework:
    try:
        return Framework(text)
    except ValueError:
        expected = ", ".join(Framework)
        raise argparse.ArgumentTypeError(f"{text!r}: expected one of {expected}") from None
