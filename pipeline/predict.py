"""Asks the live model for predictions: of one row, or of all rows of files."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from custom_components.serving_folder import newest, newest_version
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.files import storage
from pipeline.lazy import imports
from pipeline.quiet import errors_to

if TYPE_CHECKING:
    from models.bundle import Bundle, Predictions

_NONE_YET = "{serving}: no model has been pushed there yet; run the pipeline first (make run)"


def predict_row(config: PipelineConfig, row: str, *, version: str | None = None) -> None:
    """Prints what the live model says of `row`, a JSON object of raw columns.

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
        bundle = _load(folder)
        said = _in_words(bundle, bundle.predict([values]))
    print(f"{bundle.manifest.label}: {said}  (model version {folder.name})")


def predict_files(
    config: PipelineConfig,
    files: Sequence[str],
    *,
    output: str | None = None,
    version: str | None = None,
) -> None:
    """Writes the rows of files with what the live model says of each.

    Args:
      config: the pipeline whose live model is asked.
      files: of raw rows: each a file, a folder or a glob, of CSV or Parquet.
      output: a CSV or Parquet file to write, whole or not at all; by default CSV to standard
        output, as it comes.
      version: a version in the serving folder, in place of the newest.

    Raises:
      UserError: no model has been pushed, or the rows cannot be read or are not what it takes.
    """
    from custom_components.batch_predict import write

    is_parquet = output is not None and write.is_parquet(output)
    with _model(config, version) as folder:
        bundle = _load(folder)
        with imports():
            from custom_components.batch_predict.score import Scorer
        data = config.data
        scorer = Scorer(bundle, folder.name, data.csv, format=data.format, typed=is_parquet)
        scored = scorer.scored(files)
        if output is None:
            write.write_csv(scored, sys.stdout.buffer)
        else:
            rows = write.write(scored, output)
            print(f"{output}: {rows:,} rows, predicted by version {folder.name}", file=sys.stderr)


def _in_words(bundle: Bundle, predictions: Predictions) -> str:
    """What is said of the only row."""
    model = bundle.manifest
    if model.problem is Problem.MULTICLASS:
        of_each = sorted(zip(predictions[0], model.classes, strict=True), reverse=True)
        return f"{of_each[0][1]}, " + ", ".join(f"{name} {p:.4f}" for p, name in of_each)
    said = f"{predictions[0]:.4f}" if model.problem is Problem.BINARY else f"{predictions[0]:.6g}"
    return said if model.classes in ((), ("0", "1")) else f"{model.classes[1]} {said}"


def _load(folder: Path) -> Bundle:
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
