"""The loop decides about each delivery once and runs each decision once, whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.lease import Lease, LeaseLost
from pipeline.continuous.loop import Loop
from pipeline.continuous.observe import Seen
from pipeline.continuous.policy import Observation
from pipeline.continuous.runs import Done, RefusedSpan, RunFailed
from pipeline.continuous.spans import Watch
from pipeline.store import decisions
from pipeline.store.decisions import COMPLETE, FAILED, REFUSED, RETRAIN, WAIT, Record
from tests import services

START = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Killed(BaseException):
    """What nobody handles."""


@dataclass
class World:
    """What outlives a process: the runs, and how much time is left to the one at work."""

    now: datetime = START
    trained: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The span and the window of the run of each decision."""
    ingested: list[int] = field(default_factory=list)
    bad: dict[int, Exception] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)
    """Why the next tries fail."""
    told: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    live_since: datetime = START
    asks: bool = True
    """Whether the observations ask for a run."""
    until_killed: float = float("inf")

    def effect(self) -> None:
        """A moment at which a process may be killed."""
        self.until_killed -= 1
        if self.until_killed < 0:
            raise Killed

    def ingest(self, span: int) -> None:
        self.effect()
        if span in self.bad:
            raise self.bad[span]
        self.ingested.append(span)
        self.effect()

    def train(
        self, decision: int, span: int, window: int, note: str, begun: Callable[[str], None]
    ) -> Done:
        self.effect()
        begun(f"run-{decision}")
        if self.failing:
            raise RunFailed(self.failing.pop(0))
        self.effect()
        # As with the real one: what the decision has begun is gone on with, and done once.
        self.trained.setdefault(decision, (span, window))
        self.effect()
        return Done(f"run-{decision}", "7")

    def observe(self, span: int) -> Seen:
        self.effect()
        live_since = None if self.asks else self.live_since
        return Seen(Observation(self.now, span, 27_000, True, live_since))

    def tell(self, event: str, facts: dict[str, str]) -> None:
        self.told.append((event, facts))
        self.effect()

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.told]


class NoLease:
    def check(self) -> None:
        pass


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    (tmp_path / "data").mkdir()
    return load(
        DEFAULT,
        [
            f"root={json.dumps(str(tmp_path / 'root'))}",
            f"data.path={json.dumps(str(tmp_path / 'data'))}",
            "continuous.marker=_SUCCESS",
        ],
    )


def deliver(
    config: PipelineConfig, span: int, content: str = "rows", *, whole: bool = True
) -> None:
    folder = Path(config.data.path) / f"span-{span:02}"
    folder.mkdir(exist_ok=True)
    (folder / "data.parquet").write_text(f"{span} {content}")
    if whole:
        (folder / "_SUCCESS").touch()


def loop_of(config: PipelineConfig, world: World) -> Loop:
    return Loop(
        config=config,
        runner=world,
        observe=world.observe,
        tell=world.tell,
        lease=NoLease(),  # type: ignore[arg-type]
        watch=Watch(config, time.monotonic),
        now=lambda: world.now,
    )


def kept(config: PipelineConfig) -> list[Record]:
    with decisions.alone(config) as store:
        return list(decisions.read(store, config.name)[::-1])


def verdicts(config: PipelineConfig) -> list[tuple[int, str]]:
    return [(one.span, one.verdict) for one in kept(config)]


def test_each_span_is_decided_about_once_and_in_order(config: PipelineConfig) -> None:
    world = World()
    for span in (2, 1, 3):
        deliver(config, span)
    loop = loop_of(config, world)
    assert loop.step()
    assert loop.step()
    assert verdicts(config) == [(1, RETRAIN), (2, RETRAIN), (3, RETRAIN)]
    assert list(world.trained.values()) == [(1, 2), (2, 3), (3, 3)]
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
    assert list(world.trained.values())[2] == (2, 3)  # the newest span is not given up for it


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
    assert list(world.trained.values())[1] == (5, 3)


def test_a_corrupt_span_is_refused_told_and_left_out_of_later_runs(config: PipelineConfig) -> None:
    world = World(bad={2: RefusedSpan("its file is cut short")})
    for span in (1, 2, 3):
        deliver(config, span)
    assert loop_of(config, world).step()
    assert loop_of(config, world).step()
    assert verdicts(config) == [(1, RETRAIN), (2, REFUSED), (3, RETRAIN)]
    assert ("refused", "Span 2: refused, because its file is cut short.") in [
        (event, facts["reason"]) for event, facts in world.told if event == "refused"
    ]
    assert list(world.trained.values()) == [(1, 2), (3, 1)]
    world.bad.clear()
    deliver(config, 2, "whole again")
    assert loop_of(config, world).step()
    assert list(world.trained.values())[2] == (3, 3)


def test_what_cannot_be_ingested_for_now_backs_off_and_is_not_skipped(
    config: PipelineConfig,
) -> None:
    world = World(bad={1: RunFailed("the disk is full")})
    deliver(config, 1)
    loop = loop_of(config, world)
    assert not loop.step()
    assert not loop.step()
    assert world.events == ["failed"]
    world.now += timedelta(seconds=61)
    assert not loop.step()
    world.now += timedelta(seconds=61)
    assert not loop.step()  # the second pause is twice as long
    assert world.events == ["failed", "failed"]
    world.now += timedelta(seconds=61)
    world.bad.clear()
    assert loop.step()
    assert verdicts(config) == [(1, RETRAIN)]


