"""Reading CSV: values as they are spelled, every row numbered, nothing skipped unseen."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from pipeline.data_config import CsvOptions
from pipeline.errors import UserError
from pipeline.sources.files import (
    check_columns,
    damage_in_words,
    open_binary,
    open_unpacked,
    unpacked_name,
)
from pipeline.sources.rows import UNDECODABLE, BadRow, Block

BLOCK_BYTES = 1 << 21
"""Bytes of a file that are in memory at once; no row is longer."""

_KNOWN_DAMAGE = {
    "Empty CSV file": "is empty, expected a header and rows. Write it again, or take it away.",
    "straddling": f"has a row of more than {BLOCK_BYTES >> 20} MiB. Most often a quote was never "
    "closed: mend it, or set data.csv.quote (--quote of init) to the character that quotes values.",
}


def spelled(file: str, options: CsvOptions) -> CsvOptions:
    """`options` with the delimiter that the file's name tells, where they name none."""
    if options.delimiter is not None:
        return options
    is_tsv = PurePosixPath(unpacked_name(file)).suffix == ".tsv"
    return options.model_copy(update={"delimiter": "\t" if is_tsv else ","})


def read_csv(file: str, columns: Sequence[str], *, options: CsvOptions) -> Iterator[Block]:
    """The rows of a CSV file, plain or packed, its values as bytes that should be UTF-8.

    Ragged rows come as `BadRow`s of the block that they stand in.
    """
    options = spelled(file, options)
    check(options)
    header = header_of(file, options)
    check_columns(file, header, columns)
    ragged: list[pa_csv.InvalidRow] = []

    def keep(row: pa_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.binary()),
        include_columns=list(columns),
        null_values=list(options.null_values),
        strings_can_be_null=True,
    )
    with damage_in_words(file, _KNOWN_DAMAGE), Utf8(file, options) as source:
        done = 1  # the header
        # One thread: only then does Arrow number the rows.
        read = pa_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
        reader = pa_csv.open_csv(source, read, _parse(options, keep), convert)
        for batch in reader:
            rows = _numbers(done, len(batch), [row.number for row in ragged])
            last = rows[-1] if len(rows) else done
            here = [row for row in ragged if row.number < last]
            del ragged[: len(here)]
            done += len(rows) + len(here)
            yield Block(batch, rows, [_bad(file, row) for row in here])
        if source.quotes % 2 and _ends_inside_quotes(file, options):
            last = max([done, *(row.number for row in ragged)])
            raise UserError(
                f"{file} ends inside a quoted value, at row {last}: the file is cut short, or a "
                f"quote ({options.quote}) before was never closed. Mend the file, or set "
                "data.csv.quote (--quote of init) to the character that quotes values."
            )
    if ragged:
        none = pa.RecordBatch.from_pylist([], reader.schema)
        yield Block(none, np.empty(0, np.int64), [_bad(file, row) for row in ragged])


class Utf8(io.RawIOBase):
    """A CSV file's text as UTF-8, unzipped, with its quotes counted.

    What cannot be decoded becomes `UNDECODABLE`, so that it is found later where its row and column
    are known.
    """

    def __init__(self, file: str, options: CsvOptions):
        self._file = open_binary(file)
        self._stream = open_unpacked(self._file, file)
        decoder = codecs.getincrementaldecoder(options.encoding)
        self._decoder = decoder(_mark_undecodable.__name__)
        self._quote = options.quote.encode()
        self._ready = b""
        self.quotes = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills the buffer, as far as there is text; returns how many bytes it got."""
        while not self._ready:
            data = self._stream.read(len(buffer))
            # A file has no lone surrogates, but some codecs can spell them.
            self._ready = self._decoder.decode(data, not data).encode("utf-8", "replace")
            self.quotes += self._ready.count(self._quote)
            if not data:
                break
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return UNDECODABLE, error.end
    raise error


codecs.register_error(_mark_undecodable.__name__, _mark_undecodable)


def check(options: CsvOptions) -> None:
    """Sees to it that a file can be read so.

    Raises:
        UserError: it cannot.
    """
    try:
        text = codecs.lookup(options.encoding)._is_text_encoding
    except LookupError:
        text = False
    if not text:
        raise UserError(
            f"data.csv.encoding: there is no encoding {options.encoding!r}; "
            "expected one such as utf-8, latin-1, cp1252 or utf-16."
        )
    for key in ("delimiter", "quote"):
        if not (getattr(options, key) or "").isascii():
            raise UserError(
                f"data.csv.{key}: {getattr(options, key)!r} cannot be read, "
                "expected an ASCII character."
            )


def _parse(options: CsvOptions, keep: object) -> pa_csv.ParseOptions:
    return pa_csv.ParseOptions(
        delimiter=options.delimiter,
        quote_char=options.quote,
        newlines_in_values=True,
        invalid_row_handler=keep,
    )


def header_of(file: str, options: CsvOptions) -> list[str]:
    """The names of the columns.

    Raises:
        UserError: if the file has none, or cannot be read.
    """
    read = pa_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    with damage_in_words(file, _KNOWN_DAMAGE), Utf8(file, options) as source:
        reader = pa_csv.open_csv(source, read, _parse(options, lambda row: "skip"))
        names: list[str] = reader.schema.names
    if any(UNDECODABLE in name for name in names):
        raise UserError(
            f"{file}: the header is not {options.encoding}. Set data.csv.encoding to the encoding "
            "that the file was written in."
        )
    return names


def _numbers(done: int, count: int, skipped: Sequence[int]) -> npt.NDArray[np.int64]:
    """Row numbers of the next `count` good rows after row `done`, around the `skipped` ones."""
    following = np.arange(1, count + 1, dtype=np.int64)
    # The skipped row j comes before the good row i if fewer than i good rows stand before it.
    gaps = np.asarray(skipped, np.int64) - done - np.arange(len(skipped))
    return following + np.searchsorted(gaps, following, side="right") + done


def _bad(file: str, row: pa_csv.InvalidRow) -> BadRow:
    reason = f"{row.actual_columns} values, expected {row.expected_columns} as in the header"
    return BadRow(file, row.number, None, row.text, reason, {"text": row.text})


def _ends_inside_quotes(file: str, options: CsvOptions) -> bool:
    with Utf8(file, options) as source:
        text = io.TextIOWrapper(io.BufferedReader(source), "utf-8", errors="replace", newline="")
        rows = csv.reader(
            text, delimiter=options.delimiter or ",", quotechar=options.quote, strict=True
        )
        try:
            for _ in rows:
                pass
        except csv.Error as error:
            return "unexpected end of data" in str(error)
    return False
