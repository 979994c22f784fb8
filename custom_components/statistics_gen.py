"""StatisticsGen without Beam: the statistics of TFX's own, computed in one pass in this process.

Most of what TFX's StatisticsGen takes on one machine is building a Beam pipeline and passing rows
through it. TFDV's generators, which do the counting, need neither: here each batch of rows is
decoded to Arrow and given to them directly. In memory are a batch or two, TFDV's sketches of the
numbers, and a count for each distinct value of a text column.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_data_validation.statistics.generators import (
    stats_generator,
    top_k_uniques_stats_generator,
)
from tensorflow_data_validation.utils import top_k_uniques_stats_util as top_k_util
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.components.statistics_gen import component, executor
from tfx.components.util import examples_utils
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.utils import io_utils, json_utils, stats_utils
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder
from tfx_bsl.statistics import merge_util

from custom_components.beam import runs_here
from pipeline import progress
from pipeline.errors import UserError

BATCH_ROWS = 8192
"""Rows that are decoded at once, unless the options name a desired_batch_size."""

# Options that change the generators' own arithmetic, which is TFDV's in either case. Any other one
# that is set makes the executor go TFX's way.
_OWN_OPTIONS = frozenset(
    {
        "schema",
        "num_top_values",
        "frequency_threshold",
        "weighted_frequency_threshold",  # without effect, as weights are not among these
        "num_rank_histogram_buckets",
        "num_values_histogram_buckets",
        "num_histogram_buckets",
        "num_quantiles_histogram_buckets",
        "epsilon",
        "desired_batch_size",
        "use_sketch_based_topk_uniques",
    }
)

Artifacts = dict[str, list[types.Artifact]]
FeaturePath = tuple[str, ...]
Counts = dict[FeaturePath, Counter[Any]]


class Executor(executor.Executor):
    """Computes statistics here where that gives what TFX's executor gives, else calls that one."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the statistics of each split; inputs, outputs and properties as TFX documents.

        Raises:
            UserError: If a split has no files.
            ValueError: If no split is left, or a schema is given twice.
        """
        examples = artifact_utils.get_single_instance(input_dict[specs.EXAMPLES_KEY])
        options = _options(input_dict, exec_properties)
        if self._needs_beam(examples, options, exec_properties):
            super().Do(input_dict, output_dict, exec_properties)
            return
        self._log_startup(input_dict, output_dict, exec_properties)
        splits = _splits(examples, exec_properties)
        statistics = artifact_utils.get_single_instance(output_dict[specs.STATISTICS_KEY])
        _describe(statistics, examples, splits)
        for split in splits:
            (pattern,) = examples_utils.get_split_file_patterns([examples], split)
            files = sorted(fileio.glob(pattern))
            if not files:
                raise UserError(f"the split {split!r} has no files: run ExampleGen again.")
            found = compute(files, options)
            folder = artifact_utils.get_split_uri([statistics], split)
            fileio.makedirs(folder)
            with fileio.open(f"{folder}/{executor.DEFAULT_FILE_NAME}", "wb") as file:
                file.write(found.SerializeToString())

    def _needs_beam(
        self, examples: types.Artifact, options: tfdv.StatsOptions, properties: dict[str, Any]
    ) -> bool:
        """Whether TFX's executor alone does exactly, or where it was told to, what is asked."""
        return bool(
            self._make_beam_pipeline_fn is not None
            or not runs_here(self._beam_pipeline_args)
            or properties.get(specs.SHARDED_STATS_OUTPUT_KEY)
            or json_utils.loads(properties.get(specs.SAMPLE_RATE_BY_SPLIT_KEY) or "null")
            or examples.has_custom_property(examples_utils.CUSTOM_SPLIT_PATTERN_PROPERTY_NAME)
            or examples_utils.get_payload_format(examples) != example_gen_pb2.FORMAT_TF_EXAMPLE
            or _changed(options) - _OWN_OPTIONS
        )


class StatisticsGen(component.StatisticsGen):
    """TFX's StatisticsGen, with the executor above; takes and gives the same."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def compute(
    files: Iterable[str],
    options: tfdv.StatsOptions | None = None,
    *,
    batch_rows: int = BATCH_ROWS,
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """The statistics of all rows of `files`, TFRecords of tf.Example, gzipped if they end in .gz.

    Counts, sums and the values of text columns are exact, as in TFX's StatisticsGen. Quantiles and
    histograms are TFDV's approximation (`options.epsilon`), which depends on the batches.
    """
    options = options or tfdv.StatsOptions()
    generators = _generators(options)
    for generator in generators:
        generator.setup()
    states = [generator.create_accumulator() for generator in generators]
    rows = 0
    for batch in _batches(files, options.desired_batch_size or batch_rows):
        states = [
            generator.add_input(state, batch)
            for generator, state in zip(generators, states, strict=True)
        ]
        rows += batch.num_rows
        progress.report(rows, None, "rows")
    if not rows:  # as TFDV's Beam pipeline marks it
        empty = statistics_pb2.DatasetFeatureStatistics()
        return merge_util.merge_dataset_feature_statistics([empty])
    return stats_impl.extract_statistics_output(states, generators)


def _batches(files: Iterable[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    decoder = ExamplesToRecordBatchDecoder()
    for file in files:
        compression = "GZIP" if file.endswith(".gz") else ""
        dataset = tf.data.TFRecordDataset(file, compression).batch(batch_rows).prefetch(1)
        for examples in dataset.as_numpy_iterator():
            yield decoder.DecodeBatch(list(examples))


def _generators(options: tfdv.StatsOptions) -> list[stats_generator.CombinerStatsGenerator]:
    """TFDV's generators; the one of these that needs Beam is replaced by one that does not."""
    return [
        TextCounts(options)
        if isinstance(generator, top_k_uniques_stats_generator.TopKUniquesStatsGenerator)
        else generator
        for generator in stats_impl.get_generators(options)
    ]


