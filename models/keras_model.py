"""The Keras model: embeddings and scaled numbers into a small network, trained and exported.

Days share their weather, so there are far fewer independent days than rows, and a network soon
learns the days it has seen. Against that: much dropout, and a number of epochs chosen on held-out
days. The model is then trained on all rows for that many epochs (early stopping with retraining:
Goodfellow, Bengio, Courville, Deep Learning, 2016, algorithm 7.2), as a day held out is a day less
to learn from. What is trained then is a few networks whose probabilities are averaged: they err on
different days (deep ensembles: Lakshminarayanan, Pritzel, Blundell, NeurIPS 2017).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray
from tfx.components.trainer.fn_args_utils import FnArgs

from models.dataset import Rows, matrices, read
from models.export import save
from models.features import ModelInputs
from pipeline import progress
from pipeline.config import FeaturesConfig, KerasConfig, TrainConfig

HISTORY_FILE = "history.json"
"""In the folder of the ModelRun artifact: the metrics of each epoch."""

_STEPS_PER_EXECUTION = 64
_ROWS_AT_ONCE = 8192


def run_fn(fn_args: FnArgs) -> None:
    """Trains the model and exports it; TFX's Trainer calls this.

    `fn_args.custom_config` holds "features", a FeaturesConfig, and "train", a TrainConfig, as JSON,
    and "memory_budget" in GiB.
    """
    config = FeaturesConfig.model_validate_json(fn_args.custom_config["features"])
    settings = TrainConfig.model_validate_json(fn_args.custom_config["train"])
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    inputs = ModelInputs.of(
        config, transform.transformed_feature_spec(), transform.vocabulary_size_by_name
    )
    budget = fn_args.custom_config["memory_budget"]
    rows = read(fn_args.train_files, inputs, memory_budget=budget)
    model, history = train(rows, inputs.sizes, settings)

    def probability(columns: dict[str, tf.Tensor]) -> tf.Tensor:
        return model(matrices(columns, inputs), training=False)

    save(fn_args.serving_model_dir, model, probability, transform=transform, config=config)
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    with tf.io.gfile.GFile(str(PurePath(fn_args.model_run_dir) / HISTORY_FILE), "w") as file:
        file.write(json.dumps(history, indent=2))


def train(
    rows: Rows, sizes: Sequence[int], settings: TrainConfig
) -> tuple[keras.Model, dict[str, Any]]:
    """Finds the number of epochs on held-out groups, if none is given; trains on all rows.

    Args:
        rows: The train split.
        sizes: How many values each categorical column may take.
        settings: Seed, held-out share, class weights and hyper-parameters; the same ones give the
            same weights.

    Returns:
        The model, and the metrics of each epoch of both trainings.
    """
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    hyper = settings.keras
    weights = class_weights(rows.labels, settings.class_weight)
    searched: dict[str, list[float]] = {}
    epochs = hyper.epochs
    if epochs is None:
        searched = search(rows, sizes, settings, weights=weights)
        epochs = int(np.argmin(searched["val_loss"])) + 1

    everything = np.arange(len(rows))
    members = build_members(hyper.members, rows, sizes, hyper, weights=weights)
    trained = members.fit(
        batches(rows, everything, hyper.batch_size, weights=weights, seed=settings.seed),
        epochs=epochs,
        callbacks=[_Progress(epochs, len(rows), hyper.batch_size)],
        shuffle=False,  # batches() does
        verbose=0,
    ).history
    average = keras.ops.mean(members.output, axis=1, keepdims=True)
    model = keras.Model(members.input, average)
    return model, {"epochs": epochs, "search": searched, "training": trained}


def search(
    rows: Rows, sizes: Sequence[int], settings: TrainConfig, *, weights: NDArray[np.float32]
) -> dict[str, list[float]]:
    """The metrics of each epoch on held-out groups, up to some after the best one."""
    hyper = settings.keras
    learn, stop = rows.hold_out(settings.validation_share)
    model = build_members(1, rows, sizes, hyper, weights=weights)
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=hyper.patience)
    history: dict[str, list[float]] = model.fit(
        batches(rows, learn, hyper.batch_size, weights=weights, seed=settings.seed),
        validation_data=batches(rows, stop, 8 * hyper.batch_size, weights=weights),
        epochs=hyper.max_epochs,
        callbacks=[stopping, _Progress(hyper.max_epochs, len(learn), hyper.batch_size)],
        shuffle=False,  # batches() does
        verbose=0,
    ).history
    return history


def build_members(
    count: int,
    rows: Rows,
    sizes: Sequence[int],
    hyper: KerasConfig,
    *,
    weights: NDArray[np.float32],
) -> keras.Model:
    """Networks from (numbers [batch, n], categories [batch, k]) to probabilities [batch, count].

    They are trained side by side, and share nothing but their inputs.
    """
    numbers = keras.Input(rows.numbers.shape[1:], name="numbers")
    categories = keras.Input(rows.categories.shape[1:], dtype="int32", name="categories")
    # They start at the base rate: the first epochs need not learn it.
    base = float(np.average(rows.labels, weights=weights[rows.labels.astype(int)]))
    outputs = [network(numbers, categories, sizes, hyper, base_rate=base) for _ in range(count)]
    output = keras.layers.Concatenate()(outputs) if count > 1 else outputs[0]
    model = keras.Model((numbers, categories), output)
    model.compile(
        keras.optimizers.AdamW(hyper.learning_rate, weight_decay=hyper.weight_decay),
        loss=members_loss,
        steps_per_execution=_STEPS_PER_EXECUTION,
        jit_compile=False,
    )
    # Built here, its variables need no second tracing of the training step.
    model.optimizer.build(model.trainable_variables)
    return model


def network(
    numbers: keras.KerasTensor,
    categories: keras.KerasTensor,
    sizes: Sequence[int],
    hyper: KerasConfig,
    *,
    base_rate: float,
) -> keras.KerasTensor:
    """The probability [batch, 1] that one network gives."""
    # Zeros, so that a value that training never meets stays neutral.
    embeddings = [
        keras.layers.Embedding(
            size, min(hyper.embedding_dim, (size + 1) // 2), embeddings_initializer="zeros"
        )(categories[:, column])
        for column, size in enumerate(sizes)
    ]
    x = keras.layers.Concatenate()([numbers, *embeddings]) if embeddings else numbers
    for units in hyper.hidden_units:
        x = keras.layers.Dense(units, activation="relu")(x)
        x = keras.layers.Dropout(hyper.dropout)(x)
    bias = keras.initializers.Constant(math.log(base_rate / (1 - base_rate)))
    return keras.layers.Dense(1, activation="sigmoid", bias_initializer=bias)(x)


def members_loss(labels: keras.KerasTensor, probabilities: keras.KerasTensor) -> keras.KerasTensor:
    """The mean of the members' own losses [batch], so that each learns as if it were alone."""
    labels = keras.ops.broadcast_to(labels, keras.ops.shape(probabilities))
    return keras.losses.binary_crossentropy(labels, probabilities)


