"""The Keras model: embeddings and scaled numbers into a small network, trained and exported.

Days share their weather, so there are far fewer independent days than rows, and a network soon
learns the days it has seen. Against that: much dropout, and a number of epochs chosen on held-out
days. The model is then trained on all rows for that many epochs (early stopping with retraining:
Goodfellow, Bengio, Courville, Deep Learning, 2016, algorithm 7.2), as a day held out is a day less
to learn from. What is trained then is a few networks whose probabilities are averaged: they err on
different days (deep ensembles: Lakshminarayanan, Pritzel, Blundell, NeurIPS 2017).
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.dataset import Rows, row_weights
from models.history import Curve, History, ignore
from models.warm import Unfit
from pipeline import progress
from pipeline.train_config import Framework, KerasConfig, TrainConfig

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

FILE = "weights.npz"
"""The weights of each network, beside the SavedModel: what a later training goes on from."""

_Weights = list[list[NDArray[np.float32]]]
"""The arrays of each network, as Keras orders them."""

_OTHER = "the model before has other networks than train.keras says"
_STEPS_PER_EXECUTION = 64
_ROWS_AT_ONCE = 8192


def run_fn(fn_args: FnArgs) -> None:
    """Trains the model and writes its bundle; TFX's Trainer calls this."""
    from models import training  # Whoever loads a model needs no more than this file.

    training.run(Framework.KERAS, training.Task.of(fn_args))


def train(
    rows: Rows, sizes: Sequence[int], settings: TrainConfig, base: Path | None = None
) -> tuple[keras.Model, History, float | None]:
    """Finds the number of epochs on held-out groups, if none is given; trains on all rows.

    Args:
        rows: The train split.
        sizes: How many values each categorical column may take.
        settings: Seed, held-out share, class weights and hyper-parameters; the same ones give the
            same weights.
        base: The bundle whose networks learn on; by default new ones do.

    Returns:
        The model, the losses of both trainings, and the loss of the rows that were held out.

    Raises:
        Unfit: If the base has no weights, or other networks than these settings make.
    """
    hyper = settings.keras
    known = _known(base, hyper) if base else None
    searched = search(rows, sizes, settings, base=known) if hyper.epochs is None else None
    epochs = searched.best_step if searched else hyper.epochs or 1

    _seed(settings)
    rows = replace(rows, weights=row_weights(rows, settings))
    everything = np.arange(len(rows))
    members = build_members(hyper.members, rows, sizes, hyper, base=known)
    trained = members.fit(
        batches(rows, everything, hyper.batch_size, seed=settings.seed),
        epochs=epochs,
        callbacks=[_Progress(epochs, len(rows), hyper.batch_size)],
        shuffle=False,  # batches() does
        verbose=0,
    ).history
    average = keras.ops.mean(members.output, axis=1, keepdims=True)
    history = History(
        framework=Framework.KERAS,
        step="epoch",
        steps=epochs,
        search=searched,
        training=Curve(learned=tuple(trained.get("loss", ()))),
    )
    model = keras.Model(members.input, average)
    return model, history, searched.best_loss if searched else None


def probability(model: keras.Model, numbers: tf.Tensor, categories: tf.Tensor) -> tf.Tensor:
    """What the exported model says: [rows, 1]."""
    return model((numbers, categories), training=False)


def save(model: keras.Model, folder: Path) -> None:
    """Writes the weights of the networks, by network and place."""
    arrays = {
        f"{number}-{place}": array
        for number, one in enumerate(networks(model))
        for place, array in enumerate(one.get_weights())
    }
    np.savez(folder / FILE, **arrays)


def networks(model: keras.Model) -> list[keras.Model]:
    """The networks of a model, each by itself, with the same weights."""
    return [
        keras.Model(model.inputs, layer.output)
        for layer in model.layers
        if getattr(layer, "activation", None) is keras.activations.sigmoid
    ]


