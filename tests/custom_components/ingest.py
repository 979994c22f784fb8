"""Runs ingest on files and reads back what it wrote."""

import gzip
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.components.example_gen import utils
from tfx.types.standard_artifacts import Examples
from tfx.utils import proto_utils

from custom_components.example_gen import ColumnType, IngestSettings, Table
from custom_components.example_gen.executor import Executor
from pipeline.data_config import DataConfig

INT, FLOAT, STRING = ColumnType.INT, ColumnType.FLOAT, ColumnType.STRING
TABLE = Table(columns={"day": STRING, "temp": FLOAT, "hour": INT, "late": INT}, label="late")

Row = dict[str, Any]


@dataclass
class Ingested:
    """The artifact, and the rows of each split; a missing value is None."""

    artifact: Examples
    train: list[Row]
    eval: list[Row]

    @property
    def rows(self) -> list[Row]:
        return self.train + self.eval

    def count(self, name: str) -> int:
        return self.artifact.get_int_custom_property(name)


def settings(**data: Any) -> IngestSettings:
    return IngestSettings.of(DataConfig(**{"path": "unused"} | data))


def ingest(
    folder: Path, out: Path, *, table: Table = TABLE, pattern: str = "*", **data: Any
) -> Ingested:
    """Ingests the files of `folder` that match into an artifact at `out`."""
    artifact = Examples()
    artifact.uri = str(out)
    properties = {
        "input_base": str(folder),
        "input_config": proto_utils.proto_to_json(utils.make_default_input_config(pattern)),
        "settings": settings(**data).model_dump_json(),
        "table": table.model_dump_json(),
    }
    Executor().Do({}, {"examples": [artifact]}, properties)
    return Ingested(artifact, read_split(out, "train"), read_split(out, "eval"))


def read_split(out: Path, split: str) -> list[Row]:
    """The rows of one split: in a TFRecord each record has 12 bytes before it and 4 after."""
    (file,) = (out / f"Split-{split}").iterdir()
    content, at, rows = gzip.decompress(file.read_bytes()), 0, []
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        rows.append(row(tf.train.Example.FromString(content[at + 12 : at + 12 + length])))
        at += length + 16
    return rows


def row(example: tf.train.Example) -> Row:
    return {name: _value(feature) for name, feature in example.features.feature.items()}


def _value(feature: tf.train.Feature) -> Any:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return None
    (value,) = getattr(feature, kind).value
    return value.decode() if kind == "bytes_list" else value


def csv_file(folder: Path, lines: Iterable[str], name: str = "a.csv", **kwargs: Any) -> Path:
    """A CSV file of `lines` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes("".join(f"{line}\n" for line in lines).encode(**kwargs))
    return file


def days(count: int = 30, header: str = "day,temp,hour,late") -> list[str]:
    """A header and a good row for each of `count` days."""
    return [header, *(f"d{day},{day}.5,{day % 24},{day % 2}" for day in range(count))]
