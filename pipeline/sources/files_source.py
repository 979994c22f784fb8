"""Rows in files of one kind: CSV or Parquet, one file or several with the same columns."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipeline.data_config import CsvOptions, FileFormat
from pipeline.errors import UserError
from pipeline.sources import dialect, encoding, numbers
from pipeline.sources.csv_file import Utf8, check, header_of, read_csv
from pipeline.sources.files import damage_in_words, open_binary
from pipeline.sources.kinds import Kinds, typed
from pipeline.sources.parquet_file import read_parquet
from pipeline.sources.places import Place
from pipeline.sources.plain import decoded, is_text
from pipeline.sources.source import DataSettings, ReadOptions, Source

_BEGIN = 1 << 20


class CsvFiles(Source):
    """Rows in files of CSV."""

    def __init__(self, place: Place, options: ReadOptions) -> None:
        """Looks at all rows of the files of `place`, for what `options` leaves open.

        Raises:
          UserError: they are not CSV, or not with the same columns, or a row does not fit.
        """
        self.files = place.files
        self._csv, notes = _options(place.files, options)
        names = header_of(place.files[0], self._csv)
        columns = [name for name in names if name.strip()]
        if len(columns) < len(names):
            count = len(names) - len(columns)
            notes.append(f"Columns without a name are left out: {count} of {len(names)}.")
        for file in place.files[1:]:
            _check_same(file, header_of(file, self._csv), place.files[0], names)
        kinds = Kinds(self._csv)
        self.rows = 0
        for file in place.files:
            for block in read_csv(file, columns, options=self._csv):
                if block.bad:
                    raise UserError(
                        f"{block.bad[0]}. Mend the row: quote values that hold the delimiter, and "
                        "close every quote."
                    )
                kinds.look(file, block)
                self.rows += len(block.rows)
        _check_rows(place.files, self.rows)
        self.schema = pa.schema([(name, kinds.of[name]) for name in columns])
        self.notes = (*place.notes, *notes, *kinds.notes)
        self.location = DataSettings(
            path=place.path, pattern=place.pattern, format=FileFormat.CSV, csv=_kept(self._csv)
        )

    def describe(self) -> str:
        """The file, or the folder, and the dialect."""
        mark = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
        delimiter = self._csv.delimiter or ","
        by = mark.get(delimiter, repr(delimiter))
        return f"{_named(self.files)}: CSV with {by}, {self._csv.encoding}"

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, file by file."""
        schema = _of(self.schema, columns)
        for file in self.files:
            for block in read_csv(file, schema.names, options=self._csv):
                with damage_in_words(file):
                    yield typed(block.columns, schema, self._csv)


