"""Which files a name means: a file, a folder, a glob, here or on an object store."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
import stat
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.config import PROJECT
from pipeline.data_config import FileFormat
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.sources.files import open_binary, unpacked_name
from pipeline.sources.read import FORMATS

_MAGIC = re.compile(r"[*?]|\{SPAN")
_SPAN_IN_PATTERN = re.compile(r"\{SPAN(:[0-9]+)?\}")
_NOT_IN_A_PATTERN = re.compile(r"[*?\[\]{}]")
_SPAN = re.compile(r"(?P<before>.*?)(?P<span>[0-9]+)(?P<after>[^0-9]*)")
_OTHERS = {
    ".xlsx": "a workbook of Excel: save the sheet as CSV",
    ".xls": "a workbook of Excel: save the sheet as CSV",
    ".ods": "a spreadsheet: save the sheet as CSV",
    ".zip": "a ZIP archive: unpack it",
    ".tar": "an archive: unpack it",
    ".7z": "an archive: unpack it",
    ".feather": "an Arrow file: write it as Parquet",
    ".arrow": "an Arrow file: write it as Parquet",
    ".orc": "an ORC file: write it as Parquet",
    ".avro": "an Avro file: write it as Parquet",
    ".pkl": "a pickle, which may hold any program and is not opened: write it as Parquet",
    ".db": "a database: name it as sqlite:///FILE, with a query",
    ".sqlite": "a database: name it as sqlite:///FILE, with a query",
}
_EXPECTED = "expected CSV (.csv, .tsv, .txt, also .gz or .zst) or Parquet (.parquet, .pq)"


@dataclass(frozen=True)
class Place:
    """Files of one format."""

    path: str
    """The folder, as [data] names it."""
    pattern: str
    """Which files below it, as [data] names them."""
    files: tuple[str, ...]
    """All of them, in the order of their names."""
    format: FileFormat
    notes: tuple[str, ...] = ()


def find(text: str, format: FileFormat | None = None) -> Place:
    """The files that `text` means.

    Args:
      text: a file, a folder or a glob with *, ? and {SPAN}.
      format: of the files, where their names do not tell it.

    Raises:
      UserError: there is none, or they are of several formats, or of none that can be read.
    """
    text = text if storage.is_remote(text) else str(Path(text).expanduser())
    if _MAGIC.search(text):
        return _globbed(text, format)
    if _is_folder(text):
        return _in_folder(text.rstrip("/"), format)
    folder, _, name = text.rpartition("/")
    if _NOT_IN_A_PATTERN.search(name):
        raise UserError(f"{text}: the name holds one of * ? [ ] {{ }}. Rename the file.")
    return Place(_settled(folder or "."), name, (text,), format or _format(text))


def _is_folder(text: str) -> bool:
    if storage.is_remote(text):
        if storage.is_folder(text):
            return True
        if not storage.exists(text):
            raise UserError(f"{text}: there is no such file or folder. Check the name.")
        return False
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(
            f"{text}: there is no such file or folder{_nearest(path)} Check the name."
        ) from None
    except OSError as error:
        raise UserError(f"{text} cannot be read: {error.strerror}.") from None
    if stat.S_ISDIR(mode):
        return True
    if not stat.S_ISREG(mode):
        raise UserError(f"{text} is no file but a device, a pipe or a socket. Save it as a file.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{text} cannot be read: Permission denied. Allow it: chmod u+r '{text}'")
    return False


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return "."
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else "."


def _globbed(text: str, format: FileFormat | None) -> Place:
    """A glob: the pattern begins with the first part that is not a name as it stands."""
    before = _MAGIC.split(text, maxsplit=1)[0]
    folder = before.rpartition("/")[0]
    pattern = text[len(folder) + 1 :] if folder else text
    shell = _SPAN_IN_PATTERN.sub("*", pattern)
    names = [name for name in _names(folder or ".") if _fits(name, shell)]
    if not names:
        raise UserError(f"{text}: no file matches. Check the name, and quote it in a shell.")
    formats = {_format(f"{folder or '.'}/{name}") for name in names} if format is None else {format}
    if len(formats) > 1:
        raise UserError(
            f"{text} matches CSV and Parquet files. Expected one format: name one, as in *.csv."
        )
    files = tuple(f"{folder}/{name}" if folder else name for name in names)
    return Place(_settled(folder or "."), pattern, files, formats.pop())


def _fits(name: str, pattern: str) -> bool:
    """As in a shell: a star ends at a slash."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _names(folder: str) -> list[str]:
    """The files below a folder, relative to it, in order; names with . or _ first are no data."""
    if storage.is_remote(folder):
        found = [entry.name for entry in storage.entries(folder) if not entry.is_folder]
    else:
        base = Path(folder)
        found = [
            file.relative_to(base).as_posix()
            for depth in ("*", "*/*", "*/*/*")
            for file in base.glob(depth)
            if file.is_file()
        ]
    return sorted(name for name in found if not PurePosixPath(name).name.startswith((".", "_")))


