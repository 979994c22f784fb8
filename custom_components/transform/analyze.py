"""What TensorFlow Transform learns from data, learned by passes over it without a Beam pipeline.

TensorFlow Transform turns a preprocessing_fn into a graph of operations: read, apply the part of
preprocessing that is known, accumulate, merge, bind the result, write a SavedModel. Its own visitor
makes a Beam transform of each operation; the one here makes a value that is computed when it is
asked for, by TensorFlow Transform's own combiners. All that accumulates over the output of one
part of the preprocessing does so in one pass, in the memory of one batch and the accumulators.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_transform import analyzer_nodes, annotators, graph_tools, impl_helper, nodes
from tensorflow_transform.analyzers import get_empy_vocabulary_dummy_value
from tensorflow_transform.beam import analysis_graph_builder, beam_nodes
from tensorflow_transform.graph_context import TFGraphContext
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

PreprocessingFn: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Lazy: TypeAlias = Callable[[], Any]
"""A value that is computed when it is asked for, once."""
Outputs: TypeAlias = Mapping[str, Any]
"""A batch of what the preprocessing gives: arrays by name."""


class Unsupported(Exception):
    """An operation that only TensorFlow Transform's own Beam pipeline can do."""


@dataclass(frozen=True)
class Analyzed:
    """What was learned.

    Attributes:
      saved_model: folder of the preprocessing as a SavedModel, with the transformed columns' schema
        beside it.
      assets: file name of each vocabulary by its key.
    """

    saved_model: str
    assets: Mapping[str, str]


def analyze(
    preprocessing_fn: PreprocessingFn,
    batches: Callable[[], Iterable[pa.RecordBatch]],
    adapter: TensorAdapter,
    *,
    folder: str,
) -> Analyzed:
    """Learns from the rows what `preprocessing_fn` wants to know, and writes it as a SavedModel.

    Args:
      preprocessing_fn: from tensors by column to tensors by output.
      batches: gives the rows from the beginning each time it is called.
      adapter: turns a batch into the tensors that preprocessing_fn takes.
      folder: for the SavedModels and vocabularies.

    Raises:
      Unsupported: an analyzer needs Beam. No row has been read then.
    """
    specs = adapter.OriginalTypeSpecs()
    graph, inputs, outputs = impl_helper.trace_preprocessing_function(
        preprocessing_fn, specs, use_tf_compat_v1=False, base_temp_dir=folder
    )
    assets = dict(annotators.get_asset_annotations(graph))
    annotators.clear_asset_annotations(graph)
    fingerprint = graph_tools.get_analyzers_fingerprint(graph, inputs)
    given = _Given(preprocessing_fn, batches, adapter, specs, folder, fingerprint)
    future, _, side_effects = analysis_graph_builder.build(graph, inputs, outputs)
    traverser = nodes.Traverser(_Visitor(given))
    everything: _Part = traverser.visit_value_node(future)
    for node in side_effects:
        traverser.visit_value_node(node)
    return Analyzed(everything.write(), assets)


@dataclass(frozen=True)
class _Given:
    """What an analysis works with."""

    preprocessing_fn: PreprocessingFn
    batches: Callable[[], Iterable[pa.RecordBatch]]
    adapter: TensorAdapter
    specs: Mapping[str, tf.TypeSpec]
    folder: str
    fingerprint: Any


class _Part:
    """The preprocessing as far as it is known once some results are bound to it."""

    def __init__(self, given: _Given, names: Mapping[str, str], bindings: Iterable[Lazy]) -> None:
        self._given = given
        self._names = names
        self._bindings = bindings

    @functools.cached_property
    def _known(self) -> dict[str, tf.Tensor]:
        return dict(binding() for binding in self._bindings)

    def outputs(self) -> Iterator[Outputs]:
        """What it gives for the rows."""
        context = TFGraphContext(
            module_to_export=tf.Module(),  # which keeps alive what is traced
            temp_dir=self._given.folder,
            evaluated_replacements=self._known,
        )
        function = impl_helper.get_traced_transform_fn(
            self._given.preprocessing_fn, self._given.specs, context, self._names
        ).get_concrete_function()
        for batch in self._given.batches():
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