class ParquetFiles(Source):
    """Rows in files of Parquet."""

    def __init__(self, place: Place, *, said: str | None = None) -> None:
        """Reads the footers of the files of `place`, which messages call `said`, if anything.

        Raises:
          UserError: they are no Parquet, or not with the same columns, or of a type that is none of
            a table.
        """
        self.files = place.files
        self.rows = 0
        schemas = []
        for file in place.files:
            with damage_in_words(file), open_binary(file) as stream:
                parquet = pq.ParquetFile(stream)
                schemas.append(_plain_schema(said or file, parquet.schema_arrow))
                self.rows += parquet.metadata.num_rows
            _check_same(file, schemas[-1].names, place.files[0], schemas[0].names)
        _check_rows(place.files, self.rows)
        self.schema = _common(place.files, schemas)
        self.notes = place.notes
        self.location = DataSettings(
            path=place.path, pattern=place.pattern, format=FileFormat.PARQUET
        )

    def describe(self) -> str:
        """The file, or the folder."""
        return f"{_named(self.files)}: Parquet"

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, file by file."""
        schema = _of(self.schema, columns)
        for file in self.files:
            for block in read_parquet(file, schema.names):
                with damage_in_words(file):
                    arrays = [_as(block.columns.column(one.name), one.type) for one in schema]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _options(files: Sequence[str], options: ReadOptions) -> tuple[CsvOptions, list[str]]:
    """How the files are written: as the user says, else as the first one looks."""
    csv_options = _said(options)
    notes: list[str] = []
    if options.encoding is None:
        name, note = _encoding(files)
        csv_options = csv_options.model_copy(update={"encoding": name})
        notes += [note] if note else []
    with damage_in_words(files[0]), Utf8(files[0], csv_options) as stream:
        begin = io.BufferedReader(stream, _BEGIN).read(_BEGIN)
    text = begin.decode("utf-8", "ignore").removeprefix("\ufeff")
    found = dialect.find(
        files[0],
        text,
        delimiter=options.delimiter,
        quote=options.quote,
        complete=len(begin) < _BEGIN,
    )
    csv_options = csv_options.model_copy(
        update={"delimiter": found.delimiter, "quote": found.quote}
    )
    notes += found.notes
    if options.decimal is None and options.thousands is None:
        missing = {*csv_options.null_values, ""}
        style = numbers.find(found.rows[0], found.rows[1:], missing)
        csv_options = csv_options.model_copy(
            update={"decimal": style.decimal, "thousands": style.thousands}
        )
        notes += style.notes
    return csv_options, notes


def _said(options: ReadOptions) -> CsvOptions:
    """What the user says of the files.

    Raises:
      UserError: it cannot be so.
    """
    said = {key: value for key, value in vars(options).items() if value is not None}
    try:
        csv_options = CsvOptions.model_validate(
            {key: said[key] for key in CsvOptions.model_fields if key in said}
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = f"--{first['loc'][0]}: " if first["loc"] else ""
        raise UserError(f"{place}{first['msg'].removeprefix('Value error, ')}.") from None
    check(csv_options)
    return csv_options


def _encoding(files: Sequence[str]) -> tuple[str, str | None]:
    """The encoding that all files have; what is ASCII has any."""
    found = {file: encoding.find(file) for file in files}
    others = {file: one for file, one in found.items() if one.name != "ascii"}
    names = {one.name for one in others.values()}
    if len(names) > 1:
        first, *rest = others
        other = next(file for file in rest if others[file].name != others[first].name)
        raise UserError(
            f"{first} is {others[first].name}, and {other} is {others[other].name}. Expected files "
            "of one encoding: save them in the same one."
        )
    for one in others.values():
        return one.name, one.note
    return "utf-8", None


def _kept(options: CsvOptions) -> CsvOptions:
    """What the configuration has to say: a comma goes without saying."""
    return options.model_copy(update={"delimiter": None}) if options.delimiter == "," else options


def _check_same(file: str, names: Sequence[str], first: str, expected: Sequence[str]) -> None:
    for name in expected:
        if name not in names:
            raise UserError(
                f"{file} has no column {name!r}, which {first} has. Expected files with the same "
                "columns: name fewer files, or make them alike."
            )
    for name in names:
        if name not in expected:
            raise UserError(
                f"{file} has a column {name!r}, which {first} has not. Expected files with the "
                "same columns: name fewer files, or make them alike."
            )


def _check_rows(files: Sequence[str], rows: int) -> None:
    if not rows:
        one = f"{files[0]} has" if len(files) == 1 else f"{files[0]} and the other files have"
        raise UserError(f"{one} a header and no rows. Expected rows below it.")


def _plain_schema(file: str, schema: pa.Schema) -> pa.Schema:
    """The types that the columns have for a `Source`."""
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    for name in sorted(twice):
        raise UserError(
            f"{file} has the column {name!r} {schema.names.count(name)} times, expected once. "
            "Rename or remove the others."
        )
    return pa.schema([(one.name, _plain_type(file, one)) for one in schema])


def _plain_type(file: str, column: pa.Field) -> pa.DataType:
    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind) and kind != pa.uint64():
        return pa.int64()
    if types.is_floating(kind) or types.is_decimal(kind):
        return pa.float64()
    if types.is_timestamp(kind):
        return pa.timestamp("us")
    if types.is_date(kind):
        return pa.date32()
    if types.is_boolean(kind) or types.is_null(kind):
        return kind
    if is_text(kind) or types.is_time(kind) or kind == pa.uint64():
        return pa.string()
    raise UserError(
        f"{file}, column {column.name!r}: its type is {column.type}, expected a number, text, a "
        "boolean or a date in each row. Leave the column out, or write its parts as columns."
    )


def _common(files: Sequence[str], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The types that fit all files; a column of nulls fits any, and integers fit floats."""
    made = []
    for name in schemas[0].names:
        kinds = [schema.field(name).type for schema in schemas]
        known = [kind for kind in kinds if not pa.types.is_null(kind)]
        kind = known[0] if known else pa.null()
        for file, other in zip(files, kinds, strict=True):
            if other in (kind, pa.null()):
                continue
            if {kind, other} != {pa.int64(), pa.float64()}:
                raise UserError(
                    f"{file}, column {name!r}: its type is {other}, and in {files[0]} it is "
                    f"{kind}. Expected files with the same columns: write them with one type."
                )
            kind = pa.float64()
        made.append((name, kind))
    return pa.schema(made)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    column = decoded(column)
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    return column.cast(kind, safe=not pa.types.is_timestamp(kind))


def _of(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])


def _named(files: Sequence[str]) -> str:
    if len(files) == 1:
        return PurePosixPath(files[0]).name
    alike = os.path.commonprefix(list(files))  # noqa: RUF071 (cut at its last slash)
    return f"{len(files)} files in {alike.rpartition('/')[0]}"
