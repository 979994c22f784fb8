"""The columns after preprocessing: how each is named, and which ones a model learns from."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

from pipeline.features_config import FeaturesConfig

LABEL = "label"
"""What is predicted: int64, the number of the class from 0, or float32, the value."""

FOLD = "fold"
"""Which of FOLDS parts a row belongs to: int64; rows of one group share theirs."""

FOLDS = 1000


def scaled(column: str) -> str:
    """A number with mean 0 and variance 1, 0 where it is missing: float32."""
    return f"{column}_scaled"


def logged(column: str) -> str:
    """The logarithm of a number, with mean 0 and variance 1, 0 where it is missing: float32."""
    return f"{column}_log"


def missing(column: str) -> str:
    """1 where `column` has no value, else 0: float32. Only of columns that the schema lets miss.

    Of a date: 1 where it could not be read as well, and always there.
    """
    return f"{column}_missing"


def sine(column: str) -> str:
    """Where a cyclical number stands in its period, first coordinate: float32."""
    return f"{column}_sin"


def cosine(column: str) -> str:
    """Where a cyclical number stands in its period, second coordinate: float32."""
    return f"{column}_cos"


def index(column: str) -> str:
    """A category's number: int64; 0 missing, 1 the most frequent one, the largest an unseen one.

    Of a bucketized number: 0 missing, 1 the bucket of the smallest, and so on. Of a hashed column:
    0 missing, and from 1 on what the hash gives.
    """
    return f"{column}_index"


def target(column: str) -> str:
    """The label's mean in other rows with the value, scaled: float32; of several classes each's."""
    return f"{column}_target"


def words(column: str) -> str:
    """How often each n-gram of words is in a text: float32 [rows, size]."""
    return f"{column}_words"


def part(column: str, field: str) -> str:
    """A date's year or age, scaled, or what sine and cosine are of, as in "arrival.month"."""
    return f"{column}.{field}"


def vocabulary(column: str) -> str:
    """Name of the vocabulary of a categorical or a text column, fit for a file's name."""
    return quote(column, safe="")


def tensor(column: str) -> str:
    """Name of a raw column's tensor in a signature, which must be a Python identifier.

    Most columns keep their name. In others each character that TensorFlow would not take becomes
    Ux, its code point and _: "wind (mph)" is windUx20_Ux28_mphUx29_.
    """
    if re.fullmatch(r"[A-Za-z]\w*", column, re.ASCII) and not (
        keyword.iskeyword(column) or _ESCAPED.search(column)
    ):
        return column
    return _escape(column[:1]) + re.sub(r"[^A-TV-Za-z0-9_]", lambda m: _escape(m[0]), column[1:])


def column(tensor: str) -> str:
    """The raw column whose tensor has this name."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), tensor)


_ESCAPED = re.compile("Ux([0-9a-f]+)_")


def _escape(character: str) -> str:
    return f"Ux{ord(character):x}_"


@dataclass(frozen=True)
class ModelInputs:
    """The transformed columns that models learn from, in the order in which arrays hold them."""

    numbers: tuple[str, ...]
    """float32 columns, of one number a row or several."""
    categories: tuple[str, ...]
    """int64 columns, one for each categorical, bucketized and hashed one of `FeaturesConfig`."""
    sizes: tuple[int, ...]
    """How many values each of `categories` may take."""
    vectors: Mapping[str, int] = field(default_factory=dict)
    """How many numbers a row has in those of `numbers` where it is not one."""

    @classmethod
    def of(
        cls,
        features: FeaturesConfig,
        transformed: Mapping[str, Any],
        vocabulary_size: Callable[[str], int],
    ) -> Self:
        """Takes all transformed columns' FixedLenFeatures, and a vocabulary's length by its name.

        What is neither label, fold nor category is a number, or a vector of them: one more output
        of preprocessing_fn is one more input of every model.
        """
        # Beside the vocabulary a place each for missing and for unseen ones; for missing ones alone
        # beside buckets.
        sizes = {column: vocabulary_size(vocabulary(column)) + 2 for column in features.categorical}
        buckets = features.bucketized | features.hashed
        sizes |= {column: places + 1 for column, places in buckets.items()}
        categories = tuple(map(index, sizes))
        numbers = tuple(sorted(set(transformed) - {LABEL, FOLD, *categories}))
        vectors = {name: transformed[name].shape[0] for name in numbers if transformed[name].shape}
        return cls(numbers, categories, tuple(sizes.values()), vectors)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many numbers a row has in each of `numbers`."""
        return tuple(self.vectors.get(name, 1) for name in self.numbers)
