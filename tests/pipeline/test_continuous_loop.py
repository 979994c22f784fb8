"""The loop decides about each delivery once, and in order."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PipelineConfig
from pipeline.continuous.runs import RefusedSpan
from pipeline.continuous.spans import Watch
from pipeline.store import decisions
from pipeline.store.decisions import COMPLETE, REFUSED, RETRAIN, WAIT, Record
from tests.pipeline.continuous_world import World, deliver, kept, loop_of, make_config, verdicts


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return make_config(tmp_path)


def test_each_span_is_decided_about_once_and_in_order(config: PipelineConfig) -> None:
    world = World()
    for span in (2, 1, 3):
        deliver(config, span)
    loop = loop_of(config, world)
    assert loop.step()
    assert loop.step()
    assert verdicts(config) == [(1, RETRAIN), (2, RETRAIN), (3, RETRAIN)]
    assert list(world.trained.values()) == [1, 2, 3]
    assert [one.run_id for one in kept(config)] == [f"run-{one.id}" for one in kept(config)]
    assert {one.state for one in kept(config)} == {COMPLETE}
    assert world.told[1][1]["outcome"] == "version 7 is live"


def test_a_span_without_its_marker_is_waited_for(config: PipelineConfig) -> None:
    world = World()
    deliver(config, 1, whole=False)
    assert not loop_of(config, world).step()
    assert world.ingested == []
    deliver(config, 1)
    assert loop_of(config, world).step()
    assert world.ingested == [1]


def test_a_span_without_markers_is_complete_once_it_rests(config: PipelineConfig) -> None:
    update = {"marker": None, "rest_seconds": 30.0}
    plain = config.continuous.model_copy(update=update)
    clock = iter([0.0] * 2 + [29.0] * 1 + [29.0] * 2 + [58.0] + [59.0])
    watch = Watch(config.model_copy(update={"continuous": plain}), lambda: next(clock))
    deliver(config, 1)

    def complete() -> bool:
        (arrival,) = watch.look()
        return arrival.complete

    assert not complete()
    assert not complete()
    deliver(config, 1, "more rows")
    assert not complete()
    assert not complete()
    assert complete()


def test_the_same_delivery_again_is_nothing_new(config: PipelineConfig) -> None:
    world = World(asks=False)
    deliver(config, 1)
    loop_of(config, world).step()
    os.utime(Path(config.data.path) / "span-01" / "data.parquet", (1, 1))
    assert loop_of(config, world).step()
    assert verdicts(config) == [(1, WAIT)]
    assert world.ingested == [1]


def test_what_was_decided_about_is_not_read_again_by_another_process(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(config, 1)
    loop_of(config, World()).step()

    def read(*_: object) -> str:
        raise AssertionError("it looked into the files")

    monkeypatch.setattr(Watch, "content", read)
    assert loop_of(config, World()).step()


def test_a_pass_in_which_nothing_is_new_reads_the_decisions_once(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for span in range(1, 6):
        deliver(config, span)
    loop = loop_of(config, World())
    loop.step()
    read, reads = decisions.read, []

    def counted(*given: Any) -> tuple[Record, ...]:
        reads.append(given)
        return read(*given)

    monkeypatch.setattr(decisions, "read", counted)
    assert loop.step()
    assert len(reads) == 1


def test_another_content_of_the_same_span_is_decided_about_and_said(
    config: PipelineConfig,
) -> None:
    world = World()
    deliver(config, 1)
    deliver(config, 2)
    loop_of(config, world).step()
    deliver(config, 1, "corrected rows")
    assert loop_of(config, world).step()
    assert verdicts(config)[2:] == [(1, RETRAIN)]
    assert kept(config)[2].reason.startswith("Delivered again, with other content. Span 1")
    assert list(world.trained.values())[2] == 2  # the newest span is not given up for it


def test_a_late_span_starts_a_run_only_if_the_run_would_learn_from_it(
    config: PipelineConfig,
) -> None:
    world = World()
    deliver(config, 5)
    loop_of(config, world).step()
    deliver(config, 4)
    deliver(config, 2)
    assert loop_of(config, world).step()
    assert verdicts(config)[1:] == [(2, WAIT), (4, RETRAIN)]
    late, used = kept(config)[1:]
    assert late.reason == (
        "Came late. Span 2: no run, because it came late: a run learns from spans 3 to 5 "
        "(data.window)."
    )
    assert used.reason.startswith("Came late. Span 4: retrain")
    assert list(world.trained.values())[1] == 5


def test_no_run_takes_the_live_model_back_to_spans_before_those_that_it_knows(
    config: PipelineConfig,
) -> None:
    world = World(bad={5: RefusedSpan("span 5 cannot be ingested: row 3 is bad")})
    knows = lambda span: replace(  # noqa: E731
        seen := world.observe(span), observation=replace(seen.observation, learned=(4, 5))
    )
    loop = loop_of(config, world)
    loop.observe = knows
    deliver(config, 5)
    deliver(config, 3)
    assert loop.step()
    assert verdicts(config) == [(3, WAIT), (5, REFUSED)]
    assert "the live model knows span 5, and a run would learn up to span 3 only" in (
        kept(config)[0].reason
    )
    world.now += timedelta(days=2)  # Nor does time alone.
    assert loop.step()
    assert world.trained == {}


def test_a_corrupt_span_is_refused_and_told_until_it_comes_mended(config: PipelineConfig) -> None:
    world = World(bad={2: RefusedSpan("its file is cut short")})
    for span in (1, 2, 3):
        deliver(config, span)
    assert loop_of(config, world).step()
    assert loop_of(config, world).step()
    assert verdicts(config) == [(1, RETRAIN), (2, REFUSED), (3, RETRAIN)]
    assert ("refused", "Span 2: refused, because its file is cut short.") in [
        (event, facts["reason"]) for event, facts in world.told if event == "refused"
    ]
    assert list(world.trained.values()) == [1, 3]
    world.bad.clear()
    deliver(config, 2, "whole again")
    assert loop_of(config, world).step()
    assert list(world.trained.values())[2] == 3


def test_a_waiting_span_gets_its_run_when_the_schedule_is_due(config: PipelineConfig) -> None:
    cron = config.continuous.model_copy(update={"cron": "0 6 * * *"})
    config = config.model_copy(update={"continuous": cron})
    now = datetime.now(UTC)
    world = World(asks=False, now=now, live_since=now)
    deliver(config, 1)
    loop = loop_of(config, world)
    loop.step()
    assert verdicts(config) == [(1, WAIT)]
    world.now = (now + timedelta(days=1)).replace(hour=6, minute=1)
    if world.now - now > timedelta(days=1):
        world.now -= timedelta(days=1)
    loop.step()
    assert verdicts(config) == [(1, WAIT), (1, RETRAIN)]


def test_a_span_that_waits_is_asked_about_anew_and_kept_only_if_it_is_decided_otherwise(
    config: PipelineConfig,
) -> None:
    world = World(asks=False, now=datetime.now(UTC))
    deliver(config, 1)
    loop = loop_of(config, world)
    loop.step()
    world.now += timedelta(days=1, minutes=1)
    loop.step()
    assert verdicts(config) == [(1, WAIT)]
    world.asks = True
    loop.step()
    assert verdicts(config) == [(1, WAIT)]  # Once a day is often enough.
    world.now += timedelta(days=1, minutes=1)
    loop.step()
    assert verdicts(config) == [(1, WAIT), (1, RETRAIN)]
    assert list(world.trained.values()) == [1]
