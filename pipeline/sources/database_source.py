"""Rows that a database answers to a query."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa

from pipeline.data_config import FileFormat
from pipeline.errors import UserError
from pipeline.sources.database import rows_of
from pipeline.sources.files_source import ParquetFiles
from pipeline.sources.kept import write
from pipeline.sources.places import Place
from pipeline.sources.source import DataSettings, ReadOptions, Source


class DatabaseRows(Source):
    """The rows as they were when the source was opened."""

    def __init__(self, text: str, options: ReadOptions) -> None:
        """Asks the database `text` for the rows of `options.query`.

        Raises:
          UserError: it cannot be asked, or has no rows.
        """
        database, query = _asked(text, options.query)
        self._folder = tempfile.TemporaryDirectory(prefix="query-")
        file = Path(self._folder.name, "rows.parquet")
        write(rows_of(database, query), file, said=database)
        place = Place(self._folder.name, file.name, (str(file),), FileFormat.PARQUET)
        self._rows = ParquetFiles(place, said=database)
        self.schema, self.rows, self.notes = self._rows.schema, self._rows.rows, ()
        self.location = DataSettings(database=database, query=query)

    def describe(self) -> str:
        """The database."""
        return f"{self.location.database}: {self.location.query}"

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, as they were."""
        return self._rows.batches(columns)


def _asked(text: str, query: str | None) -> tuple[str, str]:
    """The database and the query that the pipeline will ask."""
    scheme = urlsplit(text).scheme
    if scheme == "bigquery":
        text, _, table = text.removeprefix("bigquery://").partition("/")
        text, query = f"bigquery://{text}", query or table
    if not query:
        raise UserError(
            f"{text}: what is asked of the database? Say --query, with SQL or the name of a table."
        )
    if scheme == "sqlite":
        text = f"sqlite:///{Path(text.removeprefix('sqlite:///')).resolve()}"
    return text, query
