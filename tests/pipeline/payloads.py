"""Small files such as nodes write, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from google.protobuf.message import Message
from tensorflow_metadata.proto.v0 import statistics_pb2

FLOAT = statistics_pb2.FeatureNameStatistics.FLOAT
STRING = statistics_pb2.FeatureNameStatistics.STRING


def statistics(
    rows: int = 100,
    *,
    numbers: Mapping[str, tuple[float, float]] | None = None,
    texts: Mapping[str, Mapping[str, int]] | None = None,
    missing: Mapping[str, int] | None = None,
    not_a_number: int = 0,
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Statistics as TFDV writes them: numbers by mean and standard deviation, texts by counts."""
    found = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = found.datasets.add(num_examples=rows)
    lacks = missing or {}
    for name, (mean, std) in (numbers or {}).items():
        column = dataset.features.add(type=FLOAT)
        column.path.step.append(name)
        told = column.num_stats
        told.mean, told.std_dev, told.median, told.num_zeros = mean, std, mean, 5
        told.min, told.max = mean - std, mean + std
        told.histograms.add(num_nan=not_a_number)
        _count(told.common_stats, rows, lacks.get(name, 0))
    for name, counts in (texts or {}).items():
        column = dataset.features.add(type=STRING)
        column.path.step.append(name)
        column.string_stats.unique = len(counts)
        for value, count in sorted(counts.items(), key=lambda item: -item[1]):
            column.string_stats.rank_histogram.buckets.add(label=value, sample_count=count)
        _count(column.string_stats.common_stats, rows, lacks.get(name, 0))
    return found


def _count(common: statistics_pb2.CommonStatistics, rows: int, missing: int) -> None:
    common.num_missing, common.num_non_missing = missing, rows - missing
    common.tot_num_values = rows - missing


def write(file: Path, content: Message | str | bytes) -> Path:
    """Writes a file, and the folders that it lies in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Message):
        content = content.SerializeToString()
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file
