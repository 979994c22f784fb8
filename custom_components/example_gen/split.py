"""Which rows train and which judge: decided by a hash or by time, by nothing that can change."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import tensorflow as tf

from custom_components.example_gen.settings import IngestSettings

SPLITS = ("train", "eval")

Float64 = npt.NDArray[np.float64]


def in_train(
    columns: pa.RecordBatch, examples: pa.BinaryArray, *, settings: IngestSettings
) -> npt.NDArray[np.bool_]:
    """Whether each row belongs to the train split.

    It depends on the value of the row's `split_by` column alone, or without one on the row's own
    values: not on the order of rows or files, nor on the machine. The hash is the one that TFX's
    ExampleGens take for `partition_feature_name`, so both split alike.

    Args:
        columns: the typed rows.
        examples: the same rows, serialized.
        settings: the split's column and weights.
    """
    if settings.split_by is None:
        return np.array([_trains(key, settings) for key in examples.to_pylist()], bool)
    groups = columns.column(settings.split_by).dictionary_encode()
    trains = [_trains(_key(group), settings) for group in groups.dictionary.to_pylist()]
    in_group: npt.NDArray[np.bool_] = np.array(trains, bool)[groups.indices.to_numpy()]
    return in_group


def moments(column: pa.Array, *, time_format: str) -> Float64:
    """When each row was, as numbers that grow with time; NaN where that cannot be told.

    Args:
        column: typed; a number, be it spelled as text, is its own order, other text a date.
        time_format: of dates: "iso" or as strptime has it; "epoch" where there are none.
    """
    distinct = column.dictionary_encode()
    indices = distinct.indices.fill_null(-1).to_numpy()
    known = _moments(distinct.dictionary, time_format)
    in_rows: Float64 = np.append(known, np.nan)[indices]
    return in_rows


def _moments(values: pa.Array, time_format: str) -> Float64:
    if not pa.types.is_binary(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    texts = pd.Series([value.decode() for value in values.to_pylist()], dtype=object)
    spelling = "ISO8601" if time_format in ("iso", "epoch") else time_format
    dates = pd.to_datetime(texts, format=spelling, errors="coerce", utc=True)
    seconds: Float64 = (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(np.float64)
    if time_format not in ("iso", "epoch"):
        return seconds
    # A number is its own order: a year, 20261130, seconds since 1970, the number of a week.
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    return np.where(np.isnan(numbers), seconds, numbers)


def first_judged(when: Float64, share: float) -> float:
    """The moment from which on rows judge, so that about `share` of them do.

    Rows of one moment stay together: of the cuts between two moments it is the one that comes
    nearest to the share, and both sides have rows where there are two moments at all.
    """
    moments_, counts = np.unique(when[np.isfinite(when)], return_counts=True)
    if len(moments_) < 2:
        return -np.inf
    judged = counts[::-1].cumsum()[::-1][1:]
    return float(moments_[1:][np.abs(judged - share * counts.sum()).argmin()])


def _trains(key: bytes, settings: IngestSettings) -> bool:
    buckets = settings.train_buckets + settings.eval_buckets
    return int(hashlib.sha256(key).hexdigest(), 16) % buckets < settings.train_buckets


def _key(group: int | bytes) -> bytes:
    feature = (
        tf.train.Feature(int64_list=tf.train.Int64List(value=[group]))
        if isinstance(group, int)
        else tf.train.Feature(bytes_list=tf.train.BytesList(value=[group]))
    )
    return feature.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
