"""Tables put through the project's own ingest encoding and preprocessing, as the pipeline does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.public import tfxio

from custom_components.example_gen.encode import encode
from models import training
from models.preprocessing import preprocessing_fn
from pipeline.features_config import FeaturesConfig
from pipeline.train_config import Framework, TrainConfig

_TYPES = {
    schema_pb2.INT: pa.int64(),
    schema_pb2.FLOAT: pa.float32(),
    schema_pb2.BYTES: pa.binary(),
}


@dataclass(frozen=True)
class Transformed:
    """A folder with a transform graph and the transformed examples of one split."""

    folder: Path
    features: FeaturesConfig
    schema: schema_pb2.Schema

    @property
    def graph(self) -> tft.TFTransformOutput:
        return tft.TFTransformOutput(str(self.folder / "transform_graph"))

    @property
    def pattern(self) -> str:
        return str(self.folder / "Split-train" / "*")

    def columns(self) -> dict[str, np.ndarray]:
        """The transformed rows, in the order of the table."""
        files = tf.io.gfile.glob(self.pattern)
        examples = [*tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()]
        parsed = tf.io.parse_example(examples, self.graph.transformed_feature_spec())
        return {name: values.numpy() for name, values in parsed.items()}

    def serve(self, table: pa.Table) -> dict[str, np.ndarray]:
        """What rows become when a model is served: without the columns that no model needs."""
        specs = self.graph.raw_feature_spec()
        specs = {column: specs[column] for column in self.features.inputs}
        parsed = tf.io.parse_example(examples(table, self.schema), specs)
        served = self.graph.transform_features_layer()(parsed)
        return {name: values.numpy() for name, values in served.items()}

    def train(
        self, settings: TrainConfig, folder: Path, framework: Framework = Framework.KERAS
    ) -> Path:
        """Trains a model as the Trainer does; gives the bundle's folder."""
        task = training.Task(
            train_files=[self.pattern],
            transform_graph=str(self.folder / "transform_graph"),
            features=self.features,
            settings=settings,
            model_folder=folder / "model",
            run_folder=folder / "run",
        )
        training.run(framework, task)
        return task.model_folder


def parse_schema(text: str) -> schema_pb2.Schema:
    """A schema as .pbtxt files hold it."""
    return text_format.Parse(text, schema_pb2.Schema())


def examples(table: pa.Table, schema: schema_pb2.Schema) -> list[bytes]:
    """Serialized tf.Examples of the columns of `table` that the schema has."""
    types = {feature.name: _TYPES[feature.type] for feature in schema.feature}
    columns = {
        name: table.column(name).combine_chunks().cast(types[name])
        for name in table.column_names
        if name in types
    }
    return encode(pa.RecordBatch.from_pydict(columns)).to_pylist()


def transform(
    folder: Path,
    table: pa.Table,
    *,
    schema: schema_pb2.Schema | str,
    features: FeaturesConfig,
    split_by: str | None = None,
) -> Transformed:
    """Learns the preprocessing from `table` and applies it to it."""
    if isinstance(schema, str):
        schema = parse_schema(schema)
    config: dict[str, Any] = {"features": features.model_dump_json(), "split_by": split_by}
    source = tfxio.TFExampleBeamRecord("memory", telemetry_descriptors=["test"], schema=schema)
    rows = examples(table, schema)
    with (
        beam.Pipeline(options=PipelineOptions(["--direct_running_mode=in_memory"])) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "temp")),
    ):
        # One element, so that the order is kept.
        batches = pipeline | beam.Create([rows]) | beam.FlatMap(iter) | source.BeamSource()
        dataset = (batches, source.TensorAdapterConfig())
        graph = dataset | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, config))
        graph | tft_beam.WriteTransformFn(str(folder / "transform_graph"))
        transformed, metadata = (dataset, graph) | tft_beam.TransformDataset(
            output_record_batches=True
        )
        (
            transformed
            | beam.FlatMap(
                lambda batch, schema: RecordBatchToExamplesEncoder(schema).encode(batch[0]),
                beam.pvalue.AsSingleton(
                    metadata.deferred_metadata | beam.Map(lambda known: known.schema)
                ),
            )
            | beam.io.WriteToTFRecord(
                str(folder / "Split-train" / "examples"), file_name_suffix=".gz", num_shards=1
            )
        )
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema), str(folder / "transform_graph" / "metadata")
    )
    return Transformed(folder, features, schema)
