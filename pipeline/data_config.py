"""Settings of the data: where the rows come from, and how they are written and split."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from pipeline.sections import Column, Location, Section, Share


class FileFormat(StrEnum):
    """How a data file is encoded."""

    CSV = "csv"
    PARQUET = "parquet"


class OnBadRow(StrEnum):
    """What ingest does with a row that does not fit the schema."""

    FAIL = "fail"
    DROP = "drop"


class CsvOptions(Section):
    """How CSV files are written."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """The character between two values."""
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    """The character around a value that holds a delimiter or a line break."""
    encoding: str = "utf-8"
    """A Python codec name."""
    null_values: tuple[str, ...] = ("", "NA", "NULL", "null", "NaN", "nan")
    """Spellings of a missing value, besides an absent one."""


Window = Annotated[int, Field(ge=1)] | Literal["expanding"]
"""So many spans, or all of them."""


def reach(window: Window, newest: int) -> int:
    """How many spans a window that ends with span `newest` reaches back over, at most."""
    return newest + 1 if window == "expanding" else window


class DataConfig(Section):
    """Where the rows come from, and how they are split."""

    path: Location
    """Folder of the data, relative to the project folder or absolute."""
    pattern: str = "span-{SPAN:2}/*"
    """Files of one span below `path`; {SPAN} (or {SPAN:WIDTH}) stands for the span's number."""
    format: FileFormat | None = None
    """csv or parquet; by default told from the file's name (.csv, .csv.gz, .parquet)."""
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
    def _pattern_names_the_span(cls, pattern: str) -> str:
        if pattern.count("{SPAN") != 1:
            raise ValueError("must hold {SPAN} once, as in 'span-{SPAN:2}/*.parquet'")
        return pattern

    def window_at(self, newest: int) -> int:
        """How many spans a window that ends with span `newest` reaches back over, at most."""
        return reach(self.window, newest)