def class_weights(
    labels: NDArray[np.float32], mode: Literal["none", "balanced"]
) -> NDArray[np.float32]:
    """What a row of label 0 and of label 1 weighs."""
    if mode == "none":
        return np.ones(2, np.float32)
    counts = np.bincount(labels.astype(int), minlength=2)
    return np.asarray(len(labels) / (2 * counts), np.float32)


def batches(
    rows: Rows,
    among: NDArray[np.int64],
    size: int,
    *,
    weights: NDArray[np.float32],
    seed: int | None = None,
) -> tf.data.Dataset:
    """((numbers, categories), labels, weights) for Keras; with a seed, shuffled each epoch.

    Many batches at a time come from Python, and are cut where Python is not in the way.
    """
    rng = None if seed is None else np.random.default_rng(seed)

    def generate() -> Iterator[tuple[Any, ...]]:
        for some in rows.batches(max(size, _ROWS_AT_ONCE // size * size), among=among, rng=rng):
            whole = len(some) // size * size
            for part in (slice(whole), slice(whole, None)):
                if len(some.labels[part]):
                    yield _stacked(some.take(part), min(size, len(some.labels[part])), weights)

    signature = (
        (
            tf.TensorSpec([None, None, rows.numbers.shape[1]], tf.float32),
            tf.TensorSpec([None, None, rows.categories.shape[1]], tf.int32),
        ),
        tf.TensorSpec([None, None, 1], tf.float32),
        tf.TensorSpec([None, None], tf.float32),
    )
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(1)
    cardinality = tf.data.experimental.assert_cardinality(math.ceil(len(among) / size))
    return dataset.unbatch().apply(cardinality).prefetch(2 * _STEPS_PER_EXECUTION)


def _stacked(rows: Rows, size: int, weights: NDArray[np.float32]) -> tuple[Any, ...]:
    """The arrays of `batches`, [batches, batch, …]."""
    arrays = rows.numbers, rows.categories, rows.labels[:, None], weights[rows.labels.astype(int)]
    numbers, categories, labels, weight = (
        array.reshape(-1, size, *array.shape[1:]) for array in arrays
    )
    return (numbers, categories), labels, weight


class _Progress(keras.callbacks.Callback):
    """Tells the runner how many steps are done."""

    def __init__(self, epochs: int, rows: int, batch_size: int) -> None:
        super().__init__()
        self._steps = math.ceil(rows / batch_size)
        self._epochs = epochs
        self._before = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before = epoch * self._steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        progress.report(self._before + batch + 1, self._epochs * self._steps, "steps")
