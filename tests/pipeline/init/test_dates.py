"""Dates are known by how they are spelled, and read as Python reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from pipeline.init import dates

DAYS = [
    datetime(2019, 1, 5, 9, 30, tzinfo=UTC) + timedelta(days=17 * i, hours=i) for i in range(60)
]


@pytest.mark.parametrize(
    "spelled",
    [
        *("%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m/%d/%y", "%Y%m%d"),
        *("%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p"),
    ],
)
def test_a_format_is_found_and_reads_what_strptime_reads(spelled: str) -> None:
    texts = [day.strftime(spelled) for day in DAYS]
    found = dates.format_of(pa.array(texts), "x")
    assert found is not None
    assert (found.format, found.ambiguous) == (spelled, False)
    expected = [datetime.strptime(t, spelled).replace(tzinfo=UTC).timestamp() for t in texts]
    assert dates.seconds(pa.array(texts), found).tolist() == expected


@pytest.mark.parametrize("spelled", ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M"])
def test_iso_dates_are_read(spelled: str) -> None:
    texts = pa.array([day.strftime(spelled) for day in DAYS])
    found = dates.format_of(texts, "x")
    assert found is not None
    assert found.format == dates.ISO
    form = spelled.replace("T", " ").removesuffix("Z")
    expected = [datetime.strptime(day.strftime(form), form).replace(tzinfo=UTC) for day in DAYS]
    assert dates.seconds(texts, found).tolist() == [day.timestamp() for day in expected]


def test_day_and_month_are_in_doubt_where_neither_is_above_twelve() -> None:
    found = dates.format_of(pa.array(["3/4/2020", "12/1/2020"]), "x")
    assert found is not None
    assert found.ambiguous
    assert (found.format, found.swapped) == ("%m/%d/%Y", "%d/%m/%Y")


def test_whole_numbers_are_dates_only_if_the_name_says_so() -> None:
    seconds = pa.array([1_400_269_500, 1_362_683_700])
    assert dates.format_of(seconds, "population") is None
    found = dates.format_of(seconds, "start_timestamp")
    assert found is not None
    assert found.format == dates.EPOCH
