"""The table to ingest, from a curated schema or, where there is none yet, from the features."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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


def load_table(schema_file: str | None, features: FeaturesConfig) -> Table:
    """The table to ingest: as the schema in a file says, or without one as the features do.

    Raises:
        UserError: if the file cannot be read, or lacks a column that the configuration names.
    """
    if schema_file is None:
        return table_from_features(features)
    file = absolute(schema_file)
    filesystem.register()
    try:
        schema = io_utils.parse_pbtxt_file(file, schema_pb2.Schema())
    except (OSError, fileio.NotFoundError):
        raise UserError(f"{file}: no such file; data.schema_file names it.") from None
    except text_format.ParseError as error:
        raise UserError(f"{file}: not a schema in protobuf's text form: {error}") from None
    return table_from_schema(schema, names=features.columns, label=features.label)


def table_from_schema(schema: schema_pb2.Schema, *, names: Iterable[str], label: str) -> Table:
    """The table that `schema` describes: every one of its columns, typed as it says.

    Args:
        schema: a curated schema.
        names: the columns that the configuration names; the schema must have each.
        label: the column to predict; its int_domain, if there is one, bounds it.

    Raises:
        UserError: if the schema lacks a column, has no type for one, or the label is no integer.
    """
    features = {feature.name: feature for feature in schema.feature}
    for name in (*names, label):
        if name not in features:
            close = difflib.get_close_matches(name, features, n=1)
            raise UserError(
                f"The schema has no column {name!r}, which the configuration names"
                + (f"; did you mean {close[0]!r}? " if close else ". ")
                + f"It has: {', '.join(features)}. Correct the name, or add the column to the "
                "schema."
            )
    for name, feature in features.items():
        if feature.type not in _TYPES:
            raise UserError(
                f"The schema gives the column {name!r} no type that can be ingested: "
                "it must be INT, FLOAT or BYTES."
            )
    if features[label].type != schema_pb2.INT:
        raise UserError(f"The schema must give the label {label!r} the type INT (0 or 1).")
    domain = features[label].int_domain
    bounded = domain.HasField("min") and domain.HasField("max")
    return Table(
        columns={name: _TYPES[feature.type] for name, feature in features.items()},
        label=label,
        label_range=(domain.min, domain.max) if bounded else (0, 1),
    )


def table_from_features(features: FeaturesConfig) -> Table:
    """The table for data without a schema: numbers are floats, categories and the rest strings."""
    numbers = (*features.numeric, *features.cyclical, *features.bucketized)
    columns = dict.fromkeys(numbers, ColumnType.FLOAT)
    columns |= dict.fromkeys((*features.categorical, *features.keep), ColumnType.STRING)
    return Table(columns=columns | {features.label: ColumnType.INT}, label=features.label)
