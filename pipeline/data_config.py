"""Settings of the data: where the rows come from, and how they are written and split."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from pipeline.sections import Column, Location, Section, Share


class FileFormat(StrEnum):
    """How a data file is encoded."""

    CSV = "csv"
    PARQUET = "parquet"


class OnBadRow(StrEnum):
    """What ingest does with a row that does not fit the schema."""

    FAIL = "fail"
    DROP = "drop"


Character = Annotated[str, Field(min_length=1, max_length=1)]

DATABASES = ("postgresql", "mysql", "sqlite", "bigquery")
"""Where a query may be sent: what its URL begins with."""
_PASSWORD_SETTING = re.compile(r"(^|&)(password|passwd|pwd)=", re.I)


class CsvOptions(Section):
    """How CSV files are written."""

    delimiter: Character | None = None
    """The character between two values; by default a tab in .tsv files, else a comma."""
    quote: Character = '"'
    """The character around a value that holds a delimiter or a line break."""
    encoding: str = "utf-8"
    """A Python codec name."""
    null_values: tuple[str, ...] = ("", "NA", "NULL", "null", "NaN", "nan")
    """Spellings of a missing value, besides an absent one."""
    decimal: Literal[".", ","] = "."
    """What stands before a number's decimals."""
    thousands: Literal[",", ".", " ", "'"] | None = None
    """What parts a number's thousands, as in 1,234.5; by default nothing."""

    @model_validator(mode="after")
    def _decimals_are_no_thousands(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(
                f"decimal and thousands are both {self.decimal!r}; expected two characters"
            )
        return self


ONLY_SPAN = 1
"""The span of all rows where neither the pattern nor the query has a place for a number."""

Window = Annotated[int, Field(ge=1)] | Literal["expanding"]
"""So many spans, or all of them."""


def reach(window: Window, newest: int) -> int:
    """How many spans a window that ends with span `newest` reaches back over, at most."""
    return newest + 1 if window == "expanding" else window


class DataConfig(Section):
    """Where the rows come from, and how they are split."""

    path: Location | None = None
    """Folder of the data, relative to the project folder or absolute; or gs://…, s3://…"""
    pattern: str = "span-{SPAN:2}/*"
    """Files of one span below `path`; {SPAN} (or {SPAN:WIDTH}) stands for the span's number.
    Without it all files that match are span 1, and there is no other."""
    format: FileFormat | None = None
    """csv or parquet; by default told from the file's name: .csv, .tsv or .txt, which may be
    packed as .gz or .zst, .parquet or .pq."""
    database: str | None = None
    """In place of `path`: postgresql://USER@HOST:PORT/DATABASE, mysql://… likewise, sqlite:///FILE
    or bigquery://PROJECT. The password is taken from PIPELINE_DATABASE_PASSWORD."""
    query: Annotated[str, Field(min_length=1)] | None = None
    """With `database`: the SQL that gives the rows. {SPAN} in it stands for the span's number;
    without it all rows are span 1, and there is no other."""
    span: Annotated[int, Field(ge=0)] | None = None
    """The newest span to train on; by default the latest that is there."""
    window: Window = "expanding"
    """How many spans, up to and including `span`, the models are trained on; expanding: all. What
    the data gate refused is left out."""
    half_life: Annotated[float, Field(gt=0)] | None = None
    """In spans: rows of a span that is so much older than the newest one weigh half as much in
    training, of one twice as much older a quarter; by default all weigh the same."""
    schema_file: Location | None = None
    """A curated TFDV schema (.pbtxt); by default inferred from the first span's statistics."""
    split_by: Column | None = None
    """All rows with one value of this column fall in one split; by default each row by itself."""
    split_time: Column | None = None
    """In place of split_by: the newest rows of a span by this column judge, and the older ones
    train; rows of one time stay together. The buckets below are the shares."""
    train_buckets: Annotated[int, Field(ge=1)] = 2
    """Weight of the train split: train_buckets / (train_buckets + eval_buckets) of the groups."""
    eval_buckets: Annotated[int, Field(ge=1)] = 1
    """Weight of the eval split."""
    on_bad_row: OnBadRow = OnBadRow.FAIL
    """fail: the first row that does not fit stops the run; drop: it is counted and kept aside."""
    max_bad_fraction: Share = 0.01
    """With on_bad_row = "drop": above this share of a span's rows the run stops all the same."""
    memory_budget: Annotated[float, Field(gt=0)] = 1.0
    """GiB of rows that a node may hold in memory; what is more stays on disk while it is used."""
    csv: CsvOptions = CsvOptions()
    """How CSV files are written."""

    @field_validator("window", mode="wrap")
    @classmethod
    def _window_is_told_in_one_sentence(
        cls, window: Any, validate: ValidatorFunctionWrapHandler
    ) -> Window:
        try:
            checked: Window = validate(window)
        except ValidationError:
            raise ValueError(
                f"is {json.dumps(window, default=str)}; expected a whole number of spans, 1 or "
                'more, or "expanding"'
            ) from None
        return checked

    @field_validator("pattern")
    @classmethod
    def _pattern_names_the_span_once(cls, pattern: str) -> str:
        if pattern.count("{SPAN") > 1:
            raise ValueError("holds {SPAN} more than once; expected as in 'span-{SPAN:2}/*'")
        return pattern

    @field_validator("path")
    @classmethod
    def _path_can_be_reached(cls, path: str | None) -> str | None:
        scheme, is_url, _ = (path or "").partition("://")
        if is_url and scheme not in ("gs", "s3"):
            raise ValueError(
                f"begins with {scheme}://; expected a folder, gs://BUCKET/… or s3://…, or, for "
                "rows of a database, data.database and data.query"
            )
        return path

    @field_validator("database")
    @classmethod
    def _database_is_named_without_password(cls, database: str | None) -> str | None:
        return None if database is None else checked_database(database)

    @model_validator(mode="after")
    def _rows_have_one_place(self) -> Self:
        if (self.path is None) == (self.database is None):
            raise ValueError(
                "expected path, the folder of the files, or database and query; and not both"
            )
        if (self.database is None) != (self.query is None):
            raise ValueError("database and query go together, and one of them is missing")
        return self

    @model_validator(mode="after")
    def _spans_can_be_told(self) -> Self:
        if self.query and self.has_spans and self.span is None:
            raise ValueError(
                "query holds {SPAN}, and nobody can look which spans a database has; set span"
            )
        if not self.has_spans and self.span not in (None, ONLY_SPAN):
            raise ValueError(
                f"span is {self.span}, but without {{SPAN}} in the "
                f"{'query' if self.query else 'pattern'} there is span 1 alone"
            )
        return self

    @model_validator(mode="after")
    def _splits_one_way(self) -> Self:
        if self.split_by and self.split_time:
            raise ValueError(
                "split_by and split_time are both set; expected one: by groups or by time"
            )
        return self

    @property
    def has_spans(self) -> bool:
        """Whether the rows come in spans with numbers; else all are span 1."""
        return "{SPAN" in (self.query or self.pattern)

    @property
    def split_column(self) -> str | None:
        """The column that decides which split a row falls in, if one does."""
        return self.split_by or self.split_time

    def window_at(self, newest: int) -> int:
        """How many spans a window that ends with span `newest` reaches back over, at most."""
        return reach(self.window, newest)


def checked_database(url: str) -> str:
    """`url`, which names a database, if it does so as expected.

    Raises:
      ValueError: it does not, or holds a password, which the message does not repeat.
    """
    parts = urlsplit(url)
    if parts.scheme not in DATABASES:
        raise ValueError(f"begins with {parts.scheme!r}; expected one of {', '.join(DATABASES)}")
    if parts.password is not None or _PASSWORD_SETTING.search(parts.query):
        raise ValueError("holds a password; put it in PIPELINE_DATABASE_PASSWORD")
    expected = {
        "sqlite": "sqlite:///FILE",
        "bigquery": "bigquery://PROJECT",
    }.get(parts.scheme, f"{parts.scheme}://USER@HOST:PORT/DATABASE")
    place = parts.path.strip("/") if parts.scheme != "bigquery" else parts.netloc
    if not place or (parts.scheme == "sqlite") == bool(parts.netloc):
        raise ValueError(f"does not name a database; expected {expected}")
    return url
