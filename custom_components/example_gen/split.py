"""Which rows train and which judge: decided by a hash, and by nothing that can change."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from custom_components.example_gen.settings import IngestSettings

SPLITS = ("train", "eval")


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
