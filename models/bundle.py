"""What is pushed, and how it is asked: raw rows or serialized tf.Examples in, probabilities out.

    bundle = Bundle.load("output/flights/serving/1700000000")
    bundle.predict(pd.read_csv("flights.csv"))

A bundle is a folder with bundle.json (`models.manifest`) and, by what the model is made with:

- Keras: a SavedModel, from raw columns to the probability, that any TensorFlow server takes, and
  the weights by themselves, from which a later training may go on;
- PyTorch, scikit-learn, XGBoost: the transform graph, a SavedModel from raw columns to what models
  learn from, in transform/, and the model beside it in its framework's own safe format;
- an ensemble: a bundle for each member, in members/.

Nothing in it is unpickled, and nothing is loaded before its checksums have been compared. What a
framework takes to load is imported by `load` and not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from models import columns, features, manifest
from models.manifest import ENSEMBLE, MEMBERS, Manifest
from pipeline.errors import UserError
from pipeline.features_config import Problem

EXAMPLES_SIGNATURE = "serving_default"
"""Takes EXAMPLES, a batch of serialized tf.Examples."""
RAW_SIGNATURE = "serving_raw"
"""Takes a tensor [rows] for each raw column, by its name."""
EXAMPLES = "examples"
PROBABILITY = "probability"
"""The output of a whole model that tells two classes apart."""
NUMBERS, CATEGORIES = "numbers", "categories"
"""The outputs of a transform graph: `models.dataset.Rows` has their meaning."""
TRANSFORM = "transform"
"""The folder of the transform graph of a model that is no SavedModel itself."""

Predictions = NDArray[np.float32]
"""[rows] the probability of the second of two classes, or the value in a regression; of several
classes [rows, classes] the probability of each."""
Arrays = Mapping[str, NDArray[Any]]
Predict = Callable[[NDArray[np.float32], NDArray[np.int32]], Predictions]
"""From numbers [rows, n] and categories [rows, k] to what a model says of each row."""


def output_of(problem: Problem) -> str:
    """The name of the output of a whole model, in its signatures."""
    return {
        Problem.BINARY: PROBABILITY,
        Problem.MULTICLASS: "probabilities",
        Problem.REGRESSION: "prediction",
    }[problem]


class _Model(Protocol):
    """What is asked, in one of two ways: by a signature and its inputs."""

    def __call__(self, signature: str, inputs: Arrays) -> Predictions: ...


class Bundle:
    """A model that is asked by raw columns."""

    def __init__(self, manifest: Manifest, model: _Model) -> None:
        """Takes what `load` has loaded."""
        self.manifest = manifest
        self._model = model

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = True) -> Bundle:
        """Loads the bundle in a folder.

        Args:
            path: The folder.
            verify: Whether its files are compared with their checksums; only for one that was
                just written.

        Raises:
            UserError: If there is none, it is of another kind, it was changed, or the framework
                that it takes is not installed.
        """
        folder = Path(path)
        found = manifest.read(folder)
        if verify:
            manifest.verify(folder, found)
        if found.framework == ENSEMBLE:
            members = sorted((folder / MEMBERS).iterdir())
            return cls(found, _Ensemble([cls.load(m, verify=False) for m in members]))
        if _is_saved_model(folder):
            return cls(found, _Whole(_Graph(folder), output_of(found.problem)))
        predict = _load_predict(found.framework, folder)
        return cls(found, _Arrays(_transform(folder / TRANSFORM, found.transform), predict))

    @property
    def inputs(self) -> dict[str, str]:
        """The raw columns that it takes: "string", "int64", "float32" or "float64" by name.

        A float64 column holds whole numbers, some of them missing; `models.export` says why.
        """
        return dict(self.manifest.inputs)

    def predict(self, rows: columns.Rows) -> Predictions:
        """What the model says of each raw row.

        Numbers may be given as text, as a CSV file has them; None is a missing value. Columns that
        the model does not take are ignored.

        Args:
            rows: A DataFrame, an Arrow table, batch or several, a dict of arrays, or a sequence
                with a dict for each row.

        Raises:
            UserError: If a column is not there, or a value is not what it takes.
        """
        found = self.manifest
        return self.predict_columns(columns.arrays(rows, found.inputs, found.example))

    def predict_columns(self, arrays: Arrays) -> Predictions:
        """The same for columns [rows] that are of their types already (`columns.arrays`)."""
        if not len(next(iter(arrays.values()))):
            return np.empty(0, np.float32)
        inputs = {features.tensor(name): values for name, values in arrays.items()}
        return self._model(RAW_SIGNATURE, inputs)

    def predict_examples(self, examples: Sequence[bytes] | NDArray[Any]) -> Predictions:
        """What the model says of each serialized tf.Example.

        Raises:
            UserError: If one is no tf.Example, or lacks a value that a row always has.
        """
        if not len(examples):
            return np.empty(0, np.float32)
        return self._model(EXAMPLES_SIGNATURE, {EXAMPLES: np.asarray(examples, object)})


def mean(predictions: Sequence[NDArray[Any]]) -> Predictions:
    """What an ensemble says: the mean of its members' predictions."""
    average: Predictions = np.mean(np.asarray(predictions, np.float64), axis=0).astype(np.float32)
    return average