class _Pass:
    """One pass over the rows: what a part of the preprocessing gives, and what accumulates it."""

    def __init__(self, part: _Part) -> None:
        self._part = part
        self._accumulators: list[_Accumulator] = []
        self._is_done = False

    def accumulate(
        self, create: Any, add: Callable[[Any, Outputs], Any], compact: Callable[[Any], Any]
    ) -> Lazy:
        """Has a value accumulated from all batches, when it or another of this pass is needed."""
        accumulator = _Accumulator(create, add, compact)
        self._accumulators.append(accumulator)

        def result() -> Any:
            if not self._is_done:
                self._run()
            return accumulator.value

        return result

    def _run(self) -> None:
        self._is_done = True
        for batch in self._part.outputs():
            for accumulator in self._accumulators:
                accumulator.value = accumulator.add(accumulator.value, batch)
        for accumulator in self._accumulators:
            accumulator.value = accumulator.compact(accumulator.value)


@dataclass
class _Accumulator:
    value: Any
    add: Callable[[Any, Outputs], Any]
    compact: Callable[[Any], Any]


@dataclass(frozen=True)
class _Columns:
    """Some outputs of a pass, in the order in which an accumulator takes them."""

    of: _Pass
    keys: str | tuple[str, ...]

    def __call__(self, batch: Outputs) -> Any:
        if isinstance(self.keys, tuple):
            return tuple(batch[key] for key in self.keys)
        return batch[self.keys]