def _known(base: Path, hyper: KerasConfig) -> _Weights:
    """The weights in a bundle, if they are of as many networks as are to be trained."""
    try:
        with np.load(base / FILE) as file:
            arrays = {tuple(map(int, name.split("-"))): file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        raise Unfit(f"the model before holds no {FILE}") from None
    by_network = groupby(sorted(arrays), key=itemgetter(0))
    known = [[arrays[place] for place in places] for _, places in by_network]
    if len(known) != hyper.members:
        raise Unfit(_OTHER)
    return known


def search(
    rows: Rows,
    sizes: Sequence[int],
    settings: TrainConfig,
    *,
    report: Callable[[int, float], None] = ignore,
    base: _Weights | None = None,
) -> Curve:
    """The loss of each epoch on held-out groups, up to some after the best one.

    `report` is told each epoch's number and held-out loss, and may raise to end the search.
    """
    _seed(settings)
    hyper = settings.keras
    rows = replace(rows, weights=row_weights(rows, settings))
    learn, stop = rows.hold_out(settings.validation_share)
    model = build_members(1, rows, sizes, hyper, base=base)
    held_out = batches(rows, stop, 8 * hyper.batch_size)
    before = float(model.evaluate(held_out, verbose=0)) if base else None
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=hyper.patience)
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: report(epoch + 1, logs["val_loss"])
    )
    history = model.fit(
        batches(rows, learn, hyper.batch_size, seed=settings.seed),
        validation_data=held_out,
        epochs=hyper.max_epochs,
        callbacks=[stopping, told, _Progress(hyper.max_epochs, len(learn), hyper.batch_size)],
        shuffle=False,  # batches() does
        verbose=0,
    ).history
    return Curve(learned=tuple(history["loss"]), held_out=tuple(history["val_loss"]), before=before)


def _seed(settings: TrainConfig) -> None:
    """Starts over: with the seed, and without what earlier trainings left in memory."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()


def build_members(
    count: int,
    rows: Rows,
    sizes: Sequence[int],
    hyper: KerasConfig,
    *,
    base: _Weights | None = None,
) -> keras.Model:
    """Networks from (numbers [batch, n], categories [batch, k]) to probabilities [batch, count].

    They are trained side by side, and share nothing but their inputs. They begin with the weights
    `base` of as many others, if it is given.

    Raises:
        Unfit: If these do not fit.
    """
    numbers = keras.Input(rows.numbers.shape[1:], name="numbers")
    categories = keras.Input(rows.categories.shape[1:], dtype="int32", name="categories")
    # They start at the base rate: the first epochs need not learn it.
    rate = float(np.average(rows.labels, weights=rows.weights))
    outputs = [network(numbers, categories, sizes, hyper, base_rate=rate) for _ in range(count)]
    output = keras.layers.Concatenate()(outputs) if count > 1 else outputs[0]
    model = keras.Model((numbers, categories), output)
    for one, weights in zip(networks(model), base or (), strict=False):
        try:
            one.set_weights(weights)
        except ValueError:
            raise Unfit(_OTHER) from None
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


def batches(
    rows: Rows, among: NDArray[np.int64], size: int, *, seed: int | None = None
) -> tf.data.Dataset:
    """((numbers, categories), labels, weights) for Keras; with a seed, shuffled each epoch.

    Weights are 1 on average: what Keras calls the loss is the weighted sum by the number of rows.
    Many batches at a time come from Python, and are cut where Python is not in the way.
    """
    share = 1 / rows.weights[among].mean()
    rng = None if seed is None else np.random.default_rng(seed)

    def generate() -> Iterator[tuple[Any, ...]]:
        for some in rows.batches(max(size, _ROWS_AT_ONCE // size * size), among=among, rng=rng):
            whole = len(some) // size * size
            for part in (slice(whole), slice(whole, None)):
                if len(some.labels[part]):
                    yield _stacked(some.take(part), min(size, len(some.labels[part])), share)

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
    # unbatch() would do, but dies of columns [rows, 0], of a model without categories, say.
    one_by_one = dataset.flat_map(lambda *some: tf.data.Dataset.from_tensor_slices(some))
    return one_by_one.apply(cardinality).prefetch(2 * _STEPS_PER_EXECUTION)


def _stacked(rows: Rows, size: int, share: float) -> tuple[Any, ...]:
    """The arrays of `batches`, [batches, batch, …]."""
    arrays = rows.numbers, rows.categories, rows.labels[:, None], rows.weights * share
    numbers, categories, labels, weight = (
        array.reshape(len(array) // size, size, *array.shape[1:]) for array in arrays
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
