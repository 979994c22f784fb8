"""Writes a SavedModel that takes raw columns: of a whole model, or of its preprocessing alone.

It has two signatures with the same outputs:

- `serving_default` takes "examples", serialized tf.Examples [rows];
- `serving_raw` takes each raw column by its name (`features.tensor`), a tensor [rows]. Its type
  says what the column holds: string (missing: ""), float32 (missing: NaN), int64 (a whole number
  that is never missing), float64 (a whole number, missing: NaN).

To load it takes TensorFlow and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from models.bundle import EXAMPLES, EXAMPLES_SIGNATURE, RAW_SIGNATURE
from models.features import tensor
from models.manifest import Type
from pipeline.features_config import FeaturesConfig

Tensors: TypeAlias = dict[str, tf.Tensor]
_Spec: TypeAlias = tf.io.FixedLenFeature | tf.io.VarLenFeature


def save(
    folder: str,
    outputs: Callable[[Tensors], Tensors],
    *,
    transform: tft.TFTransformOutput,
    config: FeaturesConfig,
    model: tf.Module | None = None,
) -> None:
    """Writes a SavedModel to `folder`.

    Args:
        folder: Where to; it need not exist.
        outputs: Gives the outputs by name, each with one value per row, for transformed columns
            [rows].
        transform: The graph that `preprocessing_fn` became.
        config: Says which raw columns a model takes.
        model: What holds the variables that `outputs` uses, if it uses any.
    """
    specs = _specs(transform, config)
    # TFT's own layer does what the loader does, and more that takes seconds to save.
    preprocess = SavedModelLoader(transform.transform_savedmodel_dir)
    served = tf.Module()
    served.model, served.preprocess = model, preprocess._imported

    def predict(columns: dict[str, Any]) -> Tensors:
        return outputs(preprocess.apply_transform_model(columns))

    # No attributes of what is saved, or they would be traced once more.
    @tf.function(autograph=False)
    def of_examples(examples: tf.Tensor) -> Tensors:
        tolerant = {name: _tolerant(spec) for name, spec in specs.items()}
        return predict(tf.io.parse_example(examples, tolerant))

    @tf.function(autograph=False)
    def of_columns(**columns: tf.Tensor) -> Tensors:
        return predict({name: _as_parsed(columns[tensor(name)], s) for name, s in specs.items()})

    raw = {tensor(name): tf.TensorSpec([None], _dtype(spec)) for name, spec in specs.items()}
    signatures = {
        EXAMPLES_SIGNATURE: of_examples.get_concrete_function(
            tf.TensorSpec([None], tf.string, EXAMPLES)
        ),
        RAW_SIGNATURE: of_columns.get_concrete_function(**raw),
    }
    tf.saved_model.save(served, folder, signatures)


def input_types(transform: tft.TFTransformOutput, config: FeaturesConfig) -> dict[str, Type]:
    """The type of each raw column that a model takes, as `serving_raw` has it."""
    specs = _specs(transform, config)
    return {name: cast(Type, _dtype(spec).name) for name, spec in specs.items()}


def _specs(transform: tft.TFTransformOutput, config: FeaturesConfig) -> dict[str, _Spec]:
    specs = transform.raw_feature_spec()
    return {column: specs[column] for column in config.inputs}


def _dtype(spec: _Spec) -> tf.DType:
    optional = isinstance(spec, tf.io.VarLenFeature)
    return tf.float64 if optional and spec.dtype == tf.int64 else spec.dtype


def _tolerant(spec: _Spec) -> _Spec:
    """A missing value of a column that should have none passes as NaN or "", if its type can."""
    if isinstance(spec, tf.io.VarLenFeature) or spec.dtype == tf.int64:
        return spec
    missing = "" if spec.dtype == tf.string else math.nan
    return tf.io.FixedLenFeature(spec.shape, spec.dtype, tf.fill(spec.shape, missing))


def _as_parsed(column: tf.Tensor, spec: _Spec) -> tf.Tensor | tf.SparseTensor:
    """A raw column [rows] as `tf.io.parse_example` would give it."""
    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.reshape(column, [-1, *spec.shape])
    here = column != "" if column.dtype == tf.string else ~tf.math.is_nan(column)
    rows = tf.where(here)
    values = tf.cast(tf.boolean_mask(column, here), spec.dtype)
    indices = tf.concat([rows, tf.zeros_like(rows)], axis=1)
    return tf.SparseTensor(indices, values, [tf.size(column, tf.int64), 1])
