"""The Keras model: embeddings and scaled numbers into a small network, trained and exported.

Days share their weather, so there are far fewer independent days than rows, and a network soon
learns the days it has seen. Against that: much dropout, and a number of epochs chosen on held-out
days. The model is then trained on all rows for that many epochs (early stopping with retraining:
Goodfellow, Bengio, Courville, Deep Learning, 2016, algorithm 7.2), as a day held out is a day less
to learn from. What is trained then is a few networks whose predictions are averaged: they err on
different days (deep ensembles: Lakshminarayanan, Pritzel, Blundell, NeurIPS 2017).
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models import problems
from models.dataset import Rows, row_weights
from models.history import Curve, History, ignore
from models.problems import Scale
from models.warm import Unfit
from pipeline import progress
from pipeline.train_config import Framework, KerasConfig, TrainConfig

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

FILE = "weights.npz"
"""The weights of each network, beside the SavedModel: what a later training goes on from."""

_SCALE = "scale"
"""In that file of a regression: mean and deviation of the labels, in whose unit they learned."""
_LAST = "says"
"""How the names of the networks' last layers begin."""
_OTHER = "the model before has other networks than train.keras says"
_STEPS_PER_EXECUTION = 64
_ROWS_AT_ONCE = 8192
_spent: dict[Any, tuple[keras.Model, list[tuple[Any, Any]]]] | None = None
"""Models to be trained anew, their variables, and what these began as; else None."""


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
    settings = settings.for_rows(len(rows))
    hyper, size = settings.keras, settings.keras.passes(len(rows)).batch_size
    known = Known.of(base, hyper) if base else None
    searched = search(rows, sizes, settings, base=known) if hyper.epochs is None else None
    epochs = searched.best_step if searched else hyper.epochs or 1

    _seed(settings)
    rows, scale = _prepared(rows, settings, known)
    everything = np.arange(len(rows))
    members = build_members(hyper.members, rows, sizes, hyper, base=known)
    trained = members.fit(
        batches(rows, everything, size, seed=settings.seed),
        epochs=epochs,
        callbacks=[_Progress(epochs, len(rows), size)],
        shuffle=False,  # batches() does
        verbose=0,
    ).history
    average = keras.ops.mean(members.output, axis=1, keepdims=rows.classes <= 2)
    if not rows.classes:
        average = keras.layers.Rescaling(scale.deviation, scale.mean, name=_SCALE)(average)
    history = History(
        framework=Framework.KERAS,
        step="epoch",
        steps=epochs,
        search=searched,
        training=Curve(learned=tuple(map(scale.loss, trained.get("loss", ())))),
    )
    model = keras.Model(members.input, average)
    return model, history, searched.best_loss if searched else None


def predicted(model: keras.Model, numbers: tf.Tensor, categories: tf.Tensor) -> tf.Tensor:
    """What the exported model says: [rows, 1], or [rows, classes] of several classes."""
    return model((numbers, categories), training=False)


def save(model: keras.Model, folder: Path) -> None:
    """Writes the weights of the networks, by network and place."""
    arrays = {
        f"{number}-{place}": array
        for number, one in enumerate(networks(model))
        for place, array in enumerate(one.get_weights())
    }
    if _SCALE in (layer.name for layer in model.layers):
        unit = model.get_layer(_SCALE)
        arrays[_SCALE] = np.array([unit.offset, unit.scale])
    np.savez(folder / FILE, **arrays)


def networks(model: keras.Model) -> list[keras.Model]:
    """The networks of a model, each by itself, with the same weights."""
    return [
        keras.Model(model.inputs, layer.output)
        for layer in model.layers
        if layer.name.startswith(_LAST)
    ]