class _Ensemble:
    def __init__(self, members: Sequence[Bundle]) -> None:
        self._members = members

    def __call__(self, signature: str, inputs: Arrays) -> Predictions:
        return mean([member._model(signature, inputs) for member in self._members])


class _Arrays:
    """A model of arrays behind a transform graph."""

    def __init__(self, graph: _Graph, predict: Predict) -> None:
        self._graph = graph
        self._predict = predict

    def __call__(self, signature: str, inputs: Arrays) -> Predictions:
        outputs = self._graph(signature, inputs)
        return by_row(self._predict(outputs[NUMBERS], outputs[CATEGORIES]))


class _Graph:
    """A SavedModel that is asked by its signatures."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._folder = folder
        # Held: the signatures do not keep alive what they belong to.
        self._model = tf.saved_model.load(str(folder))

    def __call__(self, name: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        import tensorflow as tf

        if name not in self._model.signatures:
            found = ", ".join(sorted(self._model.signatures)) or "none"
            raise UserError(f"{self._folder} has no signature {name!r} (it has: {found}).")
        signature = self._model.signatures[name]
        types = signature.structured_input_signature[1]
        tensors = {key: tf.constant(inputs[key], types[key].dtype) for key in types}
        try:
            return {key: value.numpy() for key, value in signature(**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            # The first line only says that there was an error.
            reason = " ".join(str(error.message).splitlines()[1:2]) or str(error.message)
            raise UserError(
                f"The model in {self._folder} cannot take these rows: {reason}"
            ) from None


class _Whole:
    """A model that is one graph with its preprocessing."""

    def __init__(self, graph: _Graph, output: str) -> None:
        self._graph = graph
        self._output = output

    def __call__(self, signature: str, inputs: Arrays) -> Predictions:
        return by_row(self._graph(signature, inputs)[self._output])


def by_row(predictions: NDArray[Any]) -> Predictions:
    """Predictions [rows], [rows, 1] or [rows, classes] as all of this project have them."""
    said = np.asarray(predictions, np.float32)
    return said.reshape(-1) if said.ndim == 1 or said.shape[1] == 1 else said


_transforms: WeakValueDictionary[str, _Graph] = WeakValueDictionary()


def _transform(folder: Path, digest: str) -> _Graph:
    """The transform graph in a folder; one that is in memory already is not loaded twice."""
    graph = _transforms.get(digest) or _Graph(folder)
    if digest:
        _transforms[digest] = graph
    return graph


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()


def _load_predict(framework: str, folder: Path) -> Predict:
    try:
        module = importlib.import_module(f"models.{framework}_model")
    except ModuleNotFoundError as error:
        if error.name in (None, f"models.{framework}_model"):
            raise UserError(
                f"{folder} holds a model made with {framework!r}, which this code cannot load."
            ) from None
        raise UserError(
            f"{folder} holds a model made with {framework!r}, which takes the package "
            f"{error.name!r}: install it (here: make setup EXTRAS={framework})."
        ) from None
    predict: Predict = module.load(folder)
    return predict
