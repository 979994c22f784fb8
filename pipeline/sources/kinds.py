"""Which columns of CSV are numbers: those of which every value is one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data_config import CsvOptions
from pipeline.errors import UserError
from pipeline.sources.plain import plain_numbers
from pipeline.sources.rows import UNDECODABLE, Block, shown

_CODE = "^[+-]?0[0-9]"
_WIDE = "^[+-]?[0-9]{19,}$"


@dataclass
class Kinds:
    """What the blocks that were looked at allow each column to be."""

    csv: CsvOptions
    of: dict[str, pa.DataType] = field(default_factory=dict)
    """null, int64, float64 or string; each fits what those before it fit."""
    notes: list[str] = field(default_factory=list)

    def look(self, file: str, block: Block) -> None:
        """Widens the types until they fit a block of bytes.

        Raises:
          UserError: a value is not in the encoding that it should be in.
        """
        for name in block.columns.schema.names:
            column = block.columns.column(name)
            distinct = column.dictionary_encode().dictionary
            try:
                text = distinct.cast(pa.string())
                undecodable = pc.any(pc.match_substring(text, UNDECODABLE)).as_py()
            except pa.ArrowInvalid:
                undecodable = True
            if undecodable:
                raise _wrong_encoding(file, name, block, self.csv.encoding)
            before = self.of.setdefault(name, pa.null())
            text = text.filter(pc.not_equal(text, ""))
            if len(text) and before != pa.string():
                self.of[name] = self._fitting(name, text, before)

    def _fitting(self, name: str, text: pa.Array, before: pa.DataType) -> pa.DataType:
        text = plain_numbers(pc.utf8_trim_whitespace(text), self.csv)
        if pc.any(pc.match_substring_regex(text, _CODE)).as_py():
            return pa.string()  # 00123 is a code: as a number it would be another one.
        for kind in (pa.int64(), pa.float64()):
            if kind == pa.int64() and before == pa.float64():
                continue
            try:
                numbers = text.cast(kind)
            except pa.ArrowInvalid:
                continue
            if kind == pa.float64():
                if pc.any(pc.match_substring_regex(text, _WIDE)).as_py():
                    self.notes.append(
                        f"Column {name!r} has integers of more than 64 bits: it is read as text."
                    )
                    return pa.string()
                if not pc.all(pc.is_finite(numbers)).as_py():
                    return pa.string()
            return kind
        return pa.string()


def typed(columns: pa.RecordBatch, schema: pa.Schema, csv: CsvOptions) -> pa.RecordBatch:
    """A block's bytes as the types that all blocks allow; the empty text is null."""
    arrays = []
    for wanted in schema:
        text = columns.column(wanted.name).cast(pa.string())
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        if wanted.type != pa.string():
            text = plain_numbers(pc.utf8_trim_whitespace(text), csv)
        # Nothing can be cast to null, not even nulls.
        empty = pa.types.is_null(wanted.type)
        arrays.append(pa.nulls(len(text)) if empty else text.cast(wanted.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _wrong_encoding(file: str, name: str, block: Block, encoding: str) -> UserError:
    for row, value in zip(block.rows, block.columns.column(name).to_pylist(), strict=True):
        text = (value or b"").decode(errors="replace")
        plain = text.replace(UNDECODABLE, "\N{REPLACEMENT CHARACTER}")
        if "\N{REPLACEMENT CHARACTER}" in plain:
            return UserError(
                f"{file}, row {np.int64(row)}, column {name!r}: {shown(plain)}, expected text in "
                f"{encoding}. Say --encoding as the file was written."
            )
    raise AssertionError("a value that cannot be decoded was there")