@dataclass(frozen=True)
class Known:
    """The networks in a bundle, from which a training goes on."""

    weights: list[list[NDArray[np.float32]]]
    """The arrays of each network, as Keras orders them."""
    scale: Scale

    @classmethod
    def of(cls, base: Path, hyper: KerasConfig) -> Self:
        """Those of a bundle, if they are as many as are to be trained."""
        try:
            with np.load(base / FILE) as file:
                scale = Scale(*file[_SCALE].tolist()) if _SCALE in file else Scale()
                names = (name for name in file.files if name != _SCALE)
                arrays = {tuple(map(int, name.split("-"))): file[name] for name in names}
        except (OSError, ValueError, zipfile.BadZipFile):
            raise Unfit(f"the model before holds no {FILE}") from None
        by_network = groupby(sorted(arrays), key=itemgetter(0))
        weights = [[arrays[place] for place in places] for _, places in by_network]
        if len(weights) != hyper.members:
            raise Unfit(_OTHER)
        return cls(weights, scale)


def _prepared(rows: Rows, settings: TrainConfig, known: Known | None) -> tuple[Rows, Scale]:
    """Rows with the weights of a training, and labels in the unit that networks learn in."""
    weights = row_weights(rows, settings)
    scale = known.scale if known else Scale.of(rows, weights)
    return replace(rows, weights=weights, labels=scale.scaled(rows.labels)), scale


def search(
    rows: Rows,
    sizes: Sequence[int],
    settings: TrainConfig,
    *,
    report: Callable[[int, float], None] = ignore,
    base: Known | None = None,
) -> Curve:
    """The loss of each epoch on held-out groups, up to some after the best one.

    `report` is told each epoch's number and held-out loss, and may raise to end the search.
    """
    _seed(settings)
    settings = settings.for_rows(len(rows))
    hyper, passes = settings.keras, settings.keras.passes(len(rows))
    rows, scale = _prepared(rows, settings, base)
    learn, stop = rows.hold_out(settings.validation_share)
    model = build_members(1, rows, sizes, hyper, base=base)
    held_out = batches(rows, stop, 8 * passes.batch_size)
    before = scale.loss(float(model.evaluate(held_out, verbose=0))) if base else None
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=passes.patience)
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: report(epoch + 1, scale.loss(logs["val_loss"]))
    )
    history = model.fit(
        batches(rows, learn, passes.batch_size, seed=settings.seed),
        validation_data=held_out,
        epochs=passes.max_epochs,
        callbacks=[stopping, told, _Progress(passes.max_epochs, len(learn), passes.batch_size)],
        shuffle=False,  # batches() does
        verbose=0,
    ).history
    learned, stopped = (tuple(map(scale.loss, history[name])) for name in ("loss", "val_loss"))
    return Curve(learned=learned, held_out=stopped, before=before)


@contextmanager
def spent_models() -> Iterator[None]:
    """Inside, each model is spent when the next is trained, which takes over its traced graph.

    The models are the same; to trace graphs takes most of the time of a training of few rows.
    """
    global _spent
    _spent = {}
    try:
        yield
    finally:
        _spent = None


def _seed(settings: TrainConfig) -> None:
    """Starts over: with the seed, and without what earlier trainings left in memory."""
    if _spent is None:
        keras.utils.clear_session()
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()


