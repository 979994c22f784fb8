"""Columns to serialized tf.Examples, column by column and without a Python object per value.

A serialized protocol buffer is the concatenation of its fields, so a row's `Features` message is
the concatenation of one-feature messages: those are made once for each distinct value (or once for
a whole float column, where only four bytes differ) and joined by Arrow. Unlike a map of protocol
buffers, equal rows give equal bytes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

_FLOAT_BYTES = 4


def encode(columns: pa.RecordBatch) -> pa.BinaryArray:
    """A serialized tf.Example for each row of int64, float32 and binary columns.

    A null gives a feature without a value, as TFX's own ExampleGens do. The features are in the
    order of their names.
    """
    features = _joined(
        *(_feature(name, columns.column(name)) for name in sorted(columns.schema.names))
    )
    return _joined(_lengths(features), features)


def _feature(name: str, column: pa.Array) -> pa.Array:
    """The serialized `Features` that hold `name` alone, for each row."""
    missing = pa.scalar(_serialized(name, tf.train.Feature()), pa.binary())
    if pa.types.is_float32(column.type):
        values = column.fill_null(0.0).to_numpy().astype("<f4")
        start = _serialized(name, tf.train.Feature(float_list=tf.train.FloatList(value=[0.0])))
        start = start[:-_FLOAT_BYTES]
        entries = _joined(pa.scalar(start, pa.binary()), _fixed_size(values, _FLOAT_BYTES))
        return pc.if_else(column.is_valid(), entries, missing) if column.null_count else entries
    distinct = column.dictionary_encode()
    of = _int_feature if pa.types.is_integer(column.type) else _bytes_feature
    made = [_serialized(name, of(value)) for value in distinct.dictionary.to_pylist()]
    return pa.array(made, pa.binary()).take(distinct.indices).fill_null(missing)


def _serialized(name: str, feature: tf.train.Feature) -> bytes:
    return tf.train.Features(feature={name: feature}).SerializeToString()  # type: ignore[no-any-return]


def _int_feature(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _bytes_feature(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _lengths(features: pa.Array) -> pa.Array:
    """What stands before the `Features` in an Example: field 1 and their length as a varint."""
    lengths = pc.binary_length(features).dictionary_encode()
    starts = pa.array(map(_example_start, lengths.dictionary.to_pylist()), pa.binary())
    return starts.take(lengths.indices)


def _example_start(length: int) -> bytes:
    varint = bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    return b"\x0a" + bytes([*varint, length])


def _joined(*parts: pa.Array | pa.Scalar) -> pa.Array:
    return pc.binary_join_element_wise(*parts, b"")


def _fixed_size(values: np.ndarray, size: int) -> pa.Array:
    offsets = np.arange(0, size * (len(values) + 1), size, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)
