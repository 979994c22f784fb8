"""Reads and writes the tables that lie beside a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError

T = TypeVar("T")


def read(path: str | Path, file: str, what: str, schema: pa.Schema | None = None) -> pa.Table:
    """Reads a table that the evaluator has written.

    Args:
        path: The evaluation's folder, or the file itself.
        file: Its name in the folder.
        what: What it holds, in words.
        schema: What it is to be like.

    Raises:
        UserError: If there is none, or it is something else.
    """
    found = Path(path) / file if Path(path).is_dir() else Path(path)
    try:
        table = pq.read_table(found)
        return table if schema is None else table.cast(schema)
    except FileNotFoundError:
        raise UserError(
            f"{found}: there is no such file; evaluations have it since the evaluator writes "
            f"{what}. Run the Evaluator again: local_runner.py --from Evaluator"
        ) from None
    except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
        raise UserError(f"{found}: no {what} of an evaluation: {error}") from None


def of_model(found: Mapping[str, T], model: str, lacking: str) -> T:
    """What a table holds of a model.

    Args:
        found: All of it, by model.
        model: The model's name.
        lacking: What is missing where it is not among them, as in "are no curves".

    Raises:
        UserError: If there is no such model.
    """
    if model not in found:
        raise UserError(
            f"there {lacking} of a model {model!r}; there are: {', '.join(found) or 'none'}"
        )
    return found[model]


def read_any(path: str) -> pa.Table:
    """Reads a table from any location that TFX can read."""
    from tfx.dsl.io import fileio

    with fileio.open(path, "rb") as file:
        return pq.read_table(pa.BufferReader(file.read()))


def write(table: pa.Table, path: str) -> None:
    """Writes a table to any location that TFX can write to."""
    from tfx.dsl.io import fileio

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    with fileio.open(path, "wb") as file:
        file.write(buffer.getvalue().to_pybytes())
