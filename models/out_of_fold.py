"""What models say of rows that they have not learned from, kept in a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.bundle import mean
from models.manifest import MEMBERS
from pipeline.errors import UserError

FILE = "out_of_fold.parquet"
"""In a bundle's folder: a row for each row of the data and each repeat."""
_KEY_BYTES = 16
_SCHEMA = pa.schema(
    [
        pa.field("row", pa.binary(_KEY_BYTES), nullable=False),
        pa.field("repeat", pa.int32(), nullable=False),
        pa.field("prediction", pa.list_(pa.float32()), nullable=False),
    ]
)


@dataclass(frozen=True)
class OutOfFold:
    """Predictions by models that were trained as the bundle's was, each without the row's part."""

    places: Mapping[bytes, int]
    """Where each row is in `values`, by its key."""
    values: NDArray[np.float32]
    """[repeats, rows], or [repeats, rows, classes] where there are more than two classes."""

    @property
    def repeats(self) -> int:
        """How often the rows were parted; each repeat has a prediction for every row."""
        return len(self.values)

    @staticmethod
    def keys(examples: Sequence[bytes] | NDArray[Any]) -> list[bytes]:
        """What names each row: 16 bytes of BLAKE2b of its serialized raw tf.Example."""
        return [hashlib.blake2b(row, digest_size=_KEY_BYTES).digest() for row in examples]

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """What the bundle in a folder holds, an ensemble's the mean of its members'; else None.

        Raises:
            UserError: If an ensemble's members were parted differently often.
        """
        members = sorted((folder / MEMBERS).iterdir()) if (folder / MEMBERS).is_dir() else []
        if members:
            return cls._mean([cls.of(member) for member in members], folder)
        if not (folder / FILE).is_file():
            return None
        table = pq.read_table(folder / FILE)
        repeats = int(table["repeat"][-1].as_py()) + 1
        rows = table["row"].slice(0, len(table) // repeats).to_pylist()
        flat = table["prediction"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        values = flat.reshape(repeats, len(rows), -1)
        return cls(
            {key: place for place, key in enumerate(rows)},
            values[:, :, 0] if values.shape[2] == 1 else values,
        )

    @classmethod
    def _mean(cls, members: Sequence[Self | None], folder: Path) -> Self | None:
        known = [member for member in members if member is not None]
        if len(known) < len(members):
            return None
        if len({member.repeats for member in known}) > 1:
            raise UserError(
                f"The members of the ensemble in {folder} have out-of-fold predictions of "
                "different numbers of repeats. Train them with one evaluate.cross_validation."
            )
        keys = [key for key in known[0].places if all(key in m.places for m in known)]
        values = mean([member.predictions(keys) for member in known])
        return cls({key: place for place, key in enumerate(keys)}, values)

    def predictions(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """[repeats, rows] or [repeats, rows, classes] for `keys`, NaN where a row is unknown."""
        places = np.array([self.places.get(key, -1) for key in keys], np.int64)
        found: NDArray[np.float32] = self.values[:, places].copy()
        found[:, places < 0] = np.nan
        return found

    def write(self, folder: Path) -> None:
        """Writes them into a bundle, which is sealed afterwards."""
        repeats, rows = self.values.shape[:2]
        flat = np.ascontiguousarray(self.values, np.float32).reshape(repeats * rows, -1)
        offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
        columns = [
            pa.array([*self.places] * repeats, _SCHEMA.field("row").type),
            pa.array(np.repeat(np.arange(repeats, dtype=np.int32), rows)),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1))),
        ]
        pq.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), folder / FILE)
