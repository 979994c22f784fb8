"""The executor: TFX's own, but that it runs no Beam pipeline where it would run in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tensorflow_transform as tft
from absl import logging
from tensorflow_transform import impl_helper
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx import types
from tfx.components.transform import executor, executor_utils
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import io_utils
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.tfxio.tf_example_record import TFExampleRecord

from custom_components.beam import runs_here
from custom_components.example_gen.write import SplitWriter
from custom_components.resolvers import oldest_first, span_of
from custom_components.transform import cache
from custom_components.transform.analyze import Unsupported
from custom_components.transform.graph import FINGERPRINT, Preprocessing
from custom_components.transform.rows import batches, source
from models.manifest import EXAMPLE_ROW_FILE, plain
from pipeline import progress

Artifacts = dict[str, list[types.Artifact]]
_ROWS_TO_CHOOSE_FROM = 100
"""Of the first so many rows the one that lacks least is kept as an example."""


class Executor(executor.Executor):
    """Analyses and transforms examples, a batch of rows at a time."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Fills `transform_graph` and `transformed_examples`, as TFX's executor does.

        What only a Beam pipeline can do, TFX's executor does: a distributed runner, statistics,
        other examples than gzipped TFRecords of tf.Examples, analyzers that are neither combiners
        nor vocabularies by frequency.

        An `analyzer_cache` saves the analysis of the spans that are in it, and what was learned
        from each span of this window goes to `updated_analyzer_cache`: in a form of this executor,
        which TFX's passes over, as this one does TFX's. A `base_transform_graph` that the same
        preprocessing made is taken over as it is, and nothing is analysed; TFX's executor knows no
        such input, and analyses.
        """
        input_dict = input_dict | {keys.EXAMPLES_KEY: oldest_first(input_dict[keys.EXAMPLES_KEY])}
        preprocessing = Preprocessing.of(input_dict, exec_properties)
        try:
            self._check(input_dict, exec_properties)
            _run_here(preprocessing, input_dict, output_dict, exec_properties)
        except Unsupported as reason:
            logging.info("Transform goes through a Beam pipeline: %s", reason)
            super().Do(input_dict, output_dict, exec_properties)
        _describe(preprocessing, input_dict, output_dict)

    def _check(self, input_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Raises Unsupported if something is asked for that only the Beam pipeline does."""
        if not runs_here(self._beam_pipeline_args):
            raise Unsupported("it is configured to run elsewhere")
        asked_for = {
            "statistics": not exec_properties.get(keys.DISABLE_STATISTICS_KEY),
            "TensorFlow 1": exec_properties.get(keys.FORCE_TF_COMPAT_V1_KEY),
            "save options": exec_properties.get(keys.SAVE_OPTIONS_KEY),
            "a module file": not exec_properties.get(keys.PREPROCESSING_FN_KEY),
        }
        for name, is_asked_for in asked_for.items():
            if is_asked_for:
                raise Unsupported(f"{name} asked for")
        for artifact in input_dict[keys.EXAMPLES_KEY]:
            payload = examples_utils.get_payload_format(artifact)
            if payload != example_gen_pb2.FORMAT_TF_EXAMPLE:
                raise Unsupported("the examples are not tf.Examples")
            if examples_utils.get_file_format(artifact) not in (None, "", "tfrecords_gzip"):
                raise Unsupported("the examples are not in gzipped TFRecords")


def _describe(preprocessing: Preprocessing, input_dict: Artifacts, output_dict: Artifacts) -> None:
    """Says what the outputs were made from: the span of each, and a raw row for those who ask."""
    examples = input_dict[keys.EXAMPLES_KEY]
    for of, made in zip(examples, output_dict.get(keys.TRANSFORMED_EXAMPLES_KEY, []), strict=False):
        made.set_int_custom_property("span", span_of(of))
    for cached in output_dict.get(keys.UPDATED_ANALYZER_CACHE_KEY, []):
        cached.set_int_custom_property("span", span_of(examples[-1]))
    split = artifact_utils.decode_split_names(examples[-1].split_names)[0]
    rows = source(examples[-1], split, preprocessing.schema)
    some = next(batches(rows)).slice(0, _ROWS_TO_CHOOSE_FROM).to_pylist()
    fullest = min(some, key=lambda row: list(row.values()).count(None))
    row = {name: (values or [None])[0] for name, values in fullest.items()}
    graph = artifact_utils.get_single_instance(output_dict[keys.TRANSFORM_GRAPH_KEY])
    graph.set_string_custom_property(FINGERPRINT, preprocessing.fingerprint)
    fileio.makedirs(graph.uri)
    with fileio.open(f"{graph.uri}/{EXAMPLE_ROW_FILE}", "w") as file:
        file.write(json.dumps(plain(row)))


def _run_here(
    preprocessing: Preprocessing,
    input_dict: Artifacts,
    output_dict: Artifacts,
    exec_properties: dict[str, Any],
) -> None:
    examples = input_dict[keys.EXAMPLES_KEY]
    executor_utils.MatchNumberOfTransformedExamplesArtifacts(input_dict, output_dict)
    transformed = output_dict.get(keys.TRANSFORMED_EXAMPLES_KEY)
    splits = executor_utils.ResolveSplitsConfig(
        exec_properties.get(keys.SPLITS_CONFIG_KEY), examples
    )
    executor_utils.SetSplitNames(splits.transform, transformed)
    folder = artifact_utils.get_single_uri(output_dict[keys.TRANSFORM_GRAPH_KEY])
    if base := preprocessing.base(input_dict):
        io_utils.copy_dir(base, folder)
        accumulated = preprocessing.cached(input_dict, preprocessing.datasets(examples))
    else:
        accumulated = preprocessing.write(input_dict, folder)
    for updated in output_dict.get(keys.UPDATED_ANALYZER_CACHE_KEY, []):
        cache.write(updated.uri, accumulated, preprocessing.fingerprint)
    if transformed:
        sources = [
            source(artifact, split, preprocessing.schema)
            for split in splits.transform
            for artifact in examples
        ]
        transform(
            f"{folder}/{tft.TFTransformOutput.TRANSFORM_FN_DIR}",
            metadata_io.read_metadata(f"{folder}/{tft.TFTransformOutput.TRANSFORMED_METADATA_DIR}"),
            dict(zip(executor_utils.GetSplitPaths(transformed), sources, strict=True)),
        )


def transform(
    saved_model: str,
    metadata: dataset_metadata.DatasetMetadata,
    sources: Mapping[str, TFExampleRecord],
) -> None:
    """Writes the rows of `sources` as the SavedModel transforms them, to the files that they name.

    The name of a file is cut in the way of Beam, which writes many: …-00000-of-00001.gz.
    """
    model = SavedModelLoader(saved_model)
    inputs = next(iter(sources.values())).TensorAdapter()
    model.finalize(inputs.TypeSpecs(), model.structured_outputs)
    converter = impl_helper.make_tensor_to_arrow_converter(metadata.schema)
    encoder = RecordBatchToExamplesEncoder(metadata.schema)
    done = 0
    for prefix, rows in sources.items():
        writer = SplitWriter(f"{prefix}-00000-of-00001.gz")
        for batch in batches(rows):
            outputs = model.apply_transform_model(inputs.ToBatchTensors(batch))
            writer.write(encoder.encode(converter.convert(outputs)))
            done += len(batch)
            progress.report(done, None, "rows")
        writer.close()
