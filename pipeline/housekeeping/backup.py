"""Puts a root and the sqlite store within it into one file, and back, whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.files.storage import is_remote
from pipeline.housekeeping.alone import alone
from pipeline.store import connect

_ROOT, _MANIFEST = "root", "manifest.json"
_VERSION = 1
_SQLITE = b"SQLite format 3\0"
_ENDINGS = ".tar.zst", ".tar.gz"
_LOCK = ".lock"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Restored:
    """What came back."""

    root: Path
    before: str
    """Where the root was when it was backed up."""
    files: int


def backup(config: PipelineConfig, file: Path) -> int:
    """Writes the root of a pipeline, with its store, to `file`; the number of files in it.

    Runs and other commands wait meanwhile; who reads does not disturb. Databases are copied by
    sqlite itself, as of one moment.

    Args:
      config: of the pipeline.
      file: a new file, *.tar.zst or *.tar.gz.

    Raises:
      UserError: the store or the root is elsewhere than on this machine, a run is at work, or the
        file cannot be written.
    """
    _check_ending(file)
    root = _root_to_keep(config)
    if file.exists():
        raise UserError(f"{file}: there already; give another name, or remove it first")
    if file.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{file}: lies in the root that it is to hold; write it elsewhere")
    fresh = file.with_name(f"{file.name}.new")
    try:
        with alone(root):
            count = _write(root, fresh)
        fresh.replace(file)
    except OSError as error:
        place = file if error.filename in (None, str(fresh)) else error.filename
        raise UserError(f"{place}: {error.strerror or error}; no backup was written") from error
    finally:
        fresh.unlink(missing_ok=True)
    return count


def restore(file: Path, root: Path) -> Restored:
    """Puts what `file` holds to `root`: checked by its checksums, and in one step.

    Artifacts have absolute places in the store. Where `root` is another than it was, the places in
    the databases are changed to lie below it.

    Args:
      file: what `backup` wrote.
      root: a folder that is not there, or empty.

    Raises:
      UserError: the folder holds something, or the file is damaged, or no backup.
    """
    _check_ending(file)
    root = root.absolute()
    if root.is_symlink() or (root.exists() and (not root.is_dir() or any(root.iterdir()))):
        raise UserError(f"{root}: holds something already; restore to a new folder: --root DIR")
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
            manifest = _unpack(file, Path(temporary))
            fresh = Path(temporary, _ROOT)
            for name in manifest["databases"]:
                _move(fresh / name, manifest["root"], str(root))
            fresh.rename(root)
    except OSError as error:
        place = error.filename if error.filename in (str(file), str(root.parent)) else root
        raise UserError(f"{place}: {error.strerror or error}; nothing was restored") from error
    return Restored(root, manifest["root"], len(manifest["files"]))


def _check_ending(file: Path) -> None:
    if not file.name.endswith(_ENDINGS):
        raise UserError(f"{file}: expected a name that ends in {' or '.join(_ENDINGS)}")


def _root_to_keep(config: PipelineConfig) -> Path:
    root = Path(config.pipeline_root)
    if is_remote(config.pipeline_root):
        raise UserError(
            f"root is {config.pipeline_root}: only a folder of this machine can be backed up; use "
            "the object store's own means, such as versions or a copy of the bucket"
        )
    store = Path(connect.connection_to(config.store_url).sqlite.filename_uri)
    if not store.is_relative_to(root):  # A server has no file.
        raise UserError(
            f"the store is {config.store_url}: only an sqlite file below the root {root} can be "
            "backed up with it; use the database's own means (pg_dump, mariadb-dump) and a copy "
            "of the root from the same moment"
        )
    if not store.is_file():
        raise UserError(f"{store}: there is no metadata store yet: run the pipeline first")
    return root


def _write(root: Path, file: Path) -> int:
    checksums: dict[str, str] = {}
    databases = []
    with _writing(file) as archive, tempfile.TemporaryDirectory() as temporary:
        for path in _everything(root):
            name = path.relative_to(root).as_posix()
            if path.is_dir():
                archive.add(path, f"{_ROOT}/{name}", recursive=False)
                continue
            if _is_database(path):
                databases.append(name)
                path = _copied(path, Path(temporary, "copy.sqlite"))
            checksums[name] = _add(archive, path, f"{_ROOT}/{name}")
        manifest = {
            "version": _VERSION,
            "root": str(root),
            "databases": databases,
            "files": checksums,
        }
        content = json.dumps(manifest, indent=1).encode()
        info = tarfile.TarInfo(_MANIFEST)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return len(checksums)


def _everything(root: Path) -> Iterator[Path]:
    """Folders and files below `root`, but its lock and sqlite's journals."""
    for folder, subfolders, names in os.walk(root):
        for name in sorted([*subfolders, *names]):
            path = Path(folder, name)
            if path == root / _LOCK or _is_journal(path):
                continue
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise UserError(
                    f"{path}: is a symbolic link or a special file, which a backup cannot hold; "
                    "remove it, or put what it leads to in its place"
                )
            yield path


