"""Passes over rows, each of which has accumulated what several analyzers want of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_transform import impl_helper
from tensorflow_transform.graph_context import TFGraphContext
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

PreprocessingFn: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Lazy: TypeAlias = Callable[[], Any]
"""A value that is computed when it is asked for, once."""
Outputs: TypeAlias = Mapping[str, Any]
"""A batch of what the preprocessing gives: arrays by name."""
Datasets: TypeAlias = Mapping[str, Callable[[], Iterable[pa.RecordBatch]]]
"""What gives the rows of a data set from the beginning each time it is called, by its name."""
Accumulated: TypeAlias = Mapping[str, Mapping[bytes, bytes]]
"""The accumulators of data sets by these' names: TensorFlow Transform's cache keys, and bytes."""


@dataclass(frozen=True)
class Given:
    """What an analysis works with."""

    preprocessing_fn: PreprocessingFn
    datasets: Datasets
    accumulated: Accumulated
    adapter: TensorAdapter
    specs: Mapping[str, tf.TypeSpec]
    folder: str
    fingerprint: Any

    def batches(self, names: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows of some data sets."""
        for name in names:
            yield from self.datasets[name]()


class Part:
    """The preprocessing as far as it is known once some results are bound to it."""

    def __init__(self, given: Given, names: Mapping[str, str], bindings: Iterable[Lazy]) -> None:
        self._given = given
        self._names = names
        self._bindings = bindings

    @functools.cached_property
    def _known(self) -> dict[str, tf.Tensor]:
        return dict(binding() for binding in self._bindings)

    @functools.cached_property
    def _traced(self) -> tuple[Any, TFGraphContext]:
        """The function, and what keeps alive what is traced."""
        context = TFGraphContext(
            module_to_export=tf.Module(),
            temp_dir=self._given.folder,
            evaluated_replacements=self._known,
        )
        function = impl_helper.get_traced_transform_fn(
            self._given.preprocessing_fn, self._given.specs, context, self._names
        ).get_concrete_function()
        return function, context

    def outputs(self, datasets: Iterable[str]) -> Iterator[Outputs]:
        """What it gives for the rows of some data sets."""
        function, _ = self._traced
        for batch in self._given.batches(datasets):
            outputs = function(self._given.adapter.ToBatchTensors(batch))
            yield {key: _array(value) for key, value in outputs.items()}

    def write(self) -> str:
        """Writes it as a SavedModel; gives the folder."""
        path = f"{self._given.folder}/saved_model"
        impl_helper.trace_and_write_v2_saved_model(
            path,
            self._given.preprocessing_fn,
            self._given.specs,
            self._given.folder,
            self._given.fingerprint,
            self._known,
            self._names,
            None,
        )
        return path


class Pass:
    """One pass over rows: what a part of the preprocessing gives, and what accumulates it."""

    def __init__(self, part: Part, datasets: Iterable[str]) -> None:
        self._part = part
        self._datasets = datasets
        self._accumulators: list[_Accumulator] = []
        self._is_done = False

    def accumulate(
        self, create: Any, add: Callable[[Any, Outputs], Any], encode: Callable[[Any], Any]
    ) -> Lazy:
        """Has a value accumulated from all batches, when it or another of this pass is needed.

        What it then gives is encoded: always, so that it is the same from a cache.
        """
        accumulator = _Accumulator(create, add, encode)
        self._accumulators.append(accumulator)

        def result() -> Any:
            if not self._is_done:
                self._run()
            return accumulator.value

        return result

    def _run(self) -> None:
        self._is_done = True
        for batch in self._part.outputs(self._datasets):
            for accumulator in self._accumulators:
                accumulator.value = accumulator.add(accumulator.value, batch)
        for accumulator in self._accumulators:
            accumulator.value = accumulator.encode(accumulator.value)


@dataclass
class _Accumulator:
    value: Any
    add: Callable[[Any, Outputs], Any]
    encode: Callable[[Any], Any]


@dataclass(frozen=True)
class Columns:
    """Some outputs of a pass, in the order in which an accumulator takes them."""

    of: Pass
    keys: str | tuple[str, ...]

    def __call__(self, batch: Outputs) -> Any:
        """These columns of a batch."""
        if isinstance(self.keys, tuple):
            return tuple(batch[key] for key in self.keys)
        return batch[self.keys]


def _array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, tf.Tensor) else value