def build_members(
    count: int,
    rows: Rows,
    sizes: Sequence[int],
    hyper: KerasConfig,
    *,
    base: Known | None = None,
) -> keras.Model:
    """Networks from (numbers [batch, n], categories [batch, k]) to what each says of a row.

    That is [batch, count], or [batch, count, classes] of several classes; `last_layer` says what it
    means. They are trained side by side, and share nothing but their inputs. They begin with the
    weights of as many of `base`, if it is given.

    Raises:
        Unfit: If these do not fit.
    """
    start = problems.base_logits(rows, rows.weights)
    key = count, rows.numbers.shape[1], tuple(sizes), rows.classes, hyper
    if _spent is not None and key in _spent:
        return _as_new(*_spent[key], start)
    numbers = keras.Input(rows.numbers.shape[1:], name="numbers")
    categories = keras.Input(rows.categories.shape[1:], dtype="int32", name="categories")
    # They start at the base rate: the first epochs need not learn it.
    last = [last_layer(f"{_LAST}_{number}", rows.classes, start) for number in range(count)]
    outputs = [layer(network(numbers, categories, sizes, hyper)) for layer in last]
    if rows.classes > 2:
        outputs = [keras.ops.expand_dims(one, 1) for one in outputs]
    output = keras.layers.Concatenate(axis=1)(outputs) if count > 1 else outputs[0]
    model = keras.Model((numbers, categories), output)
    for one, weights in zip(networks(model), base.weights if base else (), strict=False):
        try:
            one.set_weights(weights)
        except ValueError:
            raise Unfit(_OTHER) from None
    model.compile(
        keras.optimizers.AdamW(hyper.learning_rate, weight_decay=hyper.weight_decay),
        loss=members_loss(rows.classes),
        steps_per_execution=_STEPS_PER_EXECUTION,
        jit_compile=False,
    )
    # Built here, its variables need no second tracing of the training step.
    model.optimizer.build(model.trainable_variables)
    if _spent is not None:
        variables = *model.variables, *model.optimizer.variables
        _spent[key] = model, [(variable, variable.numpy()) for variable in variables]
    return model


def _as_new(
    model: keras.Model, variables: Sequence[tuple[Any, Any]], start: NDArray[np.float64]
) -> keras.Model:
    """A model with its variables as they were before it was trained, but for the base rate."""
    for variable, value in variables:
        variable.assign(value)
    for layer in model.layers:
        if layer.name.startswith(_LAST):
            layer.bias.assign(start)
    return model


def network(
    numbers: keras.KerasTensor,
    categories: keras.KerasTensor,
    sizes: Sequence[int],
    hyper: KerasConfig,
) -> keras.KerasTensor:
    """The last hidden layer [batch, units] of one network."""
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
    return x


def last_layer(name: str, classes: int, start: NDArray[np.float64]) -> keras.Layer:
    """What a network says: of two classes the probability of the second, of several each one's.

    In a regression the value, in the unit that it learns in. At first it says what `start` means.
    """
    activation = {0: "linear", 2: "sigmoid"}.get(classes, "softmax")
    bias = keras.initializers.Constant(start)
    return keras.layers.Dense(len(start), activation, bias_initializer=bias, name=name)


def members_loss(classes: int) -> Callable[..., keras.KerasTensor]:
    """The mean of the members' own losses [batch], so that each learns as if it were alone."""

    def mean(labels: keras.KerasTensor, said: keras.KerasTensor) -> keras.KerasTensor:
        labels = keras.ops.broadcast_to(labels, keras.ops.shape(said)[:2])
        if classes > 2:
            each = keras.losses.sparse_categorical_crossentropy(labels, said)
            return keras.ops.mean(each, axis=1)
        of_two = keras.losses.binary_crossentropy
        return (of_two if classes else keras.losses.mean_squared_error)(labels, said)

    return mean


def batches(
    rows: Rows, among: NDArray[np.int64], size: int, *, seed: int | None = None
) -> tf.data.Dataset:
    """((numbers, categories), labels, weights) for Keras; with a seed, shuffled each epoch.

    Weights are 1 on average: what Keras calls the loss is the weighted sum by the number of rows.
    Many batches at a time come from Python, and are cut where Python is not in the way.
    """
    share = 1 / rows.weights[among].mean()
    if len(among) <= _ROWS_AT_ONCE:
        return _batches_of_few(rows.take(among), size, share, seed)
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


def _batches_of_few(rows: Rows, size: int, share: float, seed: int | None) -> tf.data.Dataset:
    """The same without Python, which for few rows takes longer than to learn from them."""
    arrays = (rows.numbers, rows.categories), rows.labels[:, None], rows.weights * share
    dataset = tf.data.Dataset.from_tensor_slices(arrays)
    options = tf.data.Options()
    options.autotune.enabled, options.threading.private_threadpool_size = False, 1
    shuffled = dataset if seed is None else dataset.shuffle(len(rows), seed)
    return shuffled.batch(size).with_options(options)


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
