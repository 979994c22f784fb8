"""The executor: TFX's own, but that it runs no Beam pipeline where it would run in this process."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import tensorflow_transform as tft
from absl import logging
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import impl_helper
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx import types
from tfx.components.transform import executor, executor_utils, labels
from tfx.components.util import examples_utils, udf_utils
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import io_utils
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.public.tfxio import RecordBatchesOptions
from tfx_bsl.tfxio.tf_example_record import TFExampleRecord

from custom_components.beam import runs_here
from custom_components.example_gen.write import SplitWriter
from custom_components.resolvers import oldest_first, span_of
from custom_components.transform.analyze import Analyzed, Unsupported, analyze
from models.manifest import EXAMPLE_ROW_FILE, plain
from pipeline import progress

Artifacts = dict[str, list[types.Artifact]]

_BATCH_ROWS = 8192


class Executor(executor.Executor):
    """Analyses and transforms examples, a batch of rows at a time."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Fills `transform_graph` and `transformed_examples`, as TFX's executor does.

        What only a Beam pipeline can do, TFX's executor does: a distributed runner, statistics, an
        analyzer cache, other examples than gzipped TFRecords of tf.Examples, analyzers that are
        neither combiners nor vocabularies by frequency.
        """
        examples = oldest_first(input_dict[keys.EXAMPLES_KEY])
        input_dict = input_dict | {keys.EXAMPLES_KEY: examples}
        try:
            self._check(input_dict, output_dict, exec_properties)
            _run_here(input_dict, output_dict, exec_properties)
        except Unsupported as reason:
            logging.info("Transform goes through a Beam pipeline: %s", reason)
            super().Do(input_dict, output_dict, exec_properties)
        _describe(input_dict, output_dict)

    def _check(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Raises Unsupported if something is asked for that only the Beam pipeline does."""
        if not runs_here(self._beam_pipeline_args):
            raise Unsupported("it is configured to run elsewhere")
        asked_for = {
            "statistics": not exec_properties.get(keys.DISABLE_STATISTICS_KEY),
            "an analyzer cache": keys.UPDATED_ANALYZER_CACHE_KEY in output_dict,
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


def _describe(input_dict: Artifacts, output_dict: Artifacts) -> None:
    """Says what the outputs were made from: the span of each, and a raw row for those who ask."""
    examples = input_dict[keys.EXAMPLES_KEY]
    for source, made in zip(
        examples, output_dict.get(keys.TRANSFORMED_EXAMPLES_KEY, []), strict=False
    ):
        made.set_int_custom_property("span", span_of(source))
    schema_file = io_utils.get_only_uri_in_dir(
        artifact_utils.get_single_uri(input_dict[keys.SCHEMA_KEY])
    )
    schema = io_utils.SchemaReader().read(schema_file)
    split = artifact_utils.decode_split_names(examples[-1].split_names)[0]
    batch = next(_batches(_sources(examples[-1:], split, schema)[0])).slice(0, 1).to_pylist()
    row = {name: (values or [None])[0] for name, values in batch[0].items()}
    folder = artifact_utils.get_single_uri(output_dict[keys.TRANSFORM_GRAPH_KEY])
    fileio.makedirs(folder)
    with fileio.open(f"{folder}/{EXAMPLE_ROW_FILE}", "w") as file:
        file.write(json.dumps(plain(row)))


def _run_here(
    input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
) -> None:
    examples = input_dict[keys.EXAMPLES_KEY]
    executor_utils.MatchNumberOfTransformedExamplesArtifacts(input_dict, output_dict)
    transformed = output_dict.get(keys.TRANSFORMED_EXAMPLES_KEY)
    splits = executor_utils.ResolveSplitsConfig(
        exec_properties.get(keys.SPLITS_CONFIG_KEY), examples
    )
    executor_utils.SetSplitNames(splits.transform, transformed)
    preprocessing_fn = executor_utils.MaybeBindCustomConfig(
        {labels.CUSTOM_CONFIG: exec_properties.get(keys.CUSTOM_CONFIG_KEY)},
        udf_utils.get_fn(exec_properties, keys.PREPROCESSING_FN_KEY),
    )
    schema_file = io_utils.get_only_uri_in_dir(
        artifact_utils.get_single_uri(input_dict[keys.SCHEMA_KEY])
    )
    schema = io_utils.SchemaReader().read(schema_file)
    folder = artifact_utils.get_single_uri(output_dict[keys.TRANSFORM_GRAPH_KEY])

    to_analyze = [
        source for split in splits.analyze for source in _sources(examples, split, schema)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        analyzed = analyze(
            preprocessing_fn,
            lambda: (batch for source in to_analyze for batch in _batches(source)),
            to_analyze[0].TensorAdapter(),
            folder=scratch,
        )
        metadata_io.write_metadata(
            dataset_metadata.DatasetMetadata(schema),
            f"{folder}/{tft.TFTransformOutput.RAW_METADATA_DIR}",
        )
        metadata = _write_graph(analyzed, folder)
    to_transform = [
        source for split in splits.transform for source in _sources(examples, split, schema)
    ]
    if transformed:
        transform(
            f"{folder}/{tft.TFTransformOutput.TRANSFORM_FN_DIR}",
            metadata,
            dict(zip(executor_utils.GetSplitPaths(transformed), to_transform, strict=True)),
        )


def _sources(
    examples: Sequence[types.Artifact], split: str, schema: schema_pb2.Schema
) -> list[TFExampleRecord]:
    return [
        TFExampleRecord(
            file_pattern=io_utils.all_files_pattern(uri),
            telemetry_descriptors=["Transform"],
            schema=schema,
        )
        for uri in artifact_utils.get_split_uris(examples, split)
    ]


def _write_graph(analyzed: Analyzed, folder: str) -> dataset_metadata.DatasetMetadata:
    """Writes what `tft.TFTransformOutput` reads; gives the transformed columns' metadata."""
    metadata = metadata_io.read_metadata(f"{analyzed.saved_model}/{impl_helper.METADATA_DIR_NAME}")
    transformed = f"{folder}/{tft.TFTransformOutput.TRANSFORMED_METADATA_DIR}"
    metadata_io.write_metadata(metadata, transformed)
    if analyzed.assets:
        with fileio.open(f"{transformed}/{tft.TFTransformOutput.ASSET_MAP}", "w") as file:
            file.write(json.dumps(analyzed.assets))
    io_utils.copy_dir(
        analyzed.saved_model,
        f"{folder}/{tft.TFTransformOutput.TRANSFORM_FN_DIR}",
        deny_regex_patterns=[impl_helper.METADATA_DIR_NAME],
    )
    return metadata


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
    for prefix, source in sources.items():
        writer = SplitWriter(f"{prefix}-00000-of-00001.gz")
        for batch in _batches(source):
            outputs = model.apply_transform_model(inputs.ToBatchTensors(batch))
            writer.write(encoder.encode(converter.convert(outputs)))
            done += len(batch)
            progress.report(done, None, "rows")
        writer.close()


def _batches(source: TFExampleRecord) -> Iterator[pa.RecordBatch]:
    options = RecordBatchesOptions(_BATCH_ROWS, drop_final_batch=False, num_epochs=1, shuffle=False)
    batches: Iterable[pa.RecordBatch] = source.RecordBatches(options)
    yield from batches