def test_a_failed_run_backs_off_is_tried_again_and_given_up_at_last(
    config: PipelineConfig,
) -> None:
    world = World(failing=["Trainer.keras: out of memory"] * 3)
    deliver(config, 1)
    assert not loop_of(config, world).step()
    assert not loop_of(config, world).step()  # another process keeps to the pause as well
    assert len(world.failing) == 2
    world.now += timedelta(seconds=61)
    assert not loop_of(config, world).step()
    world.now += timedelta(seconds=121)
    assert loop_of(config, world).step()
    (one,) = kept(config)
    assert (one.state, one.failure, one.tries) == (FAILED, "Trainer.keras: out of memory", 3)
    outcomes = [facts["outcome"] for event, facts in world.told if event == "failed"]
    assert outcomes[0].startswith("try 1: tried again from 2026-11-25 12:01:00 UTC")
    assert outcomes[2] == "try 3: given up"
    assert world.trained == {}
    deliver(config, 2)
    assert loop_of(config, world).step()
    assert list(world.trained.values()) == [(2, 3)]


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
    assert list(world.trained.values()) == [(1, 2)]


@pytest.mark.parametrize("moment", range(20))
def test_a_process_that_is_killed_at_any_moment_is_gone_on_from(
    config: PipelineConfig, moment: int
) -> None:
    world = World(until_killed=moment, bad={2: RefusedSpan("cut short")})
    for span in (1, 2, 3):
        deliver(config, span)
    try:
        loop_of(config, world).step()
    except Killed:
        world.until_killed = float("inf")
        assert loop_of(config, world).step()
    assert verdicts(config) == [(1, RETRAIN), (2, REFUSED), (3, RETRAIN)]
    assert list(world.trained.values()) == [(1, 2), (3, 1)]
    assert [one.run_id for one in kept(config)] == [
        f"run-{one.id}" if one.verdict == RETRAIN else "" for one in kept(config)
    ]
    assert {one.state for one in kept(config)} == {COMPLETE}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def stored(
    request: pytest.FixtureRequest, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> PipelineConfig:
    if request.param == "sqlite":
        return config
    monkeypatch.setenv("PIPELINE_STORE_PASSWORD", services.PASSWORD)
    server: services.Server = request.getfixturevalue(f"{request.param}_server")
    return load(DEFAULT, [f"store.url={json.dumps(server.database())}"])


def test_one_process_at_a_time_has_the_lease_until_it_ends_or_dies(
    stored: PipelineConfig,
) -> None:
    clock = [1000.0]

    def lease() -> Lease:
        return Lease(stored, seconds=90, clock=lambda: clock[0])

    with lease() as first:
        with pytest.raises(LeaseLost, match=f"by another process, {first.owner}"):
            lease().renew()
        clock[0] += 80
        first.renew()
        clock[0] += 80
        with pytest.raises(LeaseLost):
            lease().renew()
    dead = lease()
    dead.renew()
    clock[0] += 91
    heir = lease()
    heir.renew()
    with pytest.raises(LeaseLost):
        dead.check()
    heir.check()


def test_a_lease_renews_itself(config: PipelineConfig) -> None:
    with Lease(config, seconds=0.3):
        time.sleep(0.7)
        with pytest.raises(LeaseLost):
            Lease(config, seconds=0.3).renew()


SCRIPT = """
    import sys, time
    from pathlib import Path
    from pipeline.config_file import load
    from pipeline.continuous.lease import Lease
    from pipeline.continuous.loop import Loop
    from pipeline.continuous.observe import Seen
    from pipeline.continuous.policy import Observation
    from pipeline.continuous.runs import Done
    from pipeline.continuous.spans import Watch
    from datetime import datetime, UTC

    root = Path(sys.argv[1])
    config = load(Path("configs/flights.toml"), sys.argv[2:])

    class Runs:
        def ingest(self, span):
            time.sleep(0.05)

        def train(self, decision, span, window, note, begun):
            begun(f"run-{decision}")
            (root / f"begun-{decision}").touch()
            time.sleep(0.05)
            with (root / "trained").open("a") as log:
                log.write(f"{decision} {span}\\n")
            return Done(f"run-{decision}", "7")

    def observe(span):
        return Seen(Observation(datetime.now(UTC), span, 27000, True))

    with Lease(config, seconds=1) as lease:
        Loop(config, Runs(), observe, print, lease, Watch(config, time.monotonic)).step()
    print("done")
"""


def _whole(config: PipelineConfig, tmp_path: Path) -> Iterator[list[str]]:
    options = [f"root={config.root}", f"data.path={config.data.path}"]
    yield [
        sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path), *options,
        "continuous.marker=_SUCCESS",
    ]  # fmt: skip


def test_kill_9_loses_no_span_and_decides_none_twice(
    config: PipelineConfig, tmp_path: Path
) -> None:
    for span in range(1, 6):
        deliver(config, span)
    (command,) = _whole(config, tmp_path)
    settings: dict[str, Any] = {"cwd": PROJECT, "capture_output": True, "text": True}
    for number in (1, 3):
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
        while len(list(tmp_path.glob("begun-*"))) < number and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(1.1)  # The lease of the dead one ends.
    done = subprocess.run(command, check=True, **settings)
    assert done.stdout.splitlines()[-1] == "done"
    assert verdicts(config) == [(span, RETRAIN) for span in range(1, 6)]
    assert {one.state for one in kept(config)} == {COMPLETE}
    trained = [line.split()[1] for line in (tmp_path / "trained").read_text().splitlines()]
    assert list(dict.fromkeys(trained)) == ["1", "2", "3", "4", "5"]
