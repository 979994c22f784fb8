"""What is pushed, and how it is asked: raw rows or serialized tf.Examples in, probabilities out.

    bundle = load("output/flights/serving/1700000000")
    bundle.predict_rows([{"carrier": "UA", "distance": 719, …}])

TensorFlow is imported by `load` and not before.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models import features
from pipeline.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES_SIGNATURE = "serving_default"
"""Takes EXAMPLES, a batch of serialized tf.Examples."""
RAW_SIGNATURE = "serving_raw"
"""Takes a tensor [rows] for each raw column, by its name."""
EXAMPLES = "examples"
PROBABILITY = "probability"
"""The output of both: the probability of label 1."""

Row = Mapping[str, Any]

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def load(path: str) -> Bundle:
    """Loads the model in a folder.

    Raises:
        UserError: If there is none.
    """
    import tensorflow as tf

    if not tf.saved_model.contains_saved_model(path):
        raise UserError(f"{path} holds no model: expected a SavedModel's folder (saved_model.pb).")
    return Bundle(tf.saved_model.load(path), path)


class Bundle:
    """A model that is asked by raw columns."""

    def __init__(self, model: Any, path: str) -> None:
        """Takes a loaded SavedModel, and where it was loaded from, for messages."""
        self._model = model
        self._path = path

    @property
    def inputs(self) -> dict[str, str]:
        """The raw columns that it takes: "string", "int64", "float32" or "float64" by name.

        A float64 column holds whole numbers, some of them missing; `models.export` says why.
        """
        _, tensors = self._signature(RAW_SIGNATURE).structured_input_signature
        return {features.column(name): tensor.dtype.name for name, tensor in tensors.items()}

    def predict_examples(self, examples: Sequence[bytes] | NDArray[Any]) -> NDArray[np.float32]:
        """The probability [rows] of label 1 for each serialized tf.Example.

        Raises:
            UserError: If one is no tf.Example, or lacks a value that a row always has.
        """
        return self._predict(EXAMPLES_SIGNATURE, {EXAMPLES: np.asarray(examples, object)})

    def predict_rows(self, rows: Sequence[Row] | pa.Table) -> NDArray[np.float32]:
        """The probability [rows] of label 1 for each raw row.

        Numbers may be given as text, as a CSV file has them; None is a missing value. Columns that
        the model does not take are ignored.

        Raises:
            UserError: If a row lacks a column, or holds a value that is not what it takes.
        """
        if hasattr(rows, "to_pylist"):
            rows = rows.to_pylist()
        columns = {
            features.tensor(name): _column(name, dtype, rows) for name, dtype in self.inputs.items()
        }
        return self._predict(RAW_SIGNATURE, columns)

    def _predict(self, name: str, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        import tensorflow as tf

        signature = self._signature(name)
        types = signature.structured_input_signature[1]
        tensors = {key: tf.constant(value, types[key].dtype) for key, value in inputs.items()}
        try:
            predictions = signature(**tensors)[PROBABILITY]
        except tf.errors.InvalidArgumentError as error:
            # The first line only says that there was an error.
            reason = " ".join(str(error.message).splitlines()[1:2]) or str(error.message)
            raise UserError(f"The model in {self._path} cannot take these rows: {reason}") from None
        return np.asarray(predictions.numpy().reshape(-1), np.float32)

    def _signature(self, name: str) -> Any:
        if name not in self._model.signatures:
            found = ", ".join(sorted(self._model.signatures)) or "none"
            raise UserError(
                f"The model in {self._path} has no signature {name!r} (it has: {found})."
            )
        return self._model.signatures[name]


def _column(name: str, dtype: str, rows: Sequence[Row]) -> NDArray[Any]:
    convert, expected = _TYPES[dtype]
    values = []
    for number, row in enumerate(rows, start=1):
        if name not in row:
            close = difflib.get_close_matches(name, map(str, row), n=1)
            offer = f" Is it {close[0]!r}? Rename it." if close else ""
            raise UserError(f"Row {number} has no column {name!r}: expected {expected}.{offer}")
        try:
            if isinstance(row[name], bool | np.bool_):
                raise TypeError
            values.append(convert(row[name]))
        except (ValueError, TypeError, OverflowError):
            raise UserError(
                f"Row {number}, column {name!r}: {row[name]!r} does not fit; expected {expected}."
            ) from None
    return np.array(values, object if dtype == "string" else dtype)


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _string(value: Any) -> bytes:
    if _is_missing(value):
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str | int):
        return str(value).encode()
    raise TypeError


def _float(value: Any) -> float:
    if _is_missing(value):
        return math.nan
    number = float(value)
    if abs(number) > _LARGEST_FLOAT:
        raise ValueError
    return number


def _int(value: Any) -> int:
    """A whole number of 64 bits: 3, 3.0 and "3" are the same."""
    number = int(value) if isinstance(value, str | int) else _whole(float(value))
    return int(np.int64(number))


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError
    return int(number)


def _int_or_missing(value: Any) -> float:
    return math.nan if _is_missing(value) else float(_int(value))


_TYPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "string": (_string, "a string, or null if it is missing"),
    "float32": (_float, "a number, or null if it is missing"),
    "float64": (_int_or_missing, "a whole number, or null if it is missing"),
    "int64": (_int, "a whole number, which no row may lack"),
}
"""How a value becomes what a tensor of the type holds, and what is expected in words."""
