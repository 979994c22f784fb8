"""Tables of any ordinary kind as Arrow: files and folders, object stores, SQL and BigQuery."""

from pipeline.sources.opened import open_source
from pipeline.sources.source import DataSettings, ReadOptions, Source

__all__ = ["DataSettings", "ReadOptions", "Source", "open_source"]
