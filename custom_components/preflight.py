"""The pre-flight check: before anything is trained, does the configuration fit the data?"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx.components.statistics_gen.stats_artifact_utils import load_statistics
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import ExampleStatistics, Schema

from pipeline.errors import UserError
from pipeline.evaluate_config import EvaluateConfig
from pipeline.features_config import FeaturesConfig

_TRAIN, _EVAL = "train", "eval"
_FEW_EVAL_ROWS = 100
"""An eval split with fewer rows gets a warning: its metrics are mostly chance."""
_ROWS_PER_VALUE = 10
"""A categorical feature with fewer rows per value, on average, gets a warning."""
_MANY_SLICES = 500
"""A slice column with more values gets a warning: each becomes a row of every report."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d|(19|20)\d{6}$")

_TEXT = schema_pb2.BYTES
_DECIMALS = schema_pb2.FLOAT

# This module cannot say `from __future__ import annotations`: the decorator reads the annotations
# below as objects, not as text.


@component
def Preflight(
    statistics: InputArtifact[ExampleStatistics],
    schema: InputArtifact[Schema],
    features: Parameter[str],
    evaluate: Parameter[str],
    split_by: Parameter[str] = "",
) -> None:
    """Compares what the configuration asks for with the data that is there, and lists every misfit.

    This is a component in TFX's function style with no output: all that it can say is "go on", by
    returning, or "stop", by raising. Since nothing is handed on, the pipeline says what waits for
    it, `transform.add_upstream_node(preflight)`. Metadata knows the run of such a node as it
    knows any other, and takes it from the cache while its inputs and parameters are the same.

    A check like this pays because the mistakes are common and the price is not: a label that is
    text, a split with one class only, a slice by a column that is not there would all be noticed
    after Transform and Trainer have run for nothing.

    Args:
      statistics: the span's statistics, of the train and the eval split.
      schema: the columns and their types.
      features: JSON of the `FeaturesConfig`.
      evaluate: JSON of the `EvaluateConfig`.
      split_by: `data.split_by`, or "" where rows are split one by one.

    Raises:
      UserError: the configuration and the data do not fit; the message holds all that was found.
    """
    columns = FeaturesConfig.model_validate_json(features)
    wanted = EvaluateConfig.model_validate_json(evaluate)
    data = read_data(statistics, schema)
    for warning in warnings(data, columns, wanted, split_by=split_by):
        logging.getLogger(__name__).warning(warning)
    findings = list(misfits(data, columns, wanted))
    if findings:
        raise UserError(
            "the configuration and the data do not fit, so nothing was trained:\n"
            + "\n".join(f"  - {finding}" for finding in findings)
        )


@dataclass(frozen=True)
class Data:
    """What is known of the data."""

    types: Mapping[str, "schema_pb2.FeatureType"]
    """Type of each column, from the schema."""
    rows: Mapping[str, int]
    """Rows of each split."""
    columns: Mapping[str, Mapping[str, statistics_pb2.FeatureNameStatistics]]
    """Statistics of each split's columns that have values."""


def read_data(statistics: ExampleStatistics, schema: Schema) -> Data:
    """What the two artifacts say of the data."""
    (schema_file,) = Path(schema.uri).glob("*.pbtxt")
    declared = tfdv.load_schema_text(str(schema_file)).feature
    splits = {
        split: load_statistics(statistics, split).get_default_slice_or_die().proto()
        for split in artifact_utils.decode_split_names(statistics.split_names)
    }
    return Data(
        types={column.name: column.type for column in declared},
        rows={split: int(found.num_examples) for split, found in splits.items()},
        columns={
            split: {
                column.path.step[0]: column
                for column in found.features
                if _common(column).num_non_missing
            }
            for split, found in splits.items()
        },
    )


