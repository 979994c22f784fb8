"""The folder that a model server watches: one numbered folder per version, each whole or not there.

On an object store no folder gets its name in one step. There, a version is whole once its
bundle.json is there, which comes last; before it comes saved_model.pb, without which TensorFlow's
servers take a folder for no version. Imports neither TFX nor TensorFlow.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.files import storage

_UNFINISHED = ".pushing-"
BUNDLE = "bundle.json"
"""`models.manifest.FILE`, without what that module imports."""
_LAST = ("saved_model.pb", BUNDLE)


def newest_version(folder: Path) -> Path | None:
    """The version that a server would serve, or None if there is none yet."""
    versions = [f for f in folder.glob("*") if f.name.isdecimal()] if folder.is_dir() else []
    return max(versions, key=lambda version: int(version.name), default=None)


def next_version(existing: Iterable[str]) -> int:
    """The number of a new version: the unix time, or more where that would not be the newest."""
    newest = max((int(name) for name in existing if name.isdecimal()), default=0)
    return max(int(time.time()), newest + 1)


def publish(model: Path, folder: Path) -> Path:
    """Makes the files of `model` the newest version in `folder`; returns the version's folder.

    A reader sees the version whole or not at all, also if this process dies on the way: the files
    are copied to a hidden folder beside, written through to the disk, and get their name in one
    step. What a push that died left behind is removed by the next one. Where the newest version
    holds these very files already, it is returned: a push that is repeated does no harm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        for leftover in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover)
        newest = newest_version(folder)
        if newest is not None and _same_files(model, newest):
            return newest
        version = str(next_version(file.name for file in folder.iterdir()))
        unfinished = folder / f"{_UNFINISHED}{version}"
        shutil.copytree(model, unfinished)
        for file in (*unfinished.rglob("*"), unfinished):
            _write_through(file)
        unfinished.rename(folder / version)
        _write_through(folder)
        return folder / version


def newest(folder: str) -> str | None:
    """As `newest_version`, of a serving folder that may be a URL."""
    if not storage.is_remote(folder):
        version = newest_version(Path(folder))
        return str(version) if version else None
    files = [entry.name.split("/") for entry in storage.entries(folder)]
    whole = [int(file[0]) for file in files if file[1:] == [BUNDLE] and file[0].isdecimal()]
    return f"{folder.rstrip('/')}/{max(whole)}" if whole else None


def push(model: Path, folder: str) -> str:
    """As `publish`, in a serving folder that may be a URL; there, for one push at a time."""
    if not storage.is_remote(folder):
        return str(publish(model, Path(folder)))
    before = newest(folder)
    bundle = (model / BUNDLE).read_bytes()
    if before is not None and storage.read(f"{before}/{BUNDLE}") == bundle:
        return before
    existing = {entry.name.partition("/")[0] for entry in storage.entries(folder)}
    version = f"{folder.rstrip('/')}/{next_version(existing)}"
    storage.upload(model, version, last=_LAST)
    return version


def withdraw(version: str) -> None:
    """Takes a version out of the serving folder in one step, and then its files away."""
    if storage.is_remote(version):
        for name in reversed(_LAST):
            storage.remove(f"{version}/{name}")
        storage.remove_tree(version)
        return
    folder = Path(version)
    hidden = folder.with_name(f".{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other pushes to `folder` waiting; the lock goes with the process that holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_through(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same_files(left: Path, right: Path) -> bool:
    names = {file.relative_to(left) for file in left.rglob("*") if file.is_file()}
    if names != {file.relative_to(right) for file in right.rglob("*") if file.is_file()}:
        return False
    return all(filecmp.cmp(left / name, right / name, shallow=False) for name in names)
