"""The table to ingest, from a curated schema or, where there is none yet, from the features."""

from __future__ import annotations

import difflib
import re

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from custom_components.example_gen.settings import ColumnType, Table
from pipeline.config import absolute
from pipeline.errors import UserError
from pipeline.features_config import FeaturesConfig
from pipeline.files import filesystem

_TYPES = {
    schema_pb2.INT: ColumnType.INT,
    schema_pb2.FLOAT: ColumnType.FLOAT,
    schema_pb2.BYTES: ColumnType.STRING,
}


def load_table(
    schema_file: str | None, features: FeaturesConfig, *, split_time: str | None = None
) -> Table:
    """The table to ingest: as the schema in a file says, or without one as the features do.

    Raises:
        UserError: if the file cannot be read, or lacks a column that the configuration names.
    """
    if schema_file is None:
        return table_from_features(features, split_time=split_time)
    file = absolute(schema_file)
    filesystem.register()
    try:
        schema = io_utils.parse_pbtxt_file(file, schema_pb2.Schema())
    except (OSError, fileio.NotFoundError):
        raise UserError(f"{file}: no such file; data.schema_file names it.") from None
    except text_format.ParseError as error:
        raise UserError(f"{file}: not a schema in protobuf's text form: {error}") from None
    return table_from_schema(schema, features, split_time=split_time)


def table_from_schema(
    schema: schema_pb2.Schema, features: FeaturesConfig, *, split_time: str | None = None
) -> Table:
    """The table that `schema` describes: every one of its columns, typed as it says.

    Args:
        schema: a curated schema.
        features: the columns that the configuration names; the schema must have each.
        split_time: the column of data.split_time.

    Raises:
        UserError: if the schema lacks a column, has no type for one, or has text for a label that
            is a number to predict.
    """
    described = {feature.name: feature for feature in schema.feature}
    for name in features.columns:
        if name not in described:
            close = difflib.get_close_matches(name, described, n=1)
            raise UserError(
                f"The schema has no column {name!r}, which the configuration names"
                + (f"; did you mean {close[0]!r}? " if close else ". ")
                + f"It has: {', '.join(described)}. Correct the name, or add the column to the "
                "schema."
            )
    for name, feature in described.items():
        if feature.type not in _TYPES:
            raise UserError(
                f"The schema gives the column {name!r} no type that can be ingested: "
                "it must be INT, FLOAT or BYTES."
            )
    label = features.label
    if described[label].type == schema_pb2.BYTES and not features.class_names:
        raise UserError(
            f"The schema gives the label {label!r} the type BYTES, and features.problem is "
            "regression: it must be FLOAT or INT."
        )
    return Table(
        columns={name: _TYPES[feature.type] for name, feature in described.items()},
        label=label,
        classes=features.class_names,
        time_format=_time_format(features, split_time),
    )


def table_from_features(features: FeaturesConfig, *, split_time: str | None = None) -> Table:
    """The table for data without a schema: numbers are floats, categories and the rest strings.

    A label that is a number to predict is a float; one of classes is an integer if they are.
    """
    numbers = (*features.numeric, *features.log, *features.cyclical, *features.bucketized)
    columns = dict.fromkeys(features.columns, ColumnType.STRING)
    columns |= dict.fromkeys(numbers, ColumnType.FLOAT)
    columns |= {
        name: ColumnType.INT for name, date in features.dates.items() if date.format == "epoch"
    }
    columns[features.label] = _label_type(features.class_names)
    return Table(
        columns=columns,
        label=features.label,
        classes=features.class_names,
        time_format=_time_format(features, split_time),
    )


def _label_type(classes: tuple[str, ...]) -> ColumnType:
    if not classes:
        return ColumnType.FLOAT
    integers = all(re.fullmatch("-?[0-9]+", name) for name in classes)
    return ColumnType.INT if integers else ColumnType.STRING


def _time_format(features: FeaturesConfig, split_time: str | None) -> str:
    date = features.dates.get(split_time or "")
    return date.format if date else "iso"
