"""What ingest is told: how files are read and split, and which columns of which type they hold."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from pipeline.data_config import CsvOptions, DataConfig, FileFormat, OnBadRow
from pipeline.sections import Section

SETTINGS_KEY = "settings"
"""The component's parameter that holds `IngestSettings`, as JSON."""
TABLE_KEY = "table"
"""The one that holds the `Table`."""


class ColumnType(StrEnum):
    """The three types that a tf.Example knows."""

    INT = "int"
    FLOAT = "float"
    STRING = "string"


class IngestSettings(Section):
    """The part of `DataConfig` that ingest reads; its defaults and meanings are there."""

    format: FileFormat | None
    database: str | None
    query: str | None
    split_by: str | None
    split_time: str | None
    train_buckets: int
    eval_buckets: int
    on_bad_row: OnBadRow
    max_bad_fraction: float
    csv: CsvOptions

    @classmethod
    def of(cls, data: DataConfig) -> Self:
        """The part of `data` that ingest reads."""
        return cls.model_validate(data.model_dump(include=set(cls.model_fields)))

    @property
    def eval_share(self) -> float:
        """The part of the rows that judges."""
        return self.eval_buckets / (self.train_buckets + self.eval_buckets)


class Table(Section):
    """The columns that are ingested. Others that a file may have are not read."""

    columns: dict[str, ColumnType]
    """Type of each column."""
    label: str
    """The column to predict, which no row may lack."""
    classes: tuple[str, ...] = ("0", "1")
    """The label's values, as text; none where it is a number to predict."""
    time_format: str = "iso"
    """How the column of data.split_time is written: as a date's `format` in [features.dates]."""

    @model_validator(mode="after")
    def _label_has_a_type_that_can_be_predicted(self) -> Self:
        found = self.columns.get(self.label)
        if found is None:
            raise ValueError(f"the label {self.label!r} is not among the columns")
        if not self.classes and found is ColumnType.STRING:
            raise ValueError(
                f"the label {self.label!r} is a column of strings; expected numbers, as "
                "features.problem is regression"
            )
        return self