def _in_folder(folder: str, format: FileFormat | None) -> Place:
    """The files of a folder, or of its folders with numbers, which are spans."""
    names = [name for name in _names(folder) if format or _suffix(name) in FORMATS]
    here = [name for name in names if "/" not in name]
    pattern, notes = "", list[str]()
    if here:
        names = here
        pattern = f"*{_end(folder, here)}"
    elif names and (span := _spans(names)):
        pattern = f"{span}/*{_end(folder, names)}"
        names = [name for name in names if name.count("/") == 1]
        notes.append(f"Its folders with numbers are taken for spans: {pattern}.")
    if not pattern:
        raise UserError(
            f"{folder} holds no data file, {_EXPECTED}, in itself or in folders such as span-01."
        )
    files = tuple(f"{folder}/{name}" for name in names)
    return Place(_settled(folder), pattern, files, format or FORMATS[_suffix(names[0])], (*notes,))


def _end(folder: str, names: Sequence[str]) -> str:
    """How the names of all files end, from the last part that tells the format."""
    by_end = defaultdict(list)
    for name in names:
        by_end[name[len(name) - len(_ending(name)) :]].append(name)
    if len(by_end) > 1:
        (one, *_), (other, *_), *_ = by_end.values()
        raise UserError(
            f"{folder} holds files of several kinds, such as {one} and {other}. Expected one: name "
            "them by a glob, as in '*.csv'."
        )
    return next(iter(by_end))


def _ending(name: str) -> str:
    bare = unpacked_name(name)
    return name[len(bare) - len(PurePosixPath(bare).suffix) :]


def _suffix(name: str) -> str:
    return PurePosixPath(unpacked_name(name)).suffix


def _spans(names: Sequence[str]) -> str | None:
    """The pattern of folders that differ by a number alone, as in span-{SPAN:2}."""
    folders = sorted({name.split("/")[0] for name in names})
    found = [_SPAN.fullmatch(folder) for folder in folders]
    ends = {(one["before"], one["after"]) for one in found if one}
    if not all(found) or len(ends) != 1:
        return None
    (before, after), widths = ends.pop(), {len(one["span"]) for one in found if one}
    padded = any(one["span"].startswith("0") for one in found if one)
    span = f"{{SPAN:{widths.pop()}}}" if padded and len(widths) == 1 else "{SPAN}"
    return f"{before}{span}{after}"


def _format(file: str) -> FileFormat:
    """What the file's name says, else how it begins.

    Raises:
      UserError: it is of a format that cannot be read.
    """
    suffix = _suffix(file)
    if suffix in _OTHERS:
        raise UserError(f"{file} is {_OTHERS[suffix]}; {_EXPECTED}.")
    if suffix in FORMATS:
        return FORMATS[suffix]
    with open_binary(file) as stream:
        return FileFormat.PARQUET if stream.read(4) == b"PAR1" else FileFormat.CSV


def _settled(folder: str) -> str:
    """A folder as a configuration names it: relative to the project's where it is below it."""
    if storage.is_remote(folder):
        return folder
    path = Path(folder).resolve()
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
