"""The executor of TabularExampleGen: one pass over the files, in bounded memory.

A split by time takes a pass over the column of times first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from custom_components.example_gen.encode import encode
from custom_components.example_gen.settings import SETTINGS_KEY, TABLE_KEY, IngestSettings, Table
from custom_components.example_gen.split import SPLITS, first_judged, in_train, moments
from custom_components.example_gen.values import Typing, typed
from custom_components.example_gen.write import open_splits, write_bad_rows
from pipeline import progress
from pipeline.data_config import OnBadRow
from pipeline.errors import UserError
from pipeline.sources.read import read
from pipeline.sources.rows import BadRow, Block

_SHOWN_BAD_ROWS = 3


class Executor(base_executor.BaseExecutor):
    """Reads a span's files, checks and types their rows, splits them, writes them as Examples."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills the Examples artifact.

        Args:
            input_dict: empty; an ExampleGen's input is outside of the pipeline.
            output_dict: `examples`, one artifact, whose span the driver has set.
            exec_properties: `input_base` and `input_config`, which the driver has resolved to one
                span; `settings` and `table`, as JSON.

        Raises:
            UserError: if the files, or more rows than allowed, do not fit.
        """
        settings = IngestSettings.model_validate_json(exec_properties[SETTINGS_KEY])
        table = Table.model_validate_json(exec_properties[TABLE_KEY])
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        # The driver sets a custom property; StatisticsGen hands on the property of that name.
        artifact.span = artifact.get_int_custom_property("span")
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        folders = {split: artifact_utils.get_split_uri([artifact], split) for split in SPLITS}

        files = _files(exec_properties)
        cut = _first_judged(files, settings, table) if settings.split_time else None
        bad: list[BadRow] = []
        with open_splits(folders) as writers:
            for block in _blocks(files, settings, table):
                bad += block.bad
                examples = encode(block.columns)
                if cut is None:
                    train = in_train(block.columns, examples, settings=settings)
                else:
                    train = _when(block.columns, settings, table) < cut
                writers["train"].write(examples.filter(pa.array(train)).to_pylist())
                writers["eval"].write(examples.filter(pa.array(~train)).to_pylist())
                progress.report(sum(w.rows for w in writers.values()), None, "rows")

        rows = {split: writer.rows for split, writer in writers.items()}
        _check_bad_rows(bad, sum(rows.values()), settings)
        _check_splits(rows, settings)
        if bad:
            file = write_bad_rows(artifact.uri, bad)
            logging.warning("%d rows that do not fit were left out; see %s", len(bad), file)
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")
        for split, count in rows.items():
            artifact.set_int_custom_property(f"rows_{split}", count)
        artifact.set_int_custom_property("rows_dropped", len(bad))


def _blocks(files: Sequence[str], settings: IngestSettings, table: Table) -> Iterator[Block]:
    """The typed blocks of the span's files; the first bad row ends them unless they are dropped."""
    typing = Typing(table, settings)
    for file in files:
        for raw in read(file, list(table.columns), format=settings.format, csv=settings.csv):
            block = typing.apply(file, raw)
            if block.bad and settings.on_bad_row is OnBadRow.FAIL:
                raise UserError(
                    f"{block.bad[0]}. Mend the row, or set data.on_bad_row to drop: such rows are "
                    "then left out, counted and kept aside."
                )
            yield block


def _first_judged(files: Sequence[str], settings: IngestSettings, table: Table) -> float:
    """The moment from which on the span's rows judge."""
    column = settings.split_time
    assert column is not None
    parts = []
    for file in files:
        for block in read(file, [column], format=settings.format, csv=settings.csv):
            values, _ = typed(block.columns.column(column), table.columns[column], settings.csv)
            parts.append(moments(values, time_format=table.time_format))
    return first_judged(np.concatenate(parts), settings.eval_share)


def _when(columns: pa.RecordBatch, settings: IngestSettings, table: Table) -> np.ndarray:
    return moments(columns.column(settings.split_time), time_format=table.time_format)


def _files(exec_properties: dict[str, Any]) -> list[str]:
    """The files of the span, by name. Names that start with . or _ are markers, not data."""
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config)
    pattern = os.path.join(  # noqa: PTH118 (it may be a URL)
        exec_properties[standard_component_specs.INPUT_BASE_KEY], config.splits[0].pattern
    )
    files = [
        file
        for file in sorted(fileio.glob(pattern))
        if not PurePosixPath(file).name.startswith((".", "_")) and not fileio.isdir(file)
    ]
    if not files:
        raise UserError(f"No data file matches {pattern}. Check data.path and data.pattern.")
    return files


def _check_bad_rows(bad: list[BadRow], kept: int, settings: IngestSettings) -> None:
    share = len(bad) / max(1, len(bad) + kept)
    if share > settings.max_bad_fraction:
        first = "\n".join(f"- {row}" for row in bad[:_SHOWN_BAD_ROWS])
        raise UserError(
            f"{len(bad)} of {len(bad) + kept} rows ({share:.2%}) do not fit, and "
            f"data.max_bad_fraction allows {settings.max_bad_fraction:.2%}. The first:\n{first}\n"
            "Mend the rows, or allow more."
        )


def _check_splits(rows: dict[str, int], settings: IngestSettings) -> None:
    column = settings.split_by or settings.split_time
    for split, count in rows.items():
        if not count:
            of = f"values of {column!r}" if column else "rows"
            key = "split_by" if settings.split_by else "split_time"
            raise UserError(
                f"No row of {sum(rows.values())} fell in the {split} split. The span holds too "
                f"few {of} to split: ingest more, "
                + (f"choose another data.{key}, " if column else "")
                + f"or raise data.{split}_buckets."
            )
