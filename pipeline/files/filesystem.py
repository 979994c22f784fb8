"""Lets TFX's `fileio` reach gs:// and s3:// by `pipeline.files.storage`.

TFX's own way there is TensorFlow's, which has no s3:// without a package that is no longer made.
"""

from __future__ import annotations

import fnmatch
import io
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from tfx.dsl.io import filesystem
from tfx.dsl.io.filesystem_registry import DEFAULT_FILESYSTEM_REGISTRY

from pipeline.files import storage

_PRIORITY = 5  # TensorFlow's is 10; the lower one goes first.
_MAGIC = re.compile(r"[*?[]")


def register() -> None:
    """Has TFX use it in this process, from now on."""
    DEFAULT_FILESYSTEM_REGISTRY.register(ObjectStore, priority=_PRIORITY)


@contextmanager
def _not_found() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise filesystem.NotFoundError(str(error)) from error


def _text(path: str | bytes) -> str:
    return path.decode() if isinstance(path, bytes) else path


class ObjectStore(filesystem.Filesystem):
    """Object stores; `tfx.dsl.io.fileio` says what each function does."""

    SUPPORTED_SCHEMES: ClassVar[list[str]] = list(storage.SCHEMES)

    @staticmethod
    def open(name: str | bytes, mode: str = "r") -> Any:
        """A file to be read (r, rb) or written (w, wb)."""
        if mode not in ("r", "rb", "w", "wb"):
            raise ValueError(
                f"mode {mode!r}: an object is read or written as a whole: r, rb, w, wb"
            )
        uri = _text(name)
        with _not_found(), storage.in_words(uri):
            store, path = storage.at(uri)
            if mode.startswith("w"):
                stream = store.open_output_stream(path, compression=None)
            else:
                stream = io.BufferedReader(store.open_input_file(path))
        return stream if mode.endswith("b") else io.TextIOWrapper(stream, "utf-8")

    @staticmethod
    def copy(src: str | bytes, dst: str | bytes, overwrite: bool = False) -> None:
        """Copies a file, to the same or another store."""
        if not overwrite and ObjectStore.exists(dst):
            raise OSError(f"{_text(dst)} is there already, and overwrite is false")
        with ObjectStore.open(src, "rb") as source, ObjectStore.open(dst, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    @staticmethod
    def exists(path: str | bytes) -> bool:
        """Whether there is a file or a folder."""
        return storage.exists(_text(path))

    @staticmethod
    def glob(pattern: str | bytes) -> list[str]:
        """The files and folders that fit; as in a shell, * ends at a slash."""
        wanted = _text(pattern).rstrip("/")
        magic = _MAGIC.search(wanted)
        if magic is None:
            return [wanted] if storage.exists(wanted) else []
        folder = wanted[: magic.start()].rpartition("/")[0]
        segments = wanted.removeprefix(f"{folder}/").split("/")
        return [f"{folder}/{name}" for name in sorted(_names(folder)) if _fits(name, segments)]

    @staticmethod
    def isdir(path: str | bytes) -> bool:
        """Whether it is a folder."""
        return storage.is_folder(_text(path))

    @staticmethod
    def listdir(path: str | bytes) -> list[str]:
        """The names in a folder."""
        names = {name.partition("/")[0] for name in _names(_text(path))}
        if not names and not ObjectStore.isdir(path):
            raise filesystem.NotFoundError(_text(path))
        return sorted(names)

    @staticmethod
    def makedirs(path: str | bytes) -> None:
        """Marks a folder, and those above it."""
        storage.mark(_text(path))

    @staticmethod
    def mkdir(path: str | bytes) -> None:
        """As makedirs: a folder needs none above it here."""
        ObjectStore.makedirs(path)

    @staticmethod
    def remove(path: str | bytes) -> None:
        """Removes a file."""
        uri = _text(path)
        with _not_found(), storage.in_words(uri):
            store, place = storage.at(uri)
            store.delete_file(place)

    @staticmethod
    def rename(src: str | bytes, dst: str | bytes, overwrite: bool = False) -> None:
        """Copies a file or a folder, and then removes it: not in one step, as everywhere here."""
        source, target = _text(src), _text(dst)
        if not storage.is_folder(source):
            ObjectStore.copy(source, target, overwrite)
            ObjectStore.remove(source)
            return
        if not overwrite and storage.exists(target):
            raise OSError(f"{target} is there already, and overwrite is false")
        for entry in storage.entries(source):
            if entry.is_folder:
                ObjectStore.makedirs(f"{target}/{entry.name}")
            else:
                ObjectStore.copy(f"{source}/{entry.name}", f"{target}/{entry.name}", overwrite=True)
        storage.remove_tree(source)

    @staticmethod
    def rmtree(path: str | bytes) -> None:
        """Removes a folder and what is below it."""
        uri = _text(path)
        if not storage.exists(uri):
            raise filesystem.NotFoundError(uri)
        storage.remove_tree(uri)

    @staticmethod
    def stat(path: str | bytes) -> storage.Entry:
        """Its `length` and `mtime_nsec`, as TensorFlow names them."""
        uri = _text(path)
        with storage.in_words(uri):
            store, place = storage.at(uri)
            info = store.get_file_info(place)
        if info.type.name == "NotFound":
            raise filesystem.NotFoundError(uri)
        return storage.Entry(
            info.base_name, info.type.name == "Directory", info.size or 0, info.mtime_ns or 0
        )

    @staticmethod
    def walk(
        top: str | bytes, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        """Each folder with the names of the folders and the files in it, as os.walk."""
        folder = _text(top).rstrip("/")
        found = _names(folder)
        there = bool(found) or storage.is_folder(folder)
        below = [name for name, is_folder in found.items() if is_folder]
        folders: dict[str, tuple[list[str], list[str]]] = {
            name: ([], []) for name in ([""] if there else []) + below
        }
        for name, is_folder in sorted(found.items()):
            above, _, base = name.rpartition("/")
            folders[above][0 if is_folder else 1].append(base)
        for name in sorted(folders, reverse=not topdown):
            yield (f"{folder}/{name}" if name else folder, *folders[name])


def _names(folder: str) -> dict[str, bool]:
    """The paths below `folder`, each with whether it is a folder, marked or not."""
    found = {}
    for entry in storage.entries(folder):
        found[entry.name] = entry.is_folder
        above = entry.name.rpartition("/")[0]
        while above:
            found[above] = True
            above = above.rpartition("/")[0]
    return found


def _fits(name: str, segments: Sequence[str]) -> bool:
    parts = name.split("/")
    return len(parts) == len(segments) and all(map(fnmatch.fnmatchcase, parts, segments))
