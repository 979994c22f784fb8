"""Opens a source by what its name says it is."""

from __future__ import annotations

from pipeline.data_config import DATABASES, FileFormat
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.sources import places
from pipeline.sources.files_source import CsvFiles, ParquetFiles
from pipeline.sources.source import ReadOptions, Source


def open_source(text: str, *, options: ReadOptions | None = None) -> Source:
    """The rows that `text` names; their columns, types and number are known when this returns.

    Args:
      text: a file, a folder or a glob of files of one kind, here or below gs:// and s3://; or
        sqlite:///FILE, postgresql://USER@HOST/DATABASE, mysql://USER@HOST/DATABASE or
        bigquery://PROJECT, with `options.query`; or bigquery://PROJECT/DATASET.TABLE.
      options: what the user says of it.

    Raises:
      UserError: it is not there, or is no table that the pipeline can read.
    """
    options = options or ReadOptions()
    scheme, is_url, _ = text.partition("://")
    if is_url and scheme in DATABASES:
        from pipeline.sources.database_source import DatabaseRows

        return DatabaseRows(text, options)
    if is_url and not storage.is_remote(text):
        raise UserError(
            f"{text} begins with {scheme}://; expected a file, gs://…, s3://… or a database: "
            f"{', '.join(DATABASES)}. Download it first, if it is a page of the web."
        )
    if options.query:
        raise UserError(
            f"a query goes with a database ({', '.join(DATABASES)}), and {text} is none."
        )
    place = places.find(text, options.format)
    if place.format is FileFormat.PARQUET:
        return ParquetFiles(place)
    return CsvFiles(place, options)
