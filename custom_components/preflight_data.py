"""What the pre-flight check knows of the data, and how it speaks of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx.components.statistics_gen.stats_artifact_utils import load_statistics
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import ExampleStatistics, Schema

TRAIN, EVAL = "train", "eval"
TEXT = schema_pb2.BYTES
DECIMALS = schema_pb2.FLOAT


@dataclass(frozen=True)
class Data:
    """What is known of the data."""

    types: Mapping[str, schema_pb2.FeatureType]
    """Type of each column, from the schema."""
    rows: Mapping[str, int]
    """Rows of each split."""
    columns: Mapping[str, Mapping[str, statistics_pb2.FeatureNameStatistics]]
    """Statistics of each split's columns that have values."""

    def distinct(self, name: str) -> int:
        """How many values a column of text has in the train split; 0 of any other."""
        column = self.columns.get(TRAIN, {}).get(name)
        return int(column.string_stats.unique) if column else 0


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
                if common(column).num_non_missing
            }
            for split, found in splits.items()
        },
    )


def common(column: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    """The part of a column's statistics that all types have."""
    found: statistics_pb2.CommonStatistics = getattr(
        column, column.WhichOneof("stats")
    ).common_stats
    return found


def extent(column: statistics_pb2.FeatureNameStatistics) -> tuple[float, float]:
    """The smallest and the largest number of a column."""
    return column.num_stats.min, column.num_stats.max


def counts(column: statistics_pb2.FeatureNameStatistics) -> Counter[str]:
    """How often each value of a text column occurs; of more than 1,000 the commonest."""
    buckets = column.string_stats.rank_histogram.buckets
    return Counter({bucket.label: round(bucket.sample_count) for bucket in buckets})


def examples(data: Data, name: str) -> str:
    """Some of a text column's values, as in " ('EWR', 'JFK')"."""
    column = data.columns.get(TRAIN, {}).get(name)
    values = [value.value for value in column.string_stats.top_values[:3]] if column else []
    return f" ({', '.join(map(repr, values))})" if values else ""


def listed(names: Iterable[str]) -> str:
    """As in "'a', 'b' or 'c'"."""
    *rest, last = map(repr, names)
    return f"{', '.join(rest)} or {last}" if rest else last