class _Visitor(nodes.Visitor):
    """Makes a lazy value, or a tuple of them, of each operation."""

    def __init__(self, given: _Given) -> None:
        self._given = given

    def validate_value(self, value: Any) -> None:
        """Any value will do."""

    def visit(self, operation: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The values that `operation` gives for those that it takes."""
        make = _OPERATIONS.get(type(operation))
        if make is None:
            raise Unsupported(type(operation).__name__)
        made = make(self, operation, *inputs)
        return made if isinstance(made, tuple) else (made,)

    def rows(self, operation: beam_nodes.ExtractInputForSavedModel) -> None:
        """All rows; there is but one data set."""

    def part(self, operation: beam_nodes.CreateSavedModel, *bindings: Lazy) -> _Part:
        """The preprocessing as far as it is known; the last one is all of it."""
        signature = operation.output_signature
        tensors = all(isinstance(tensor, tf.Tensor) for tensor in signature.values())
        # Only the last one may give composite tensors, and it gives all whatever is named.
        names = {key: tensor.name for key, tensor in signature.items()} if tensors else {}
        return _Part(self._given, names, bindings)

    def apply(self, operation: beam_nodes.ApplySavedModel, part: _Part, rows: None) -> _Pass:
        """What a part of the preprocessing gives for the rows."""
        return _Pass(part)

    def columns(self, operation: beam_nodes.ExtractFromDict, source: Any) -> Any:
        """Some of a pass's outputs, or the one with a key of a packed combiner's results."""
        if isinstance(source, _Pass):
            return _Columns(source, operation.keys)
        return lambda: source()[operation.keys]

    def combine(
        self, operation: analyzer_nodes.CacheableCombineAccumulate, columns: _Columns
    ) -> Lazy:
        """A combiner's accumulator after all rows."""
        combiner = operation.combiner
        return columns.of.accumulate(
            combiner.create_accumulator(),
            lambda value, batch: combiner.add_input(value, columns(batch)),
            combiner.compact,
        )

    def combine_packed(
        self, operation: analyzer_nodes.PackedCombineAccumulate, source: _Pass
    ) -> Lazy:
        """Several combiners' accumulators after all rows, by the combiner's label."""
        values = {
            packed.label: self.combine(packed, _Columns(source, packed.keys))
            for packed in operation.combiners
        }
        return lambda: {label: value() for label, value in values.items()}

    def merge(self, operation: analyzer_nodes.CacheableCombineMerge, accumulated: Lazy) -> Lazy:
        """A combiner's results."""
        return lambda: operation.combiner.extract_output(accumulated())

    def merge_packed(
        self, operation: analyzer_nodes.PackedCombineMerge, keyed: list[tuple[str, Lazy]]
    ) -> Lazy:
        """Several combiners' results by label."""
        accumulated = dict(keyed)
        labels = {packed.keys[0]: packed for packed in operation.combiners}
        return lambda: {
            packed.label: packed.combiner.extract_output(accumulated[key]())
            for key, packed in labels.items()
        }

    def add_key(self, operation: analyzer_nodes.AddKey, value: Lazy) -> list[tuple[str, Lazy]]:
        """A value with a name, one of a list."""
        return [(operation.key, value)]

    def flatten(self, operation: beam_nodes.Flatten, *lists: list[Any]) -> list[Any]:
        """Lists as one."""
        return [value for values in lists for value in values]

    def results(
        self, operation: analyzer_nodes.ExtractCombineMergeOutputs, results: Lazy
    ) -> tuple[Lazy, ...]:
        """Each of a combiner's results by itself."""
        return tuple(
            functools.partial(lambda place: results()[place], place)
            for place in range(operation.num_outputs)
        )

    def count(self, operation: analyzer_nodes.VocabularyAccumulate, columns: _Columns) -> Lazy:
        """How often each value occurs."""
        if operation.vocab_ordering_type != _BY_FREQUENCY:
            raise Unsupported("a vocabulary that is not ordered by frequency")

        def add(counter: Counter[Any], batch: Outputs) -> Counter[Any]:
            (values,) = columns(batch)
            counter.update(values.tolist())
            return counter

        return columns.of.accumulate(Counter(), add, lambda counter: counter)

    def merge_vocabulary(self, operation: analyzer_nodes.VocabularyMerge, counter: Lazy) -> Lazy:
        """Pairs of count and value."""
        return lambda: [(count, value) for value, count in counter().items()]

    def prune(self, operation: analyzer_nodes.VocabularyPrune, counts: Lazy) -> Lazy:
        """Those that are frequent enough, or the most frequent ones, as text."""
        if operation.key_fn or operation.informativeness_threshold > float("-inf"):
            raise Unsupported("a vocabulary that is pruned by more than frequency")

        @functools.cache
        def pruned() -> list[tuple[int, bytes]]:
            enough = operation.frequency_threshold or 0
            frequent = [
                (count, value if isinstance(value, bytes) else str(value).encode())
                for count, value in counts()
                if count >= enough
            ]
            if operation.top_k is not None:
                frequent = sorted(frequent, reverse=True)[: operation.top_k]
                frequent = frequent or [get_empy_vocabulary_dummy_value(operation.input_dtype)]
            return frequent

        return pruned

    def vocabulary_size(self, operation: analyzer_nodes.VocabularyCount, counts: Lazy) -> Lazy:
        """How many values a vocabulary has; an empty one is written with a place holder."""
        return lambda: np.int64(max(len(counts()), 1))

    def write_vocabulary(
        self, operation: analyzer_nodes.VocabularyOrderAndWrite, counts: Lazy, *reserved: Lazy
    ) -> Lazy:
        """The file with the values, most frequent first."""
        if reserved or operation.fingerprint_shuffle or operation.file_format != "text":
            raise Unsupported("a vocabulary with reserved tokens, shuffled, or not as text")

        @functools.cache
        def write() -> np.ndarray:
            path = str(PurePath(self._given.folder) / operation.vocab_filename)
            ordered = sorted(counts(), reverse=True)
            ordered = ordered or [get_empy_vocabulary_dummy_value(operation.input_dtype)]
            with tf.io.gfile.GFile(path, "wb") as file:
                for count, value in ordered:
                    line = b"%d %s" % (count, value) if operation.store_frequency else value
                    file.write(line + b"\n")
            return np.array(path)

        return write

    def bind(self, operation: beam_nodes.CreateTensorBinding, value: Lazy) -> Lazy:
        """The tensor's name in the graph, and the constant to put in its place."""
        dtype = tf.dtypes.as_dtype(operation.dtype_enum)
        return lambda: (operation.tensor_name, tf.constant(value(), dtype))


_BY_FREQUENCY = 1
_OPERATIONS: dict[type, Callable[..., Any]] = {
    beam_nodes.CreateTensorBinding: _Visitor.bind,
    beam_nodes.CreateSavedModel: _Visitor.part,
    beam_nodes.ExtractInputForSavedModel: _Visitor.rows,
    beam_nodes.ApplySavedModel: _Visitor.apply,
    beam_nodes.ExtractFromDict: _Visitor.columns,
    beam_nodes.Flatten: _Visitor.flatten,
    analyzer_nodes.AddKey: _Visitor.add_key,
    analyzer_nodes.CacheableCombineAccumulate: _Visitor.combine,
    analyzer_nodes.CacheableCombineMerge: _Visitor.merge,
    analyzer_nodes.PackedCombineAccumulate: _Visitor.combine_packed,
    analyzer_nodes.PackedCombineMerge: _Visitor.merge_packed,
    analyzer_nodes.ExtractCombineMergeOutputs: _Visitor.results,
    analyzer_nodes.ExtractPackedCombineMergeOutputs: _Visitor.results,
    analyzer_nodes.VocabularyAccumulate: _Visitor.count,
    analyzer_nodes.VocabularyCount: _Visitor.vocabulary_size,
    analyzer_nodes.VocabularyMerge: _Visitor.merge_vocabulary,
    analyzer_nodes.VocabularyPrune: _Visitor.prune,
    analyzer_nodes.VocabularyOrderAndWrite: _Visitor.write_vocabulary,
}


def _array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, tf.Tensor) else value
