"""What means a missing value is told by the columns in which it stands out."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline.init.asked import asked
from pipeline.init.kinds import Guess
from pipeline.init.spelling import Spelling, spelling_of

NUMBERS = [str(number % 40) for number in range(60)]
SCORES = [1, 2, 3, 4, 5, 99] * 50


def spelling(
    columns: dict[str, Any],
    roles: dict[str, Guess] | None = None,
    whole: tuple[str, ...] = (),
    *,
    is_csv: bool = True,
) -> Spelling:
    raw = {name: pa.array(values) for name, values in columns.items()}
    return spelling_of(raw, "label", roles or {}, whole, is_csv=is_csv)


@pytest.mark.parametrize(
    ("others", "missing"),
    [
        (["k.A."] * 3, ("k.A.",)),
        (["Don't know"] * 20 + ["N/A"], ("N/A", "Don't know")),
        (["k.A."], ()),  # Which may be a mistake.
        (["90+"] * 3, ()),
        (["low"] * 3 + ["high"] * 3 + ["odd"] * 3 + ["even"] * 3, ()),
        (["ground"] * 70, ()),
    ],
)
def test_one_text_among_numbers_means_that_there_is_none(
    others: list[str], missing: tuple[str, ...]
) -> None:
    found = spelling({"built": NUMBERS + others})
    assert set(found.missing) == set(missing)


def test_a_text_that_is_a_value_elsewhere_is_one() -> None:
    numbers = NUMBERS + ["none so far"] * 3
    remarks = ["none so far", "cheap", "dear"] * 21
    assert spelling({"built": numbers, "remark": remarks}) == Spelling(odd={"built": []})


def test_a_column_that_is_asked_for_as_a_category_says_nothing() -> None:
    columns = {"built": NUMBERS + ["k.A."] * 3}
    assert spelling(columns, {"built": asked("categorical", "built", None)}).missing == ()
    assert spelling(columns, {"built": asked("numeric", "built", None)}).missing == ("k.A.",)


def test_a_number_for_a_missing_one_may_be_one_of_those_that_count_the_rows() -> None:
    columns = {"q": SCORES, "row": list(range(1, 301))}
    assert spelling(columns).stand_ins == {"q": 99}
    assert spelling(columns, whole=("row",)).stand_ins == {}
    columns["age"] = [90 + row % 15 for row in range(300)]
    assert spelling(columns) == Spelling(suspects={"q": 99})


def test_in_parquet_no_spelling_can_be_said_to_mean_a_missing_value() -> None:
    found = spelling({"q": SCORES[:63], "built": NUMBERS + ["k.A."] * 3}, is_csv=False)
    assert found == Spelling(suspects={"q": 99}, odd={"built": ["k.A."]})
