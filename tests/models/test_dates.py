"""Dates are read in the graph as Python reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import dates
from pipeline.features_config import DATE_FIELDS, DateConfig

FORMATS = [
    "%Y-%m-%d",
    "%d/%m/%Y",
    "%d.%m.%y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%Y%m%d",
    "%d-%b-%Y %H:%M:%S.%f",
    "%B %d, %Y at 100%%",
]
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))


def read(text: str, format: str) -> datetime | None:
    found = dates.parse(tf.constant([text]), format)
    if not found.is_there.numpy()[0]:
        return None
    fields = (found.year, found.month, found.day, found.seconds)
    year, month, day, seconds = (int(field.numpy()[0]) for field in fields)
    moment = datetime(year, month, day, seconds // 3600, seconds // 60 % 60, seconds % 60)
    assert found.days.numpy()[0] == (moment.date() - datetime(1970, 1, 1).date()).days
    assert found.weekday.numpy()[0] == moment.weekday()
    return moment


def read_by_python(text: str, format: str) -> datetime | None:
    try:
        return datetime.strptime(text, format).replace(microsecond=0)
    except ValueError:
        return None


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(moment=MOMENTS)
def test_a_date_is_read_as_strptime_reads_it(format: str, moment: datetime):
    text = moment.strftime(format.replace("%Y", f"{moment.year:04}"))
    assert read(text, format) == read_by_python(text, format) is not None


@settings(max_examples=100, deadline=None)
@given(
    text=st.builds(
        "{}-{}-{}".format,
        st.sampled_from(["2013", "1900", "2000", "0000", "99", "20131"]),
        *[st.integers(0, 33).map(lambda n: str(n)) | st.integers(0, 33).map("{:02}".format)] * 2,
    )
)
@example("2013-02-29")
@example("2000-02-29")
@example("1900-02-29")
def test_what_strptime_refuses_is_no_date(text: str):
    assert read(text, "%Y-%m-%d") == read_by_python(text, "%Y-%m-%d")


@pytest.mark.parametrize(
    "zone", ["", "Z", "+01:00", "-0530", " UTC"], ids=["none", "Z", "colon", "plain", "name"]
)
@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2013-01-05", (0, 0, 0)),
        ("20130105", (0, 0, 0)),
        ("2013-01-05 13:45", (13, 45, 0)),
        ("2013-01-05T13:45:10", (13, 45, 10)),
        (" 2013-01-05T13:45:10.123", (13, 45, 10)),
    ],
)
def test_an_iso_date_is_read_by_the_clock_that_it_is_written_by(
    text: str, time: tuple[int, int, int], zone: str
):
    assert read(text + zone, "iso") == datetime(2013, 1, 5, *time)


@pytest.mark.parametrize("text", ["", "soon", "2013-13-01", "2013-02-30", "2013-01-05T25:00"])
def test_what_is_no_iso_date_is_none(text: str):
    assert read(text, "iso") is None


@settings(max_examples=50, deadline=None)
@given(st.integers(-62_000_000_000, 99_999_999_999))
def test_seconds_since_1970_are_a_moment(seconds: int):
    expected = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    assert read(str(seconds), "epoch") == expected


def test_days_are_counted_from_1970():
    found = dates.parse(tf.constant(["2020-01-01"]), "iso")
    np.testing.assert_array_equal(found.days, [dates.DAYS_TO_2020])


@pytest.mark.parametrize("field", DATE_FIELDS)
def test_every_field_that_a_format_may_have_can_be_read(field: str):
    assert re.compile(dates.pattern(f"%{field}")).groups == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "%Y-%j"}, "%j is not known; expected iso, epoch, or of %Y"),
        ({"format": "%d.%m."}, "expected a year"),
        ({"format": "%Y %Y"}, "each field once"),
        ({"parts": (), "age": False}, "no input"),
    ],
)
def test_a_format_that_gives_no_date_is_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        DateConfig.model_validate(settings)
