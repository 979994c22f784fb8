"""Files on object stores, gs:// and s3://, by Arrow's file systems; TFX is not needed for them.

Credentials are what the cloud's own tools would find: a service account's or a role's identity, or
the usual variables and files. So is another server in the cloud's place: AWS_ENDPOINT_URL_S3 or
AWS_ENDPOINT_URL, and STORAGE_EMULATOR_HOST. Nothing of either is ever part of a configuration.

An object store has names, no folders: a folder is there as long as a name goes on below it, or an
empty object marks it.
"""

from __future__ import annotations

import datetime
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.errors import UnreachableError, UserError

if TYPE_CHECKING:
    from pyarrow import fs

SCHEMES = ("gs://", "s3://")

_COPIES = "copies-of-"
_AT_ONCE = 8
_CHUNK_BYTES = 1 << 20
_PATIENCE = datetime.timedelta(minutes=2)


@dataclass(frozen=True)
class Entry:
    """A file, or a folder that an empty object marks.

    Attributes:
      name: its path below the folder that was listed.
      is_folder: whether it is a folder.
      length: its bytes.
      mtime_nsec: when it was written, in nanoseconds since the epoch.
    """

    name: str
    is_folder: bool
    length: int
    mtime_nsec: int


def is_remote(location: str) -> bool:
    """Whether `location` lies on an object store."""
    return location.startswith(SCHEMES)


