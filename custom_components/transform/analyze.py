"""What TensorFlow Transform learns from data, learned by passes over it without a Beam pipeline.

TensorFlow Transform turns a preprocessing_fn into a graph of operations: read, apply the part of
preprocessing that is known, accumulate, merge, bind the result, write a SavedModel. Its own visitor
makes a Beam transform of each operation; the one here makes a value that is computed when it is
asked for, by TensorFlow Transform's own combiners. All that accumulates over the output of one
part of the preprocessing does so in one pass, in the memory of one batch and the accumulators.
Each data set has accumulators of its own, which are merged in the order of their names: those that
were kept from an earlier analysis take the place of a pass, and the result is the same to the bit.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow_transform import analyzer_nodes, annotators, graph_tools, impl_helper, nodes
from tensorflow_transform.analyzers import get_empy_vocabulary_dummy_value
from tensorflow_transform.beam import analysis_graph_builder, analyzer_cache, beam_nodes
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

from custom_components.transform.accumulators import CounterCoder, coder_of
from custom_components.transform.passes import (
    Accumulated,
    Columns,
    Datasets,
    Given,
    Lazy,
    Outputs,
    Part,
    Pass,
    PreprocessingFn,
)

Some: TypeAlias = Lazy | list[Lazy]
"""One accumulator, of all data sets, or a list with one of each; encoded."""


class Unsupported(Exception):
    """An operation that only TensorFlow Transform's own Beam pipeline can do."""


@dataclass(frozen=True)
class Analyzed:
    """What was learned.

    Attributes:
      saved_model: folder of the preprocessing as a SavedModel, with the transformed columns' schema
        beside it.
      assets: file name of each vocabulary by its key.
      accumulated: what to give the next analysis of some of the same data sets.
    """

    saved_model: str
    assets: Mapping[str, str]
    accumulated: Accumulated


