"""The rows that Transform reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import io_utils
from tfx_bsl.public.tfxio import RecordBatchesOptions
from tfx_bsl.tfxio.tf_example_record import TFExampleRecord

_BATCH_ROWS = 8192


def read_schema(schemas: list[Artifact]) -> schema_pb2.Schema:
    """What the one artifact has."""
    file = io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(schemas))
    return io_utils.SchemaReader().read(file)


def source(examples: Artifact, split: str, schema: schema_pb2.Schema) -> TFExampleRecord:
    """A split of a span, as the schema says that its rows are to be read."""
    return TFExampleRecord(
        file_pattern=io_utils.all_files_pattern(artifact_utils.get_split_uri([examples], split)),
        telemetry_descriptors=["Transform"],
        schema=schema,
    )


def batches(rows: TFExampleRecord) -> Iterator[pa.RecordBatch]:
    """The rows from the beginning, in their order."""
    options = RecordBatchesOptions(_BATCH_ROWS, drop_final_batch=False, num_epochs=1, shuffle=False)
    found: Iterable[pa.RecordBatch] = rows.RecordBatches(options)
    yield from found
