"""All rows, once: counts, missing and different values, ranges, rows that occur twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.init import values

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SKETCH = 1 << 15
"""So many different values are counted exactly; of more the number is told to a percent."""
COUNTED_VALUES = 1000
"""Of a column with more different values it is not counted how often each occurs."""


@dataclass(frozen=True)
class Reading:
    """How a column's values are to be understood."""

    missing: tuple[str, ...] = ()
    """Spellings of a missing value."""
    stand_ins: tuple[float, ...] = ()
    """Numbers that mean a missing value."""
    as_number: bool = False
    """Whether it is a number that may be spelled as text."""

    def of(self, column: pa.Array) -> pa.Array:
        """The column, plain: what is missing, or no number where one should be, as null."""
        plain = values.plain(column, self.missing)
        if self.as_number and pa.types.is_string(plain.type):
            plain = pa.array(values.numbers(plain, self.stand_ins), from_pandas=True)
        if self.stand_ins and not pa.types.is_string(plain.type):
            lacks = pc.is_in(plain, pa.array(self.stand_ins).cast(plain.type))
            plain = values.without(plain, lacks)
        return plain


@dataclass
class Counted:
    """What all rows say of a column."""

    missing: int = 0
    """Rows without a value."""
    known: int = 0
    """Rows with one."""
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    """Whether all numbers are whole."""
    values: Counter[str] | None = field(default_factory=Counter)
    """How often each value occurs; None with more than `COUNTED_VALUES` of them."""
    odd: Counter[str] = field(default_factory=Counter)
    """Texts where a number should be, and how often."""
    odd_row: int = 0
    """The first row that has one, as a spreadsheet counts: the header is row 1."""
    sketch: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    digest: int = 0
    """A sum of all values' hashes and places: the same for columns that hold the same."""

    @property
    def whole_or_text(self) -> bool:
        """Whether there are no decimals."""
        return self.whole or self.high == -np.inf

    @property
    def exact(self) -> bool:
        """Whether `distinct` is the number, not about the number."""
        return len(self.sketch) < _SKETCH

    @property
    def distinct(self) -> int:
        """How many different values there are.

        By the k smallest hashes: Bar-Yossef et al., Counting Distinct Elements in a Data Stream,
        2002.
        """
        if self.exact:
            return len(self.sketch)
        about = int((_SKETCH - 1) / (float(self.sketch[-1]) / 2.0**64))
        are_whole = self.whole and self.high >= self.low
        most = int(self.high - self.low) + 1 if are_whole else about
        return min(about, self.known, most)

    def add(self, column: pa.Array) -> None:
        """Takes in more rows, plain."""
        known = column.drop_null()
        self.missing += column.null_count
        self.known += len(known)
        different = known
        if self.values is not None:
            told = pc.value_counts(known)
            different, counts = told.field("values"), told.field("counts")
            keys = map(spelled, different.to_pylist()) if len(different) <= COUNTED_VALUES else ()
            self.values.update(dict(zip(keys, counts.to_pylist(), strict=False)))
            if len(different) > COUNTED_VALUES or len(self.values) > COUNTED_VALUES:
                self.values = None
        self._sketch(hashes(different))
        if pa.types.is_string(column.type):
            self.whole = False
        elif len(different):
            bounds = pc.min_max(different).as_py()
            self.low, self.high = min(self.low, bounds["min"]), max(self.high, bounds["max"])
            is_float = pa.types.is_floating(column.type)
            self.whole &= not is_float or pc.all(pc.equal(different, pc.round(different))).as_py()

    def _sketch(self, hashed: NDArray[np.uint64]) -> None:
        if not self.exact:  # Larger ones are none of the smallest.
            hashed = hashed[hashed < self.sketch[-1]]
        if len(hashed):
            self.sketch = _different(np.concatenate([self.sketch, hashed]))[:_SKETCH]


@dataclass(frozen=True)
class Survey:
    """What all rows say."""

    rows: int
    columns: Mapping[str, Counted]
    repeated: int
    """Rows of which all columns are as in a row before."""
    alike: int
    """Rows of which all columns, identifiers aside, are as in a row before."""
    twins: Mapping[str, str]
    """Columns that hold the same values as one before, by name."""


def survey(
    batches: Iterable[pa.RecordBatch], readings: Mapping[str, Reading], apart: Sequence[str]
) -> Survey:
    """Reads all rows.

    Args:
        batches: The rows.
        readings: How each column is understood.
        apart: Identifiers, which do not count when rows are compared.
    """
    columns = {name: Counted() for name in readings}
    rows, seen, seen_apart = 0, [], []
    for batch in batches:
        total = np.zeros(len(batch), np.uint64)
        named = np.zeros(len(batch), np.uint64)
        places = np.arange(rows, rows + len(batch), dtype=np.uint64)
        for name, reading in readings.items():
            counted = columns[name]
            _note_odd(counted, reading, batch.column(name), rows)
            column = reading.of(batch.column(name))
            counted.add(column)
            hashed = hashes(column)
            counted.digest ^= int((_mixed(places) * hashed).sum()) + rows
            if name in apart:
                named = _mixed(named ^ hashed)
            else:
                total = _mixed(total ^ hashed)
        rows += len(batch)
        seen.append(_mixed(total ^ named) if apart else total)
        seen_apart.append(total)
    first: dict[int, str] = {}
    twins = {}
    for name, counted in columns.items():
        if first.setdefault(counted.digest, name) != name and counted.distinct > 1:
            twins[name] = first[counted.digest]
    repeated = _repeated(seen)
    return Survey(rows, columns, repeated, _repeated(seen_apart) if apart else repeated, twins)


def _repeated(hashed: Sequence[NDArray[np.uint64]]) -> int:
    """How many rows are as one before them, by their hashes."""
    together = np.concatenate(hashed) if hashed else np.empty(0, np.uint64)
    return len(together) - len(_different(together))


def _different(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each value once, in their order; np.unique takes several times as long."""
    ordered = np.sort(values)
    return np.asarray(ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]])


def _note_odd(counted: Counted, reading: Reading, column: pa.Array, rows_before: int) -> None:
    """Notes texts where a number should be."""
    plain = values.plain(column)
    if not (reading.as_number and pa.types.is_string(plain.type)):
        return
    odd = pc.invert(values.is_number(plain)).fill_null(False)
    found = plain.filter(odd)
    if not len(found):
        return
    if not counted.odd:
        counted.odd_row = rows_before + pc.index(odd, True).as_py() + 2
    told = pc.value_counts(found)
    pairs = zip(told.field("values").to_pylist(), told.field("counts").to_pylist(), strict=True)
    counted.odd.update(dict(pairs))


def spelled(value: object) -> str:
    """A value as text: a whole number without its decimals, be it an int or a float."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def hashes(column: pa.Array) -> NDArray[np.uint64]:
    """A number of 64 bits for each value of a plain column, equal for equal ones."""
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        words = np.array([hash(w) & (2**64 - 1) for w in encoded.dictionary.to_pylist()], np.uint64)
        at = encoded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
        return np.asarray(np.append(words, np.uint64(0))[at])
    numbers = column.cast(pa.float64(), safe=False)
    bits = np.array(numbers.to_numpy(zero_copy_only=False), float).view(np.uint64)
    if pa.types.is_integer(column.type):
        bits = np.where(np.isnan(bits.view(float)), bits, _ints(column).view(np.uint64))
    return _mixed(bits)


def _ints(column: pa.Array) -> NDArray[np.int64]:
    return np.array(column.fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The bits, stirred: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014)."""
    with np.errstate(over="ignore"):
        z = bits + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
