"""The folder that a model server watches: one numbered folder per version, each whole or not there.

Imports neither TFX nor TensorFlow.
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

_UNFINISHED = ".pushing-"


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
