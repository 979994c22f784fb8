"""Spans in a bucket: which have come, whole, and whether one came before, on stand-ins."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config_file import DEFAULT, load
from pipeline.continuous.spans import Watch
from pipeline.errors import UserError
from pipeline.files import storage
from tests import object_stores
from tests.object_stores import BUCKET

_NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=["s3", "gs"])
def scheme(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of an object store that answers."""
    server = object_stores.s3 if request.param == "s3" else object_stores.gcs
    with object_stores.reached(server):
        yield request.param


@pytest.fixture
def data(scheme: str) -> str:
    """A folder that no other test uses."""
    return f"{scheme}://{BUCKET}/data-{next(_NUMBERS)}"


def watch_of(data: str, *overrides: str, clock: Iterator[float] | None = None) -> Watch:
    ticks = clock or itertools.repeat(0.0)
    return Watch(load(DEFAULT, [f"data.path={json.dumps(data)}", *overrides]), lambda: next(ticks))


def deliver(data: str, span: int, rows: str, name: str = "a.parquet") -> None:
    storage.write(f"{data}/span-{span:02}/{name}", rows.encode())


def complete(watch: Watch) -> dict[int, bool]:
    return {arrival.span: arrival.complete for arrival in watch.look()}


def test_a_span_in_a_bucket_is_whole_once_its_marker_is_there(data: str) -> None:
    watch = watch_of(data, "continuous.marker=_SUCCESS")
    assert complete(watch) == {}
    deliver(data, 1, "rows")
    deliver(data, 2, "rows")
    deliver(data, 1, "", "_SUCCESS")
    assert complete(watch) == {1: True, 2: False}


def test_a_span_in_a_bucket_is_whole_once_it_rests(data: str) -> None:
    watch = watch_of(data, "continuous.rest_seconds=30", clock=iter([0, 0, 20, 20, 40, 50.0]))
    deliver(data, 1, "rows")
    assert complete(watch) == {1: False}
    deliver(data, 1, "more", "b.parquet")
    assert complete(watch) == {1: False}
    assert complete(watch) == {1: False}
    assert complete(watch) == {1: True}


def test_the_same_files_sent_again_are_the_same_and_other_ones_are_not(
    data: str, tmp_path: Path
) -> None:
    deliver(data, 1, "rows" * 500_000)
    watch = watch_of(data)
    (first,) = watch.look()
    deliver(data, 1, "rows" * 500_000)
    (again,) = watch.look()
    assert watch.content(first) == watch.content(again)
    copy = tmp_path / "span-01/a.parquet"
    copy.parent.mkdir()
    copy.write_text("rows" * 500_000)
    here = watch_of(str(tmp_path))
    assert here.content(here.look()[0]) == watch.content(first)
    deliver(data, 1, "Rows" * 500_000)
    later = watch_of(data)
    assert later.content(later.look()[0]) != watch.content(first)


def test_a_file_that_goes_as_it_is_read_is_told_in_a_sentence(data: str) -> None:
    deliver(data, 1, "rows")
    watch = watch_of(data)
    (arrival,) = watch.look()
    storage.remove(f"{data}/span-01/a.parquet")
    with pytest.raises(UserError, match=r"span-01/a\.parquet cannot be read"):
        watch.content(arrival)
