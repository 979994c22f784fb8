"""What batch inference is told of the files that it reads."""

from __future__ import annotations

from typing import Self

from pipeline.data_config import CsvOptions, DataConfig, FileFormat
from pipeline.sections import Section


class ReadSettings(Section):
    """The part of `DataConfig` that reading raw rows takes; its meanings are there."""

    format: FileFormat | None
    csv: CsvOptions

    @classmethod
    def of(cls, data: DataConfig) -> Self:
        """The part of `data` that reading takes."""
        return cls(format=data.format, csv=data.csv)