class TextCounts(stats_generator.CombinerStatsGenerator):
    """Exact counts of distinct and of most frequent values, as TopKUniquesStatsGenerator's.

    TFDV's own in-memory counterpart estimates both by sketches.
    """

    def __init__(self, options: tfdv.StatsOptions) -> None:
        """Takes the limits from the options, which name no weights."""
        super().__init__(type(self).__name__, options.schema)
        self._options = options
        # What TFDV's transform computes with, so that both count the same columns.
        self._own = top_k_uniques_stats_generator._ComputeTopKUniquesStats(
            schema=options.schema,
            example_weight_map=options.example_weight_map,
            num_top_values=options.num_top_values,
            frequency_threshold=options.frequency_threshold,
            weighted_frequency_threshold=options.weighted_frequency_threshold,
            num_rank_histogram_buckets=options.num_rank_histogram_buckets,
        )

    def create_accumulator(self) -> Counts:
        """No values yet."""
        return defaultdict(Counter)

    def add_input(self, accumulator: Counts, input_record_batch: pa.RecordBatch) -> Counts:
        """Counts the values of a batch."""
        counted = top_k_uniques_stats_generator._to_topk_tuples(
            (None, input_record_batch),
            bytes_features=self._own._bytes_features,
            categorical_numeric_types=self._own._categorical_numeric_types,
            example_weight_map=self._options.example_weight_map,
        )
        for (_, path, value), (count, _) in counted:
            accumulator[path][value] += count
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Counts]) -> Counts:
        """The counts added up."""
        merged = self.create_accumulator()
        for accumulator in accumulators:
            for path, counts in accumulator.items():
                merged[path].update(counts)
        return merged

    def extract_output(self, accumulator: Counts) -> statistics_pb2.DatasetFeatureStatistics:
        """The most frequent values, larger ones first among equals, and how many there are."""
        options = self._options
        kept = max(options.num_top_values, options.num_rank_histogram_buckets)
        result = statistics_pb2.DatasetFeatureStatistics()
        for path, counts in accumulator.items():
            top = heapq.nlargest(kept, counts.items(), key=lambda item: (item[1], item[0]))
            dataset = top_k_util.make_dataset_feature_stats_proto_topk_single(
                feature_path_tuple=path,
                value_count_list=[top_k_util.FeatureValueCount(*item) for item in top],
                is_weighted_stats=False,
                num_top_values=options.num_top_values,
                frequency_threshold=options.frequency_threshold,
                num_rank_histogram_buckets=options.num_rank_histogram_buckets,
            )
            (feature,) = dataset.features
            feature.string_stats.unique = len(counts)
            result.features.append(feature)
        return result


def _splits(examples: types.Artifact, properties: dict[str, Any]) -> list[str]:
    """The splits that are not excluded."""
    excluded = json_utils.loads(properties.get(specs.EXCLUDE_SPLITS_KEY) or "null") or []
    if not isinstance(excluded, list):
        raise ValueError(f"exclude_splits must be a list of splits, not {excluded!r}")
    splits = artifact_utils.decode_split_names(examples.split_names)
    if not set(splits) - set(excluded):
        raise ValueError(f"exclude_splits leaves none of the splits {', '.join(splits)}")
    return [split for split in splits if split not in excluded]


def _options(inputs: Artifacts, properties: dict[str, Any]) -> tfdv.StatsOptions:
    """The options of the component, with the schema of its input if it has one."""
    text = properties.get(specs.STATS_OPTIONS_JSON_KEY)
    options = tfdv.StatsOptions.from_json(text) if text else tfdv.StatsOptions()
    if schemas := inputs.get(specs.SCHEMA_KEY):
        if options.schema:
            raise ValueError("stats_options has a schema, so the component may take no other one")
        folder = artifact_utils.get_single_uri(schemas)
        options.schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(folder))
    return options


def _changed(options: tfdv.StatsOptions) -> set[str]:
    """Names of the options that are not at their defaults."""
    defaults = vars(tfdv.StatsOptions())
    return {key.lstrip("_") for key, value in vars(options).items() if value != defaults.get(key)}


def _describe(statistics: types.Artifact, examples: types.Artifact, splits: list[str]) -> None:
    """Gives the artifact the properties that TFX's executor gives it."""
    statistics.split_names = artifact_utils.encode_split_names(splits)
    statistics.span = examples.span
    statistics.set_string_custom_property(
        executor.STATS_DASHBOARD_LINK, stats_utils.generate_stats_dashboard_link(statistics)
    )
    statistics.set_json_value_custom_property(
        executor.SAMPLE_RATE_BY_SPLIT_PROPERTY_NAME, json_utils.dumps(dict.fromkeys(splits, 1.0))
    )
