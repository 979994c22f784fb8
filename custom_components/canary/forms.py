"""The two forms that a pushed model has, and how each is asked, with nothing of TFX."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from custom_components.canary.report import METHODS, SIGNATURES
from models.bundle import EXAMPLES, Bundle, by_row, output_of
from models.features import column
from pipeline.errors import UserError
from pipeline.features_config import Problem

_CAUSE_LENGTH = 500

_T = TypeVar("_T")


class ModelFault(Exception):
    """The model does not do what a server asks of it; says what, in a sentence."""


class Form(Protocol):
    """A model in memory."""

    ways: tuple[str, str]
    """The names of the two ways in which it is asked: `by_examples`, and `by_columns`."""

    def columns(self, examples: Sequence[tf.train.Example]) -> Any:
        """The raw columns of some rows, as `by_columns` takes them."""

    def by_examples(self, serialized: Sequence[bytes]) -> NDArray[Any]:
        """The answer [rows] or [rows, classes] to each serialized tf.Example."""

    def by_columns(self, columns: Any) -> NDArray[Any]:
        """The same to each raw row."""


def load(folder: Path) -> Form:
    """Loads a model by TensorFlow alone if it is a SavedModel, else through `models.bundle`.

    Raises:
        ModelFault: If it does not load.
        UserError: If it is a bundle that is damaged or of another kind.
    """
    form = SavedModelForm if (folder / "saved_model.pb").is_file() else BundleForm
    return attempt("cannot be loaded", lambda: form(folder))


class SavedModelForm:
    """What TensorFlow's own server serves: a SavedModel with the two signatures."""

    ways = SIGNATURES

    def __init__(self, folder: Path) -> None:
        """Loads the model with nothing but TensorFlow."""
        # Held to the end: the signatures do not keep alive what they belong to.
        self._model = tf.saved_model.load(str(folder))
        self._serialized, self._raw = (_signature(self._model, name) for name in SIGNATURES)

    def columns(self, examples: Sequence[tf.train.Example]) -> Mapping[str, tf.Tensor]:
        """A tensor [rows] for each named input of `serving_raw`, of the type that it asks for.

        A missing number is NaN, a missing string is empty.

        Raises:
            ValueError: A row does not fit the type.
        """
        inputs = self._raw.structured_input_signature[1]
        return {
            name: _tensor(name, values_of(examples, column(name)), spec.dtype)
            for name, spec in inputs.items()
        }

    def by_examples(self, serialized: Sequence[bytes]) -> NDArray[Any]:
        """See `Form`."""
        return _answer(self._serialized(**{EXAMPLES: tf.constant(serialized)}))

    def by_columns(self, columns: Mapping[str, tf.Tensor]) -> NDArray[Any]:
        """See `Form`."""
        return _answer(self._raw(**columns))


class BundleForm:
    """What a server of this project's bundles serves, MLflow's among them."""

    ways = METHODS

    def __init__(self, folder: Path) -> None:
        """Loads the model, with the framework that it is made with."""
        self._bundle = Bundle.load(folder)

    def columns(self, examples: Sequence[tf.train.Example]) -> Mapping[str, list[Any]]:
        """The values [rows] of each column that the bundle takes, None where one is missing."""
        return {name: values_of(examples, name) for name in self._bundle.inputs}

    def by_examples(self, serialized: Sequence[bytes]) -> NDArray[Any]:
        """See `Form`."""
        return self._bundle.predict_examples(serialized)

    def by_columns(self, columns: Mapping[str, list[Any]]) -> NDArray[Any]:
        """See `Form`."""
        return self._bundle.predict(columns)


def values_of(examples: Sequence[tf.train.Example], name: str) -> list[Any]:
    """The value of a column in each row, None where it is missing."""
    return [next(iter(_values(example.features.feature[name])), None) for example in examples]


def attempt(complaint: str, action: Callable[[], _T]) -> _T:
    """What `action`, which does nothing but use the model, gives.

    Raises:
        ModelFault: What it raised, after the complaint.
        UserError: It raised one, which is a sentence by itself.
    """
    try:
        return action()
    except (ModelFault, UserError):
        raise
    except Exception as error:
        cause = textwrap.shorten(f"{type(error).__name__}: {error}", _CAUSE_LENGTH)
        raise ModelFault(f"the model {complaint}: {cause}") from error


def _answer(outputs: Mapping[str, tf.Tensor]) -> NDArray[Any]:
    """What a signature gives, whose one output is named by the problem."""
    found = [outputs[name] for name in map(output_of, Problem) if name in outputs]
    if len(found) != 1:
        raise ModelFault(f"the model gives {', '.join(sorted(outputs)) or 'nothing'}")
    return by_row(found[0].numpy())


def _signature(model: Any, name: str) -> Any:
    if name not in model.signatures:
        raise ModelFault(
            f"the model has no signature {name}, only: "
            f"{', '.join(sorted(model.signatures)) or 'none'}"
        )
    return model.signatures[name]


def _tensor(name: str, values: list[Any], dtype: tf.DType) -> tf.Tensor:
    if dtype == tf.string:
        return tf.constant([b"" if v is None else v for v in values], tf.string)
    if dtype.is_floating:
        return tf.constant(np.array([math.nan if v is None else v for v in values], float), dtype)
    if None in values:
        raise ValueError(f"{name} is {dtype.name}, which cannot say that a value is missing")
    return tf.constant(values, dtype)


def _values(feature: tf.train.Feature) -> Sequence[Any]:
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()
