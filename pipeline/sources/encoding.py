"""In which encoding a text file is written: told by its bytes, all of them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from pipeline.errors import UserError
from pipeline.sources.files import damage_in_words, open_binary, open_unpacked

_CHUNK = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Letters of Western Europe stand alone among others; a word in another script is made of them.
_WORD_OF_ANOTHER_SCRIPT = re.compile(rb"[\x80-\xff]{4}")
_NOT_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_AROUND = re.compile(rb"[^\s,;|\"]*[\x80-\xff][^\s,;|\"]*")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True)
class Encoding:
    """What was found."""

    name: str
    """As Python spells it."""
    note: str | None = None
    """A sentence for people, where it could be another."""


def find(file: str) -> Encoding:
    """The encoding of a text file.

    It is ASCII or UTF-8 where all of it is; UTF-16 or UTF-32 where a mark at its begin or the zeros
    between its letters say so; else cp1252, Western Europe's, which the note tells.

    Raises:
      UserError: it is no text, or text of which the encoding cannot be told.
    """
    with damage_in_words(file), open_binary(file) as packed:
        stream = open_unpacked(packed, file)
        begin = stream.read(_CHUNK)
        for mark, name in _MARKS:
            if begin.startswith(mark):
                return Encoding(name, None if name == "utf-8" else f"The text is {name.upper()}.")
        if b"\x00" in begin:
            return _with_zeros(file, begin)
        return _eight_bits(file, begin, stream)


def _with_zeros(file: str, begin: bytes) -> Encoding:
    even, odd = begin[::2].count(0), begin[1::2].count(0)
    half = len(begin) // 2
    for name, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > 0.5 * half and others < 0.01 * half:
            return Encoding(name, f"The text is {name.upper()}, by the zeros between its letters.")
    at = begin.index(0)
    line = begin.count(b"\n", 0, at) + 1
    raise UserError(
        f"{file}, line {line}: a NUL byte, so this is no text file, or a damaged one. Expected CSV "
        "or Parquet; mend the file, or export it again."
    )


def _eight_bits(file: str, begin: bytes, stream: IO[bytes]) -> Encoding:
    """Where no byte is zero: UTF-8, or one of the encodings with a byte a letter."""
    utf8 = codecs.getincrementaldecoder("utf-8")()
    lines = 0
    letters = False
    strange: list[bytes] = []
    for chunk in _chunks(begin, stream):
        if b"\x00" in chunk:
            lines += chunk.count(b"\n", 0, chunk.index(0))
            raise UserError(
                f"{file}, line {lines + 1}: a NUL byte, so the file is damaged. Mend it, or export "
                "it again."
            )
        letters = letters or not chunk.isascii()
        if not strange:
            try:
                utf8.decode(chunk)
            except UnicodeDecodeError as error:
                bad = error.object[error.start :]
                at = error.object.count(b"\n", 0, error.start) + lines + 1
                strange = [bad[:1], str(at).encode()]
        if strange:
            strange += _AROUND.findall(chunk)[:3]
            _check_western(file, chunk, strange)
        lines += chunk.count(b"\n")
    if not strange:
        try:
            utf8.decode(b"", final=True)
        except UnicodeDecodeError:
            raise UserError(
                f"{file} ends within a letter of UTF-8: it is cut short. Export it again."
            ) from None
        return Encoding("utf-8" if letters else "ascii")
    byte, line, word = strange[0], strange[1].decode(), strange[2].decode("cp1252", "replace")
    return Encoding(
        "cp1252",
        f"The text is not UTF-8 (byte 0x{byte.hex().upper()} in line {line}); it is read as "
        f"cp1252, Western European, in which it says {word!r} there. Say --encoding if that is "
        "wrong.",
    )


def _check_western(file: str, chunk: bytes, strange: list[bytes]) -> None:
    if _CONTROL.search(chunk):
        raise UserError(
            f"{file} is no text: it holds control characters. Expected CSV or Parquet; export it "
            "again."
        )
    if _NOT_IN_CP1252.search(chunk) or _WORD_OF_ANOTHER_SCRIPT.search(chunk):
        raise UserError(
            f"{file}, line {strange[1].decode()}: byte 0x{strange[0].hex().upper()} is not UTF-8, "
            "and the text is none of Western Europe. Say --encoding, such as cp1251, gbk, "
            "shift_jis or cp1250, or save the file as UTF-8."
        )


def _chunks(begin: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    chunk = begin
    while chunk:
        yield chunk
        chunk = stream.read(_CHUNK)
