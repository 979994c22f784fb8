"""What means a missing value in a file of text, by the columns in which it stands out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.init import dates, kinds, values
from pipeline.init.kinds import Guess, Kind

_FEW_WORDS = 3
"""So few texts among numbers name what is missing; more of them are values."""


@dataclass(frozen=True)
class Spelling:
    """What means a missing value."""

    missing: tuple[str, ...] = ()
    """Spellings besides those that the source knows."""
    stand_ins: Mapping[str, float] = field(default_factory=dict)
    """Columns with a number that is read as a missing value."""
    suspects: Mapping[str, float] = field(default_factory=dict)
    """Columns with a number that seems to stand for one, read so or not."""
    odd: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Columns of numbers or dates with texts that mean a missing one."""

    def means_none(self, column: str, text: str) -> bool:
        """Whether a text in a column of numbers or dates is one for a missing value."""
        return text in values.MISSING or text in self.odd.get(column, ())


def spelling_of(
    raw: Mapping[str, pa.Array],
    label: str,
    asked: Mapping[str, Guess],
    whole: Collection[str | None],
    *,
    is_csv: bool,
) -> Spelling:
    """What means a missing value, by columns of numbers and dates that have a few other texts.

    Args:
        raw: A sample of each column, as the source gives it.
        label: The label's column.
        asked: Columns whose kind is not guessed.
        whole: Columns of which no value may be missing.
        is_csv: Whether a spelling may be said to mean a missing value; in all columns it does.
    """
    columns = {name: values.plain(column) for name, column in raw.items()}
    missing: dict[str, None] = {}
    odd: dict[str, Sequence[str]] = {}
    suspects: dict[str, float] = {}
    for name, plain in columns.items():
        if not pa.types.is_string(plain.type):
            if name != label and (found := values.stand_in(values.numbers(plain))) is not None:
                suspects[name] = found
            continue
        unique = pc.unique(plain.drop_null()).to_pylist()
        certain = [value for value in unique if value in values.CERTAINLY_MISSING]
        is_number = name not in asked or asked[name].kind is Kind.NUMBER
        others = _others(plain) if name != label and is_number else []
        missing |= dict.fromkeys([*certain, *others])
        if others:
            odd[name] = others
    for word in [word for word in missing if word not in values.MISSING]:
        if _is_a_value(word, columns, odd):
            missing.pop(word)
            odd = {name: [one for one in words if one != word] for name, words in odd.items()}
    if not is_csv:
        return Spelling((), {}, suspects, odd)
    apart = {name for name, guess in asked.items() if guess.role == "keep"} - {*whole}
    stand_ins = {
        name: number
        for name, number in suspects.items()
        if all(
            other in apart or (other not in whole and _counts_rows(other, columns[other]))
            for other in _columns_with(number, columns, suspects)
        )
    }
    return Spelling(tuple(missing), stand_ins, suspects, odd)


def _others(plain: pa.Array) -> list[str]:
    """Spellings of a missing value in a column that holds numbers or dates elsewhere."""
    known = plain.drop_null()
    usual_here = pc.is_in(known, value_set=pa.array(values.MISSING))
    usual: list[str] = pc.unique(known.filter(usual_here)).to_pylist()
    left = known.filter(pc.invert(usual_here))
    if len(left) < 0.3 * max(1, len(known)):
        return []
    spelled = values.is_number(left)
    if usual and dates.format_of(pc.unique(left), "") is not None:
        return usual
    share = pc.mean(spelled.cast("int8")).as_py()
    words = [] if share < 0.5 else _words(left.filter(pc.invert(spelled)))
    return [*usual, *words] if share >= 0.95 or words else []


def _words(texts: pa.Array) -> list[str]:
    """The texts among numbers, if they are one or few, often, without a digit: 'k.A.'."""
    told = pc.value_counts(texts).to_pylist()
    often = all(one["counts"] >= 3 for one in told)
    without_digit = not any(any(map(str.isdigit, one["values"])) for one in told)
    few = len(told) <= _FEW_WORDS
    return [one["values"] for one in told] if few and often and without_digit else []


def _is_a_value(
    word: str, columns: Mapping[str, pa.Array], odd: Mapping[str, Sequence[str]]
) -> bool:
    """Whether a text also occurs in a column of texts, where it may mean something."""
    return any(
        word not in odd.get(name, ()) and pc.any(pc.equal(plain, word)).as_py()
        for name, plain in columns.items()
        if pa.types.is_string(plain.type)
    )


def _columns_with(
    value: float, columns: Mapping[str, pa.Array], suspects: Mapping[str, float]
) -> list[str]:
    """The other columns in which a number that stands for a missing one occurs."""
    return [
        name
        for name, plain in columns.items()
        if suspects.get(name) != value
        and not pa.types.is_string(plain.type)
        and pc.any(pc.equal(plain, pa.scalar(value).cast(plain.type))).as_py()
    ]


def _counts_rows(name: str, plain: pa.Array) -> bool:
    """Whether a column has another number in each row, from which nothing is predicted."""
    is_identifier = kinds.guess(name, plain, None).kind is Kind.IDENTIFIER
    return is_identifier and pc.count_distinct(plain).as_py() == len(plain)
