"""What was learned from each span, kept for the runs whose windows hold it too.

A file for each data set, a split of a span: gzipped JSON of what the accumulators are good for (a
fingerprint) and of the accumulators. The name of the file is the data set's, which holds a digest
of its rows. So what is of other rows, other preprocessing or other libraries is never taken.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import tensorflow as tf
from absl import logging
from tfx.dsl.io import fileio

from custom_components.transform.passes import Accumulated

_SUFFIX = ".json.gz"
_CHUNK = 1 << 20
_BROKEN = (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError)
Entries: TypeAlias = Mapping[bytes, bytes]


def name_of(folder: str, *, span: int, split: str) -> str:
    """The name of the data set that the files in `folder` hold, which sorts by its span."""
    sha = hashlib.sha256(split.encode() + b"\0")
    for file in sorted(fileio.glob(f"{folder}/*")):
        with fileio.open(file, "rb") as content:
            while chunk := content.read(_CHUNK):
                sha.update(chunk)
    return f"{span:010}-{sha.hexdigest()}"


def read(folder: str, names: Iterable[str], fingerprint: str) -> Accumulated:
    """What is kept in `folder` of those data sets; what cannot be used is left out, and told."""
    found = {}
    for name in names:
        file = f"{folder}/{name}{_SUFFIX}"
        if fileio.exists(file):
            try:
                found[name] = _entries(file, fingerprint)
            except (*_BROKEN, tf.errors.OpError) as error:
                logging.warning("%s is not used, its rows are analysed anew: %s", file, error)
    return found


def write(folder: str, accumulated: Accumulated, fingerprint: str) -> None:
    """Keeps what was accumulated in `folder`, which need not be there."""
    fileio.makedirs(folder)
    for name, entries in accumulated.items():
        kept = {_text(key): _text(value) for key, value in sorted(entries.items())}
        text = json.dumps({"fingerprint": fingerprint, "accumulators": kept})
        with fileio.open(f"{folder}/{name}{_SUFFIX}", "wb") as file:
            file.write(gzip.compress(text.encode(), mtime=0))


def _entries(file: str, fingerprint: str) -> Entries:
    with fileio.open(file, "rb") as content:
        kept = json.loads(gzip.decompress(content.read()))
    if kept["fingerprint"] != fingerprint:
        raise ValueError("it is of other preprocessing, another schema or other libraries")
    return {_bytes(key): _bytes(value) for key, value in kept["accumulators"].items()}


def _text(content: bytes) -> str:
    return content.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
