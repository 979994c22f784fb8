"""Writing what was ingested: a gzipped TFRecord file per split, and the rows that did not fit."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import tensorflow as tf
from tfx.dsl.io import fileio

from pipeline.sources.rows import BadRow

# As TFX names the files of a split.
_RECORDS = "data_tfrecord-00000-of-00001.gz"
# Beside the splits, where no component of TFX looks.
_BAD_ROWS = "bad_rows"
_WAITING = 2


class SplitWriter:
    """Writes serialized Examples to a file, in a thread of its own while others are made."""

    def __init__(self, file: str):
        """Makes the gzipped TFRecord `file`, empty, and the folder that it lies in."""
        fileio.makedirs(file.rpartition("/")[0])
        # Compressing fast costs a third more space and a quarter of the time.
        options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
        self._records = tf.io.TFRecordWriter(file, options)
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()
        self.rows = 0

    def write(self, examples: list[bytes]) -> None:
        """Appends `examples`; waits when the thread is behind, so that memory stays bounded."""
        self.rows += len(examples)
        self._waiting.append(self._thread.submit(self._write, examples))
        while len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Finishes the file."""
        for written in self._waiting:
            written.result()
        self._thread.shutdown()
        self._records.close()

    def _write(self, examples: Iterable[bytes]) -> None:
        for example in examples:
            self._records.write(example)


@contextmanager
def open_splits(folders: dict[str, str]) -> Iterator[dict[str, SplitWriter]]:
    """A writer for each split of `folders`; finished when the block ends well."""
    writers = {split: SplitWriter(f"{folder}/{_RECORDS}") for split, folder in folders.items()}
    yield writers
    for writer in writers.values():
        writer.close()


def write_bad_rows(uri: str, rows: Iterable[BadRow]) -> str:
    """Writes `rows` below the artifact at `uri`, one JSON object a line; returns the file."""
    fileio.makedirs(f"{uri}/{_BAD_ROWS}")
    file = f"{uri}/{_BAD_ROWS}/rows.jsonl"
    with fileio.open(file, "w") as lines:
        for row in rows:
            lines.write(json.dumps(vars(row), ensure_ascii=False, default=str) + "\n")
    return file