def analyze(
    preprocessing_fn: PreprocessingFn,
    datasets: Datasets,
    adapter: TensorAdapter,
    *,
    folder: str,
    accumulated: Accumulated,
) -> Analyzed:
    """Learns from the rows what `preprocessing_fn` wants to know, and writes it as a SavedModel.

    Args:
      preprocessing_fn: from tensors by column to tensors by output.
      datasets: the rows, by names of ASCII letters, digits and hyphens.
      adapter: turns a batch into the tensors that preprocessing_fn takes.
      folder: for the SavedModels and vocabularies.
      accumulated: of the same preprocessing_fn and tensors, from an earlier analysis; what is
        missing is learned from the rows.

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
    given = Given(preprocessing_fn, datasets, accumulated, adapter, specs, folder, fingerprint)
    keys = {name: analyzer_cache.DatasetKey(name) for name in datasets}
    cache = {
        keys[name]: analyzer_cache.DatasetCache(accumulated.get(name, {}), None) for name in keys
    }
    # The last one, side effects, counts what the cache was good for.
    future, fresh, _ = analysis_graph_builder.build(graph, inputs, outputs, keys.values(), cache)
    traverser = nodes.Traverser(_Visitor(given))
    everything: Part = traverser.visit_value_node(future)
    lazy = {
        key.key: {entry: traverser.visit_value_node(node) for entry, node in entries.items()}
        for key, entries in fresh.items()
    }
    saved_model = everything.write()
    kept = {
        name: {**accumulated.get(name, {}), **{k: v() for k, v in lazy.get(name, {}).items()}}
        for name in datasets
    }
    return Analyzed(saved_model, assets, kept)


class _Visitor(nodes.Visitor):
    """Makes a lazy value, or a tuple of them, of each operation."""

    def __init__(self, given: Given) -> None:
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

    def rows(self, operation: beam_nodes.ExtractInputForSavedModel) -> list[str]:
        """The data sets whose rows are meant: one, or all in their order."""
        key = operation.dataset_key
        return sorted(self._given.datasets) if key.is_flattened_dataset_key() else [key.key]

    def part(self, operation: beam_nodes.CreateSavedModel, *bindings: Lazy) -> Part:
        """The preprocessing as far as it is known; the last one is all of it."""
        signature = operation.output_signature
        tensors = all(isinstance(tensor, tf.Tensor) for tensor in signature.values())
        # Only the last one may give composite tensors, and it gives all whatever is named.
        names = {key: tensor.name for key, tensor in signature.items()} if tensors else {}
        return Part(self._given, names, bindings)

    def apply(self, operation: beam_nodes.ApplySavedModel, part: Part, rows: list[str]) -> Pass:
        """What a part of the preprocessing gives for the rows."""
        return Pass(part, rows)

    def columns(self, operation: beam_nodes.ExtractFromDict, source: Any) -> Any:
        """Some of a pass's outputs, or the one with a key of a packed combiner's results."""
        if isinstance(source, Pass):
            return Columns(source, operation.keys)
        return lambda: source()[operation.keys]

    def combine(
        self, operation: analyzer_nodes.CacheableCombineAccumulate, columns: Columns
    ) -> Lazy:
        """A combiner's accumulator after all rows."""
        combiner = operation.combiner
        coder = coder_of(combiner)
        return columns.of.accumulate(
            combiner.create_accumulator(),
            lambda value, batch: combiner.add_input(value, columns(batch)),
            lambda value: coder.encode_cache(combiner.compact(value)),
        )

    def combine_packed(
        self, operation: analyzer_nodes.PackedCombineAccumulate, source: Pass
    ) -> Lazy:
        """Several combiners' accumulators after all rows, by the combiner's label."""
        values = {
            packed.label: self.combine(packed, Columns(source, packed.keys))
            for packed in operation.combiners
        }
        return lambda: {label: value() for label, value in values.items()}

    def merge(self, operation: analyzer_nodes.CacheableCombineMerge, accumulated: Some) -> Lazy:
        """A combiner's results."""
        return lambda: _merged(operation.combiner, _each(accumulated))

    def merge_packed(
        self, operation: analyzer_nodes.PackedCombineMerge, keyed: list[tuple[str, Some]]
    ) -> Lazy:
        """Several combiners' results by label."""
        accumulated = dict(keyed)
        labels = {packed.keys[0]: packed for packed in operation.combiners}
        return lambda: {
            packed.label: _merged(packed.combiner, _each(accumulated[key]))
            for key, packed in labels.items()
        }

    def add_key(self, operation: analyzer_nodes.AddKey, value: Some) -> list[tuple[str, Some]]:
        """A value with a name, one of a list."""
        return [(operation.key, value)]

    def flatten(self, operation: beam_nodes.Flatten, *values: Any) -> list[Any]:
        """Values and lists of them as one list."""
        return [value for some in values for value in _each(some)]

    def to_cache(self, operation: analyzer_nodes.EncodeCache, accumulated: Lazy) -> Lazy:
        """An accumulator for a later analysis."""
        return accumulated

    def from_cache(self, operation: analyzer_nodes.DecodeCache) -> Lazy:
        """An accumulator of an earlier analysis."""
        encoded = self._given.accumulated[operation.dataset_key.key][operation.cache_key]
        return lambda: encoded

    def results(
        self, operation: analyzer_nodes.ExtractCombineMergeOutputs, results: Lazy
    ) -> tuple[Lazy, ...]:
        """Each of a combiner's results by itself."""
        return tuple(
            functools.partial(lambda place: results()[place], place)
            for place in range(operation.num_outputs)
        )

    def count(self, operation: analyzer_nodes.VocabularyAccumulate, columns: Columns) -> Lazy:
        """How often each value occurs."""
        if operation.vocab_ordering_type != _BY_FREQUENCY:
            raise Unsupported("a vocabulary that is not ordered by frequency")

        def add(counter: Counter[Any], batch: Outputs) -> Counter[Any]:
            (values,) = columns(batch)
            counter.update(values.tolist())
            return counter

        return columns.of.accumulate(Counter(), add, CounterCoder().encode_cache)

    def merge_vocabulary(self, operation: analyzer_nodes.VocabularyMerge, counted: Some) -> Lazy:
        """Pairs of count and value."""

        def merged() -> list[tuple[int, Any]]:
            total: Counter[Any] = Counter()
            for counter in _each(counted):
                total.update(CounterCoder().decode_cache(counter()))
            return [(count, value) for value, count in total.items()]

        return merged

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
    analyzer_nodes.EncodeCache: _Visitor.to_cache,
    analyzer_nodes.DecodeCache: _Visitor.from_cache,
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


def _each(some: Some) -> list[Any]:
    return some if isinstance(some, list) else [some]


def _merged(combiner: analyzer_nodes.Combiner, accumulated: Iterable[Lazy]) -> Any:
    """A combiner's results from encoded accumulators, merged as Beam would, one after the other."""
    coder = coder_of(combiner)
    merged = combiner.create_accumulator()
    for encoded in accumulated:
        merged = combiner.merge_accumulators([merged, coder.decode_cache(encoded())])
    return combiner.extract_output(merged)
