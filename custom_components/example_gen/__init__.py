"""Ingest of tables: the CSV or Parquet files of a span, typed and split, as tf.Examples."""

from custom_components.example_gen.component import TabularExampleGen
from custom_components.example_gen.settings import ColumnType, IngestSettings, Table

__all__ = ["ColumnType", "IngestSettings", "Table", "TabularExampleGen"]