def at(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of `uri`, and its path there."""
    scheme, _, path = uri.partition("://")
    path = path.rstrip("/")
    # A forked child needs connections of its own.
    return _filesystem(scheme, path.partition("/")[0], os.getpid()), path


@functools.lru_cache
def _filesystem(scheme: str, bucket: str, process: int) -> fs.FileSystem:
    from pyarrow import fs

    environment = os.environ
    if scheme == "gs":
        host = environment.get("STORAGE_EMULATOR_HOST")
        if not host:
            return fs.GcsFileSystem(retry_time_limit=_PATIENCE)
        protocol, _, address = host.rpartition("://")
        return fs.GcsFileSystem(
            anonymous=True,
            scheme=protocol or "http",
            endpoint_override=address.rstrip("/"),
            retry_time_limit=_PATIENCE,
        )
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if not region and not endpoint:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(region=region, endpoint_override=endpoint)


@contextmanager
def in_words(uri: str, *, writes: bool = False) -> Iterator[None]:
    """Around what asks a store: that it refuses, or does not answer, is said in a sentence.

    Raises:
      UnreachableError: it did.
      OSError: there is no such file to read, or this machine has a fault of its own.
    """
    try:
        yield
    except (OSError, ValueError) as error:  # Arrow raises the second as well.
        no_bucket = writes and isinstance(error, FileNotFoundError)
        if getattr(error, "errno", None) is not None and not no_bucket:  # no store's refusal
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UnreachableError(
            f"{uri}: the object store says: {reason}. Check that the bucket is there, and that "
            "this process has credentials that may read and write there."
        ) from error


def exists(uri: str) -> bool:
    """Whether there is a file or a folder."""
    return _kind(uri) != "NotFound"


def is_folder(uri: str) -> bool:
    """Whether it is a folder."""
    return _kind(uri) == "Directory"


def _kind(uri: str) -> str:
    with in_words(uri), suppress(FileNotFoundError):  # what Google's says of a missing bucket
        store, path = at(uri)
        return str(store.get_file_info(path).type.name)
    return "NotFound"


def entries(folder: str) -> list[Entry]:
    """All files below `folder`, and those folders that are marked; none where it is not there."""
    from pyarrow import fs

    with in_words(folder):
        store, path = at(folder)
        found = store.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
    return [
        Entry(
            info.path[len(path) + 1 :],
            info.type is fs.FileType.Directory,
            info.size or 0,
            info.mtime_ns or 0,
        )
        for info in found
    ]


def read(uri: str) -> bytes:
    """The contents of a file.

    Raises:
      FileNotFoundError: there is none.
    """
    with in_words(uri):
        store, path = at(uri)
        with store.open_input_stream(path, compression=None) as stream:
            contents: bytes = stream.read()
    return contents


def chunks(uri: str) -> Iterator[bytes]:
    """The contents of a file, a piece after the other.

    Raises:
      FileNotFoundError: there is none.
    """
    with in_words(uri):
        store, path = at(uri)
        with store.open_input_stream(path, compression=None) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk


def write(uri: str, contents: bytes) -> None:
    """Writes a file, which is there whole or not at all."""
    with in_words(uri, writes=True):
        store, path = at(uri)
        with store.open_output_stream(path, compression=None) as stream:
            stream.write(contents)


def mark(folder: str) -> None:
    """Marks a folder, and those above it, so that they are there while they are empty."""
    with in_words(folder, writes=True):
        store, path = at(folder)
        store.create_dir(path)


def remove(uri: str) -> None:
    """Removes a file, if it is there."""
    with in_words(uri), suppress(FileNotFoundError):
        store, path = at(uri)
        store.delete_file(path)


def remove_tree(uri: str) -> None:
    """Removes a folder and what is below it, if it is there."""
    with in_words(uri), suppress(FileNotFoundError):
        store, path = at(uri)
        store.delete_dir_contents(path, missing_dir_ok=True)
        if is_folder(uri):  # On gs:// a folder that is not marked went with what was in it.
            store.delete_dir(path)


def download(uri: str, to: Path) -> None:
    """Copies a file, or a folder with all below it, to `to`.

    Raises:
      UserError: it is not there.
    """
    kind = _kind(uri)
    if kind == "NotFound":
        raise UserError(f"{uri}: nothing is there any more")
    if kind == "File":
        to.parent.mkdir(parents=True, exist_ok=True)
        _fetch(uri, to)
        return
    to.mkdir(parents=True, exist_ok=True)
    found = entries(uri)
    for entry in found:
        folder = to / entry.name if entry.is_folder else (to / entry.name).parent
        folder.mkdir(parents=True, exist_ok=True)
    names = [entry.name for entry in found if not entry.is_folder]
    _at_once(lambda name: _fetch(f"{uri}/{name}", to / name), names)


def upload(source: Path, uri: str, *, last: Sequence[str] = ()) -> None:
    """Puts a file, or a folder with all below it, in the place of what is at `uri`.

    Args:
      source: a file or a folder.
      uri: where to.
      last: names of files that come when all others are there, one after the other.
    """
    if source.is_file():
        _send(source, uri)
        return
    if exists(uri):
        remove_tree(uri)
    mark(uri)
    files = {f.relative_to(source).as_posix(): f for f in source.rglob("*") if f.is_file()}
    _at_once(lambda name: _send(files[name], f"{uri}/{name}"), files.keys() - set(last))
    for name in last:
        if name in files:
            _send(files[name], f"{uri}/{name}")


def _fetch(uri: str, to: Path) -> None:
    with in_words(uri):
        store, path = at(uri)
        with store.open_input_stream(path, compression=None) as stream, to.open("wb") as file:
            shutil.copyfileobj(stream, file, _CHUNK_BYTES)


def _send(file: Path, uri: str) -> None:
    with in_words(uri, writes=True):
        store, path = at(uri)
        with file.open("rb") as stream, store.open_output_stream(path, compression=None) as target:
            shutil.copyfileobj(stream, target, _CHUNK_BYTES)


def _at_once(work: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(work, names))


class Copies:
    """A folder of this machine for copies of what lies on object stores, gone in the end.

    Where a copy lies follows from the original's place alone, and back: `original`.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=_COPIES)

    def __enter__(self) -> Self:
        """Gives itself."""
        return self

    def __exit__(self, *raised: Any) -> None:
        """Removes the copies."""
        self._folder.cleanup()

    def place(self, location: str) -> str:
        """Where the copy of `location` lies; what is no remote location stays as it is."""
        if not is_remote(location):
            return location
        scheme, _, path = location.partition("://")
        return f"{self._folder.name}/{scheme}/{path}"

    def of(self, location: str) -> Path:
        """A copy of what lies at `location`; a folder of this machine is its own.

        Raises:
          UserError: nothing is there.
        """
        copy = Path(self.place(location))
        if is_remote(location) and not copy.exists():
            download(location, copy)
        return copy


def original(text: str) -> str:
    """`text`, in which places of copies are replaced by those of what they are copies of."""
    folder = re.escape(f"{tempfile.gettempdir()}/{_COPIES}")
    return re.sub(f"{folder}[^/]+/(gs|s3)/", r"\1://", text)
