"""The files of an artifact, wherever it lies; what is wrong with one is said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import UserError
from pipeline.files import storage

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from pydantic import BaseModel

    from pipeline.lineage.artifact import Artifact

    Record = TypeVar("Record", bound=BaseModel)
    AMessage = TypeVar("AMessage", bound=Message)

DAMAGED = "it was damaged since, or written by another version"


def content(artifact: Artifact, name: str) -> bytes:
    """The file of that name below the artifact's uri.

    Raises:
      UserError: it is not there.
    """
    try:
        with storage.Copies() as copies:
            return copies.of(f"{artifact.uri}/{name}").read_bytes()
    except OSError as error:
        raise gone(artifact, name, error.strerror or str(error)) from None


def text(artifact: Artifact, name: str) -> str:
    """The same as text.

    Raises:
      UserError: it is not there, or it is no text.
    """
    try:
        return content(artifact, name).decode("utf-8")
    except UnicodeDecodeError:
        raise gone(artifact, name, "it is no text") from None


def gone(artifact: Artifact, name: str, why: str) -> UserError:
    """What to say of a file that cannot be read."""
    place = f"{artifact.uri}/{name}" if name else artifact.uri
    return UserError(
        f"{place}: {artifact.type} {artifact.id} has no such file that can be read "
        f"({why}); its folder may have been removed or moved since"
    )


def record(artifact: Artifact, name: str, kind: type[Record]) -> Record:
    """The JSON file of that name, as an object.

    Raises:
      UserError: it is not there, or not what `kind` takes.
    """
    from pydantic import ValidationError

    try:
        return kind.model_validate_json(text(artifact, name))
    except ValidationError as error:
        raise UserError(
            f"{artifact.uri}/{name}: not a {kind.__name__} that this code understands: "
            f"{error.errors()[0]['msg']}; {DAMAGED}"
        ) from None


def proto(artifact: Artifact, name: str, into: AMessage) -> AMessage:
    """The file of that name, a protocol buffer, read into an empty message.

    Raises:
      UserError: it is not there, or another message.
    """
    from google.protobuf.message import DecodeError

    try:
        into.ParseFromString(content(artifact, name))
    except DecodeError:
        kind = type(into).__name__
        raise UserError(f"{artifact.uri}/{name}: it holds no {kind}; {DAMAGED}") from None
    return into


@contextmanager
def folder(artifact: Artifact, name: str = "") -> Iterator[Path]:
    """The artifact's folder, or one below it, on this machine, until the block ends.

    Raises:
      UserError: it is not there.
    """
    with storage.Copies() as copies:
        folder = copies.of(f"{artifact.uri}/{name}" if name else artifact.uri)
        if not folder.is_dir():
            raise gone(artifact, name, "it is not there")
        try:
            yield folder
        except UserError as error:
            # Where its copy was is of no use to anybody.
            raise UserError(storage.original(str(error))) from None