def _is_journal(path: Path) -> bool:
    database, dash, ending = str(path).rpartition("-")
    return bool(dash) and ending in ("journal", "wal", "shm") and _is_database(Path(database))


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _copied(database: Path, copy: Path) -> Path:
    """A copy of a database, in which nothing is half done."""
    copy.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise UserError(f"{database}: sqlite cannot read it: {error}") from error
    copy.chmod(database.stat().st_mode & 0o777)
    return copy


def _add(archive: tarfile.TarFile, path: Path, name: str) -> str:
    """Adds a file; its SHA-256, of the very bytes that were added."""
    with path.open("rb") as file:
        hashing = _Hashing(file)
        archive.addfile(archive.gettarinfo(name=str(path), arcname=name), cast(IO[bytes], hashing))
    return hashing.sha.hexdigest()


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.sha.update(content)
        return content


@contextmanager
def _writing(file: Path) -> Iterator[tarfile.TarFile]:
    with _compressed(file, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        yield archive


def _compressed(file: Path, mode: str) -> Any:
    if ".tar.zst" in file.name:
        return zstandard.open(file, mode)
    return gzip.open(file, mode, compresslevel=6)


def _unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Unpacks a backup, and makes sure that it is whole; its manifest."""
    try:
        with _compressed(file, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not (member.isreg() or member.isdir()):
                    raise UserError(f"{file}: {member.name} is neither a file nor a folder")
                archive.extract(member, folder, filter="data")
            while stream.read(_CHUNK_BYTES):  # At its end is its own checksum.
                pass
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_bytes())
        before, files = manifest["root"], manifest["files"]
        known = manifest["version"] == _VERSION and isinstance(before, str)
        known = known and set(manifest["databases"]) <= files.keys()
    except tarfile.FilterError as error:
        raise UserError(f"{file}: would write outside of its folder: {error}") from error
    except (tarfile.TarError, EOFError, zlib.error, OSError, zstandard.ZstdError) as error:
        if getattr(error, "errno", None) is not None and not isinstance(error, FileNotFoundError):
            raise  # This machine's fault.
        raise UserError(f"{file}: is damaged, or no backup ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: is no backup that this version can read ({error!r})") from error
    if not known:
        raise UserError(f"{file}: was written by another version; use that one to restore it")
    _verify(file, folder / _ROOT, files)
    return manifest


def _verify(file: Path, folder: Path, expected: dict[str, str]) -> None:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as content:
                sha = hashlib.file_digest(content, "sha256")
            found[path.relative_to(folder).as_posix()] = sha.hexdigest()
    if found != expected:
        names = sorted(n for n in found.keys() | expected if found.get(n) != expected.get(n))
        raise UserError(
            f"{file}: is damaged: {len(names)} files differ from their checksums, {names[0]} first"
        )


def _move(database: Path, before: str, after: str) -> None:
    """Has every place below `before` that a database names lie below `after`."""
    if before == after:
        return
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.create_function("moved", 1, _mover(before, after), deterministic=True)
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' "
            "ESCAPE '!'"
        )
        for (table,) in tables.fetchall():
            columns = connection.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
            for _, name, kind, *_ in columns:
                if any(text in kind.upper() for text in ("CHAR", "TEXT")):
                    column = _quoted(name)
                    connection.execute(
                        f"UPDATE {_quoted(table)} SET {column} = moved({column}) "
                        f"WHERE {column} IS NOT moved({column})"
                    )


def _mover(before: str, after: str) -> Callable[[Any], Any]:
    """Changes a text each of whose lines may be a place, as some properties of artifacts are."""
    schemes = "", "file://", "sqlite:///"

    def moved(line: str) -> str:
        for scheme in schemes:
            start = f"{scheme}{before}"
            if line == start or line.startswith(f"{start}/"):
                return f"{scheme}{after}{line.removeprefix(start)}"
        return line

    def all_moved(value: Any) -> Any:
        if not isinstance(value, str) or before not in value:
            return value
        return "\n".join(moved(line) for line in value.split("\n"))

    return all_moved


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
