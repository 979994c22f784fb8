"""The graph of the preprocessing: analysed, with a cache's help, or taken over from another."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import tensorflow_transform as tft
from absl import logging
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx.components.transform import executor_utils, labels
from tfx.components.util import udf_utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

from custom_components.resolvers import span_of
from custom_components.transform import cache
from custom_components.transform.analyze import Analyzed, analyze
from custom_components.transform.passes import Accumulated
from custom_components.transform.rows import batches, read_schema, source

BASE_KEY = "base_transform_graph"
"""The input that may hold a graph to take over."""
FINGERPRINT = "fingerprint"
"""The property of a TransformGraph that tells whether another's preprocessing is the same."""
_CODE = "code_digest"
"""The parameter that a compiled pipeline gives each node: of its code, settings and libraries."""

Artifacts = Mapping[str, list[Artifact]]


@dataclass(frozen=True)
class Preprocessing:
    """What the graph is made of, beside the rows.

    Attributes:
      schema: how the rows are read.
      splits: those of each span that are analysed.
      fingerprint: a digest of all but the rows that decides what is learned from them.
    """

    schema: schema_pb2.Schema
    splits: Sequence[str]
    fingerprint: str
    _properties: Mapping[str, Any]

    @classmethod
    def of(cls, inputs: Artifacts, properties: Mapping[str, Any]) -> Self:
        """That of an execution."""
        examples = inputs[keys.EXAMPLES_KEY]
        schema = read_schema(inputs[keys.SCHEMA_KEY])
        splits = executor_utils.ResolveSplitsConfig(
            properties.get(keys.SPLITS_CONFIG_KEY), examples
        ).analyze
        rows = source(examples[-1], splits[0], schema)
        columns = rows.TensorRepresentations()
        decides = [
            properties.get(_CODE) or uuid.uuid4().hex,  # Code that is not known is like no other.
            properties.get(keys.PREPROCESSING_FN_KEY),
            properties.get(keys.CUSTOM_CONFIG_KEY),
            list(splits),
            rows.ArrowSchema().to_string(),
            {name: str(columns[name]) for name in sorted(columns)},
        ]
        fingerprint = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        return cls(schema, splits, fingerprint, properties)

    def base(self, inputs: Artifacts) -> str | None:
        """The folder of the graph that may be taken over, if there is one."""
        for base in inputs.get(BASE_KEY, []):
            if base.get_string_custom_property(FINGERPRINT) == self.fingerprint:
                return str(base.uri)
            logging.warning(
                "the graph of %s is not taken over, and the rows are analysed: its preprocessing, "
                "features or schema were others",
                base.uri,
            )
        return None

    def datasets(self, examples: Iterable[Artifact]) -> dict[str, tuple[Artifact, str]]:
        """Span and split of each data set to analyse, by its name."""
        found: dict[str, tuple[Artifact, str]] = {}
        for artifact in examples:
            for split in self.splits:
                folder = artifact_utils.get_split_uri([artifact], split)
                name = cache.name_of(folder, span=span_of(artifact), split=split)
                while name in found:
                    name += "-again"
                found[name] = artifact, split
        return found

    def cached(self, inputs: Artifacts, names: Iterable[str]) -> Accumulated:
        """What is known of data sets from an earlier run."""
        given = inputs.get(keys.ANALYZER_CACHE_KEY, [])
        return cache.read(given[0].uri, names, self.fingerprint) if given else {}

    def write(self, inputs: Artifacts, folder: str) -> Accumulated:
        """Analyses the rows, and writes what `tft.TFTransformOutput` reads.

        Gives what was accumulated.

        Raises:
          Unsupported: an analyzer needs Beam. Nothing has been written then.
        """
        datasets = self.datasets(inputs[keys.EXAMPLES_KEY])
        sources = {name: source(*of, self.schema) for name, of in datasets.items()}
        known = self.cached(inputs, datasets)
        if spans := sorted({span_of(datasets[name][0]) for name in known}):
            logging.info("the analysis of spans %s is from the cache", ", ".join(map(str, spans)))
        preprocessing_fn = executor_utils.MaybeBindCustomConfig(
            {labels.CUSTOM_CONFIG: self._properties.get(keys.CUSTOM_CONFIG_KEY)},
            udf_utils.get_fn(dict(self._properties), keys.PREPROCESSING_FN_KEY),
        )
        with tempfile.TemporaryDirectory() as scratch:
            analyzed = analyze(
                preprocessing_fn,
                {name: functools.partial(batches, rows) for name, rows in sources.items()},
                next(iter(sources.values())).TensorAdapter(),
                folder=scratch,
                accumulated=known,
            )
            metadata_io.write_metadata(
                dataset_metadata.DatasetMetadata(self.schema),
                f"{folder}/{tft.TFTransformOutput.RAW_METADATA_DIR}",
            )
            _write_graph(analyzed, folder)
        return analyzed.accumulated


def _write_graph(analyzed: Analyzed, folder: str) -> None:
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
