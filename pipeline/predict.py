"""Asks the live model for predictions on raw rows."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from custom_components.serving_folder import newest, newest_version
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.lazy import imports
from pipeline.quiet import errors_to

PROBABILITY = "probability"
_ROWS_AT_ONCE = 10_000
_NONE_YET = "{serving}: no model has been pushed there yet; run the pipeline first (make run)"

Row = Mapping[str, Any]


def predict_row(config: PipelineConfig, row: str, *, version: str | None = None) -> None:
    """Prints the probability that the label of `row`, a JSON object of raw columns, is 1.

    Raises:
      UserError: no model has been pushed, or the row is not what it takes.
    """
    try:
        values = json.loads(row)
    except json.JSONDecodeError as error:
        raise UserError(f"--row: not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError('--row: expected one JSON object, as in {"carrier": "UA", "distance": 719}')
    with _model(config, version) as folder:
        probability = _load(folder).predict([values])[0]
    print(f"{config.features.label}: {probability:.4f}  (model version {folder.name})")


def predict_file(
    config: PipelineConfig, file: Path, *, output: Path | None = None, version: str | None = None
) -> None:
    """Writes the rows of a CSV or Parquet file as CSV, with a column `probability` more.

    Args:
      config: the pipeline whose live model is asked.
      file: raw rows.
      output: where to write, whole or not at all; by default standard output.
      version: a version in the serving folder, in place of the newest.

    Raises:
      UserError: no model has been pushed, or the rows cannot be read or are not what it takes.
    """
    rows = _rows(file, config)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{file}: holds no rows")
    rows = itertools.chain([first], rows)
    with _model(config, version) as folder, _stream(output) as stream:
        bundle = _load(folder)
        writer = csv.writer(stream)
        writer.writerow([*first, PROBABILITY])
        while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            for row, probability in zip(batch, bundle.predict(batch), strict=True):
                writer.writerow([*row.values(), f"{probability:.6f}"])


def _load(folder: Path) -> Any:
    with imports(), errors_to(Path(os.devnull)):
        from models.bundle import Bundle

        return Bundle.load(folder)


@contextlib.contextmanager
def _model(config: PipelineConfig, version: str | None) -> Iterator[Path]:
    """The folder of a version in the serving folder, or a copy of it."""
    location = config.serving_directory
    if not storage.is_remote(location):
        yield _version(Path(location), version)
        return
    remote = newest(location) if version is None else f"{location}/{version}"
    if remote is None:
        raise UserError(_NONE_YET.format(serving=location))
    with storage.Copies() as copies:
        yield copies.of(remote)


def _version(serving: Path, version: str | None) -> Path:
    folder = newest_version(serving) if version is None else serving / version
    if folder is None:
        raise UserError(_NONE_YET.format(serving=serving))
    if not folder.is_dir():
        there = ", ".join(sorted(f.name for f in serving.glob("[0-9]*"))) or "none"
        raise UserError(f"{serving}: there is no version {version}; there is: {there}")
    return folder


def _rows(file: Path, config: PipelineConfig) -> Iterator[Row]:
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected a CSV or Parquet file of raw rows")
    if file.suffix == ".parquet":
        return _parquet_rows(file)
    return _csv_rows(file, config)


def _parquet_rows(file: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS_AT_ONCE):
            yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise UserError(f"{file}: not a Parquet file that can be read: {error}") from None


def _csv_rows(file: Path, config: PipelineConfig) -> Iterator[Row]:
    options = config.data.csv
    try:
        with file.open(encoding=options.encoding, newline="") as stream:
            lines = csv.reader(stream, delimiter=options.delimiter, quotechar=options.quote)
            header = next(lines, [])
            for values in lines:
                if len(values) != len(header):
                    raise UserError(
                        f"{file}: line {lines.line_num} has {len(values)} values; expected "
                        f"{len(header)}, as in the first line"
                    )
                missing = (None if v in options.null_values else v for v in values)
                yield dict(zip(header, missing, strict=True))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: not {options.encoding} ({error.reason}); set data.csv.encoding"
        ) from None


@contextlib.contextmanager
def _stream(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that is there only once it is whole."""
    if output is None:
        yield sys.stdout
        return
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        with unfinished.open("w", newline="") as stream:
            yield stream
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
