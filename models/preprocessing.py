"""From raw columns to model inputs, once, for every framework.

TFX Transform runs `preprocessing_fn` over the data to learn means, variances and vocabularies, and
saves it as a graph that every model carries along: what a served row goes through is what the
training rows went through. Edit it here. Each output is a tensor [batch]; one more float32 output
is one more number that every model learns from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_transform as tft

from models import features
from pipeline.features_config import FeaturesConfig

Column: TypeAlias = tf.Tensor | tf.SparseTensor
Tensors: TypeAlias = dict[str, tf.Tensor]

MOST_DEVIATIONS = 5.0
"""Scaled numbers are clipped to so many standard deviations: no outlier runs away with a model."""


def preprocessing_fn(inputs: Mapping[str, Column], custom_config: Mapping[str, Any]) -> Tensors:
    """Gives what models learn from; `models.features` says how each output is named and meant.

    Args:
        inputs: raw columns by name: dense where the schema says that each row has a value, else
            sparse.
        custom_config: "features", a FeaturesConfig as JSON; "split_by", the column by whose values
            rows are kept together, if there is one.
    """
    config = FeaturesConfig.model_validate_json(custom_config["features"])
    outputs = scale({column: inputs[column] for column in config.numeric})
    for column in config.categorical:
        outputs[features.index(column)] = index(inputs[column], features.vocabulary(column))
    for column, buckets in config.bucketized.items():
        outputs[features.index(column)] = bucket(numbers(inputs[column]), buckets)
    for column, period in config.cyclical.items():
        sine, cosine = circle(numbers(inputs[column]), period)
        outputs[features.sine(column)], outputs[features.cosine(column)] = sine, cosine
    for column in (*config.numeric, *config.cyclical):
        if isinstance(inputs[column], tf.SparseTensor):
            absent = tf.math.is_nan(numbers(inputs[column]))
            outputs[features.missing(column)] = tf.cast(absent, tf.float32)
    split_by = custom_config.get("split_by")
    group = [inputs[column] for column in ([split_by] if split_by else config.inputs)]
    outputs[features.FOLD] = fold(group)
    outputs[features.LABEL] = tf.cast(numbers(inputs[config.label]), tf.int64)
    return outputs


def scale(columns: Mapping[str, Column]) -> Tensors:
    """Numbers with mean 0 and variance 1; missing ones take the mean.

    All are scaled as one matrix, as each analyzer costs Transform's Beam pipeline time. It leaves
    NaN out of its means and variances.
    """
    if not columns:
        return {}
    matrix = tf.stack([numbers(column) for column in columns.values()], axis=1)
    matrix = zero_if_missing(tft.scale_to_z_score(matrix, elementwise=True))
    matrix = tf.clip_by_value(matrix, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    names = map(features.scaled, columns)
    return dict(zip(names, tf.unstack(matrix, num=len(columns), axis=1), strict=True))


def circle(values: tf.Tensor, period: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Sine and cosine, in which a value and one a period later are the same; missing ones are 0."""
    angle = tf.cast(values, tf.float32) * (2 * math.pi / period)
    return zero_if_missing(tf.sin(angle)), zero_if_missing(tf.cos(angle))


def index(column: Column, vocabulary: str) -> tf.Tensor:
    """A category's place in the vocabulary; 0 is for a missing one, the last for an unseen one."""
    values = strings(column)
    place = tft.compute_and_apply_vocabulary(values, num_oov_buckets=1, vocab_filename=vocabulary)
    return tf.where(values == "", tf.zeros_like(place), place + 1)


def bucket(values: tf.Tensor, buckets: int) -> tf.Tensor:
    """A number's bucket, from 1 on, of which each holds as many rows as the next; 0 if missing."""
    absent = tf.math.is_nan(values)
    boundaries = tft.quantiles(tf.boolean_mask(values, ~absent), buckets, epsilon=0.01)
    place = tft.apply_buckets(zero_if_missing(values), boundaries)
    return tf.where(absent, tf.zeros_like(place), place + 1)


def fold(group: list[Column]) -> tf.Tensor:
    """A stable hash of the group that a row belongs to."""
    key = tf.strings.join([features.FOLD, *map(strings, group)], separator="\x1f")
    return tf.strings.to_hash_bucket_fast(key, features.FOLDS)


def numbers(column: Column) -> tf.Tensor:
    """float32, NaN where missing."""
    return _dense(column, lambda values: tf.cast(values, tf.float32), math.nan)


def strings(column: Column) -> tf.Tensor:
    """Strings, empty where missing."""
    return _dense(column, lambda v: v if v.dtype == tf.string else tf.strings.as_string(v), "")


def zero_if_missing(values: tf.Tensor) -> tf.Tensor:
    """Numbers with 0 in place of NaN."""
    return tf.where(tf.math.is_nan(values), tf.zeros_like(values), values)


def _dense(
    column: Column, convert: Callable[[tf.Tensor], tf.Tensor], default: float | str
) -> tf.Tensor:
    """The one value of each row, converted, or `default` where there is none."""
    if isinstance(column, tf.SparseTensor):
        shape = [column.dense_shape[0], 1]
        column = tf.SparseTensor(column.indices, convert(column.values), shape)
        return tf.reshape(tf.sparse.to_dense(column, default), [-1])
    return tf.reshape(convert(column), [-1])