def misfits(data: Data, features: FeaturesConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    """Every reason why the pipeline would fail or mean nothing, in words."""
    empty = [split for split in (_TRAIN, _EVAL) if not data.rows.get(split)]
    for split in empty:
        yield (
            f"the {split} split has no rows: change data.train_buckets and data.eval_buckets, or "
            "data.split_by if it leaves too few groups"
        )
    roles = {features.label: "features.label"}
    for role in ("numeric", "categorical", "cyclical", "bucketized", "keep"):
        roles |= dict.fromkeys(getattr(features, role), f"features.{role}")
    for columns in evaluate.slices:
        roles = dict.fromkeys(columns, "evaluate.slices") | roles
    for name, role in roles.items():
        yield from _absent(data, role, name)
    yield from _wrong_kinds(data, features, evaluate)
    if features.label in data.types:
        yield from _unusable_label(data, features.label)


def _absent(data: Data, role: str, name: str) -> Iterator[str]:
    if name not in data.types:
        near = get_close_matches(name, data.types, n=3) or sorted(data.types)
        yield (
            f"{role}: the schema has no column {name!r}; did you mean {_listed(near)}? "
            "Correct the name, or add the column to the schema"
        )
    elif data.rows.get(_TRAIN) and name not in data.columns[_TRAIN] and role != "features.keep":
        yield (
            f"{role}: column {name!r} has no value in any of the train split's "
            f"{data.rows[_TRAIN]} rows; take it out, or look at why it is empty"
        )


def _wrong_kinds(data: Data, features: FeaturesConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    numbers = {"numeric": features.numeric, "bucketized": features.bucketized}
    for role, names in numbers.items():
        for name in names:
            if data.types.get(name) == _TEXT:
                yield (
                    f"features.{role}: column {name!r} holds text{_examples(data, name)}; list it "
                    "in categorical, or turn it into numbers"
                )
    for name in features.categorical:
        if data.types.get(name) == _DECIMALS:
            yield (
                f"features.categorical: column {name!r} holds decimal numbers, too many to be "
                "categories; list it in numeric, or ingest it as integers or text"
            )
    for name, period in features.cyclical.items():
        if data.types.get(name) == _TEXT:
            yield (
                f"features.cyclical: column {name!r} holds text{_examples(data, name)}; a number "
                "is expected that wraps around"
            )
        elif name in data.columns.get(_TRAIN, {}):
            low, high = _range(data.columns[_TRAIN][name])
            if high - low > period:
                yield (
                    f"features.cyclical: column {name!r} goes from {low:g} to {high:g}, farther "
                    f"than its period {period:g}; give the period in the column's unit"
                )
    for name in dict.fromkeys(column for columns in evaluate.slices for column in columns):
        if data.types.get(name) == _DECIMALS:
            yield (
                f"evaluate.slices: column {name!r} holds decimal numbers, so nearly every row "
                "would be a slice of its own; slice by a column of text or integers"
            )


def _unusable_label(data: Data, label: str) -> Iterator[str]:
    if data.types[label] == _TEXT:
        yield (
            f"features.label: column {label!r} holds text{_examples(data, label)}; expected the "
            "numbers 0 and 1"
        )
        return
    for split in (_TRAIN, _EVAL):
        if label not in data.columns.get(split, {}):
            continue
        column = data.columns[split][label]
        where = f"features.label: in the {split} split column {label!r}"
        missing = data.rows[split] - int(_common(column).num_non_missing)
        if missing:
            yield f"{where} has no value in {missing} of {data.rows[split]} rows; drop such rows"
        low, high = _range(column)
        if not _is_zero_or_one(column.num_stats):
            yield f"{where} holds other numbers than 0 and 1, from {low:g} to {high:g}"
        elif low == high:
            yield (
                f"{where} is {low:g} in every row: one class alone teaches nothing and judges "
                "nothing; use more data, or another data.split_by"
            )


def _is_zero_or_one(numbers: statistics_pb2.NumericStatistics) -> bool:
    """Whether there is nothing between 0 and 1: only then is the variance mean * (1 - mean)."""
    variance = numbers.mean * (1 - numbers.mean)
    inside = numbers.min >= 0 and numbers.max <= 1
    return bool(inside and abs(numbers.std_dev**2 - variance) < 1e-7)


def warnings(
    data: Data, features: FeaturesConfig, evaluate: EvaluateConfig, *, split_by: str
) -> Iterator[str]:
    """What is allowed and may still not be meant, in words."""
    if 0 < data.rows.get(_EVAL, 0) < _FEW_EVAL_ROWS:
        yield f"the eval split has {data.rows[_EVAL]} rows: metrics on so few are mostly chance"
    columns = data.columns.get(_TRAIN, {})
    for name in features.categorical:
        values = _distinct(columns, name)
        if values * _ROWS_PER_VALUE > data.rows.get(_TRAIN, 0):
            yield (
                f"features.categorical: column {name!r} has {values} values in "
                f"{data.rows[_TRAIN]} rows, too few rows for a model to learn from each"
            )
    for name in features.numeric:
        if name in columns and data.types.get(name) != _TEXT:
            low, high = _range(columns[name])
            if low == high:
                yield f"features.numeric: column {name!r} is {low:g} in every row"
    for name in dict.fromkeys(column for slicing in evaluate.slices for column in slicing):
        if _distinct(columns, name) > _MANY_SLICES:
            yield (
                f"evaluate.slices: column {name!r} has {_distinct(columns, name)} values, each "
                "of which becomes a slice"
            )
    if not split_by:
        for name in _dates(columns, features.columns):
            yield (
                f"column {name!r} holds dates, and rows of one date fall in both splits: they "
                "share more than a model will know of the future, which flatters it; set "
                f'data.split_by = "{name}"'
            )


def _dates(
    columns: Mapping[str, statistics_pb2.FeatureNameStatistics], names: Iterable[str]
) -> Iterator[str]:
    for name in names:
        common = columns[name].string_stats.top_values if name in columns else ()
        if common and all(_DATE.match(value.value) for value in common):
            yield name


def _common(column: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    return getattr(column, column.WhichOneof("stats")).common_stats


def _range(column: statistics_pb2.FeatureNameStatistics) -> tuple[float, float]:
    return column.num_stats.min, column.num_stats.max


def _distinct(columns: Mapping[str, statistics_pb2.FeatureNameStatistics], name: str) -> int:
    return int(columns[name].string_stats.unique) if name in columns else 0


def _examples(data: Data, name: str) -> str:
    """Some of a text column's values, as in " ('EWR', 'JFK')"."""
    column = data.columns.get(_TRAIN, {}).get(name)
    values = [value.value for value in column.string_stats.top_values[:3]] if column else []
    return f" ({', '.join(map(repr, values))})" if values else ""


def _listed(names: Iterable[str]) -> str:
    *rest, last = map(repr, names)
    return f"{', '.join(rest)} or {last}" if rest else last
