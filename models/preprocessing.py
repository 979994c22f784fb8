"""From raw columns to model inputs, once, for every framework.

TFX Transform runs `preprocessing_fn` over the data to learn means, variances and vocabularies, and
saves it as a graph that every model carries along: what a served row goes through is what the
training rows went through. Edit it here. Each output is a tensor [rows]; one more float32 output,
[rows] or [rows, n], is one more number, or n, that every model learns from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_transform as tft

from models import dates, features, target_encoding, text
from pipeline.features_config import DateConfig, FeaturesConfig, Problem

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
    split_by = custom_config.get("split_by")
    scaled = {features.scaled(column): numbers(inputs[column]) for column in config.numeric}
    scaled |= {features.logged(column): log(numbers(inputs[column])) for column in config.log}
    outputs: Tensors = {}
    for column, settings in config.dates.items():
        date_numbers, date_outputs = date(column, strings(inputs[column]), settings)
        scaled |= date_numbers
        outputs |= date_outputs
    outputs |= scale(scaled)
    for column in config.categorical:
        outputs[features.index(column)] = index(inputs[column], features.vocabulary(column))
    for column, buckets in config.bucketized.items():
        outputs[features.index(column)] = bucket(numbers(inputs[column]), buckets)
    for column, places in config.hashed.items():
        outputs[features.index(column)] = hashed(strings(inputs[column]), places)
    for column, period in config.cyclical.items():
        outputs |= circle(column, numbers(inputs[column]), period)
    for column, of_text in config.text.items():
        outputs[features.words(column)] = steady(
            text.vectors(column, strings(inputs[column]), of_text)
        )
    for column in (*config.numeric, *config.log, *config.cyclical):
        if isinstance(inputs[column], tf.SparseTensor):
            absent = tf.math.is_nan(numbers(inputs[column]))
            outputs[features.missing(column)] = tf.cast(absent, tf.float32)
    group = [inputs[column] for column in ([split_by] if split_by else config.inputs)]
    outputs[features.FOLD] = fold(group, features.FOLDS)
    outputs[features.LABEL] = label(inputs[config.label], config)
    # A served row has its inputs and no other column, so its part can be of these alone.
    row = group if split_by in config.inputs else [inputs[column] for column in config.inputs]
    for column in config.target_encoded:
        outputs[features.target(column)] = target_encoding.encode(
            strings(inputs[column]),
            fold=fold(row, target_encoding.FOLDS),
            labels=outputs[features.LABEL],
            classes=len(config.class_names),
        )
    return outputs


def scale(columns: Mapping[str, tf.Tensor]) -> Tensors:
    """Numbers with mean 0 and variance 1; missing ones take the mean.

    All are scaled as one matrix, as each analyzer costs Transform's Beam pipeline time. It leaves
    NaN out of its means and variances.
    """
    if not columns:
        return {}
    matrix = tf.stack(list(columns.values()), axis=1)
    matrix = zero_if_missing(tft.scale_to_z_score(matrix, elementwise=True))
    matrix = tf.clip_by_value(matrix, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    return dict(zip(columns, tf.unstack(matrix, num=len(columns), axis=1), strict=True))


def log(values: tf.Tensor) -> tf.Tensor:
    """The logarithm of 1 and more, with the sign: NaN stays NaN."""
    return tf.sign(values) * tf.math.log1p(tf.abs(values))


def date(column: str, values: tf.Tensor, config: DateConfig) -> tuple[Tensors, Tensors]:
    """What of a date is to be scaled, NaN where it is missing, and its other outputs."""
    found = dates.parse(values, config.format)
    places = {
        "month": (found.month - 1, 12),
        "day": (found.day - 1, 31),
        "weekday": (found.weekday, 7),
        "hour": (found.seconds // 3600, 24),
        "minute": (found.seconds // 60 % 60, 60),
    }

    def known(field: tf.Tensor) -> tf.Tensor:
        return tf.where(found.is_there, tf.cast(field, tf.float32), math.nan)

    outputs = {features.missing(column): 1 - tf.cast(found.is_there, tf.float32)}
    for part in config.parts:
        if part != "year":
            place, period = places[part]
            outputs |= circle(features.part(column, part), known(place), period)
    scaled = {}
    if "year" in config.parts:
        scaled[features.part(column, "year")] = known(found.year - 2020)
    if config.age:
        # Until when does not matter to what is scaled: days before any date are days before the
        # newest one, which no analyzer has to find then. A near one leaves float32 its digits.
        days = tf.cast(dates.DAYS_TO_2020 - found.days, tf.float32)
        scaled[features.part(column, "age")] = known(
            days - tf.cast(found.seconds, tf.float32) / dates.DAY
        )
    return scaled, outputs


def steady(values: tf.Tensor) -> tf.Tensor:
    """Values of computations, without what only their last bits tell apart.

    The sines of two and of ten o'clock are the same but for rounding. Trees cut between such values
    where that helps, and a server may round otherwise.
    """
    return tf.round(values * 1e4) / 1e4


def circle(name: str, values: tf.Tensor, period: float) -> Tensors:
    """Sine and cosine, in which a value and one a period later are the same; missing ones are 0."""
    angle = tf.cast(values, tf.float32) * (2 * math.pi / period)
    return {
        features.sine(name): zero_if_missing(steady(tf.sin(angle))),
        features.cosine(name): zero_if_missing(steady(tf.cos(angle))),
    }


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


def hashed(values: tf.Tensor, places: int) -> tf.Tensor:
    """The place, from 1 on, that a value's hash gives it; 0 if missing."""
    place = tf.strings.to_hash_bucket_fast(values, places)
    return tf.where(values == "", tf.zeros_like(place), place + 1)


def fold(group: list[Column], folds: int) -> tf.Tensor:
    """A stable hash of the group that a row belongs to, from 0 to `folds` - 1."""
    key = tf.strings.join([features.FOLD, *map(strings, group)], separator="\x1f")
    return tf.strings.to_hash_bucket_fast(key, folds)


def label(column: Column, config: FeaturesConfig) -> tf.Tensor:
    """The value, float32, or the number of its class, int64: -1 where it is of none."""
    if config.problem is Problem.REGRESSION:
        return numbers(column)
    if not config.classes and column.dtype != tf.string:
        return tf.cast(numbers(column), tf.int64)
    is_it = _dense(column, _as_spelled, "")[:, None] == tf.constant(config.class_names)
    return tf.where(tf.reduce_any(is_it, axis=1), tf.argmax(is_it, axis=1), -1)


def numbers(column: Column) -> tf.Tensor:
    """float32, NaN where missing."""
    return _dense(column, lambda values: tf.cast(values, tf.float32), math.nan)


def strings(column: Column) -> tf.Tensor:
    """Strings, empty where missing."""
    return _dense(column, lambda v: v if v.dtype == tf.string else tf.strings.as_string(v), "")


def _as_spelled(values: tf.Tensor) -> tf.Tensor:
    """Text; 1 and 1.0 are both "1"."""
    if values.dtype == tf.string:
        return values
    if values.dtype.is_integer:
        return tf.strings.as_string(values)
    whole = tf.strings.as_string(tf.cast(values, tf.int64))
    is_whole = values == tf.round(values)
    return tf.where(is_whole, whole, tf.strings.as_string(values, shortest=True))


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
