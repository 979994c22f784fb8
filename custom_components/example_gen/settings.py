"""What ingest is told: how files are read and split, and which columns of which type they hold."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from pipeline.data_config import CsvOptions, DataConfig, FileFormat, OnBadRow
from pipeline.sections import Section


class ColumnType(StrEnum):
    """The three types that a tf.Example knows."""

    INT = "int"
    FLOAT = "float"
    STRING = "string"


class IngestSettings(Section):
    """The part of `DataConfig` that ingest reads; its defaults and meanings are there."""

    format: FileFormat | None
    split_by: str | None
    train_buckets: int
    eval_buckets: int
    on_bad_row: OnBadRow
    max_bad_fraction: float
    csv: CsvOptions

    @classmethod
    def of(cls, data: DataConfig) -> Self:
        """The part of `data` that ingest reads."""
        return cls.model_validate(data.model_dump(include=set(cls.model_fields)))


class Table(Section):
    """The columns that are ingested. Others that a file may have are not read."""

    columns: dict[str, ColumnType]
    """Type of each column."""
    label: str
    """The column to predict: an integer that no row may lack."""
    label_range: tuple[int, int] = (0, 1)
    """Smallest and largest label."""

    @model_validator(mode="after")
    def _label_is_an_integer(self) -> Self:
        if (found := self.columns.get(self.label)) is not ColumnType.INT:
            raise ValueError(
                f"the label {self.label!r} must be an int column, "
                f"and it is {found or 'not among the columns'}"
            )
        return self
