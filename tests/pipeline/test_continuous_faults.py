"""The loop runs each decision once, whatever fails and whenever it is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore

from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.lease import Lease, LeaseLost
from pipeline.continuous.runs import RefusedSpan, RunFailed
from pipeline.errors import UserError
from pipeline.store import decisions
from pipeline.store.decisions import COMPLETE, FAILED, REFUSED, RETRAIN, RUNNING, WAIT
from tests import services
from tests.pipeline.continuous_world import (
    Killed,
    World,
    deliver,
    kept,
    loop_of,
    make_config,
    verdicts,
)


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return make_config(tmp_path)


def test_what_cannot_be_ingested_for_now_backs_off_and_is_not_skipped(
    config: PipelineConfig,
) -> None:
    world = World(bad={1: RunFailed("the disk is full")})
    deliver(config, 1)

    def look() -> bool:
        return loop_of(config, world).step()  # each time another process

    assert not look()
    assert not look()
    assert world.events == ["failed"]
    world.now += timedelta(seconds=61)
    assert not look()
    world.now += timedelta(seconds=61)
    assert not look()  # the second pause is twice as long
    assert [facts["outcome"] for _, facts in world.told] == [
        "try 1: tried again from 2026-11-25 12:01:00 UTC on",
        "try 2: tried again from 2026-11-25 12:03:01 UTC on",
    ]
    world.now += timedelta(seconds=61)
    world.bad.clear()
    assert look()
    assert verdicts(config) == [(1, RETRAIN)]
    with decisions.alone(config) as store:
        assert decisions.postponed(store, config.name) == {}


def test_a_run_that_another_runner_is_at_is_waited_for_and_no_try_is_counted(
    config: PipelineConfig,
) -> None:
    world = World(elsewhere="run 9 of it is carried out by airflow and has not ended")
    deliver(config, 1)
    loop = loop_of(config, world)
    assert not any(loop.step() for _ in range(5))
    assert world.events == ["decided", "waits"]
    (one,) = kept(config)
    assert (one.state, one.tries) == (RUNNING, 0)
    world.elsewhere = ""
    assert loop.step()
    assert world.events[2:] == ["retrained"]


def test_a_span_that_cannot_be_looked_at_holds_up_no_other(config: PipelineConfig) -> None:
    world = World(unseen=[UserError("its statistics are damaged")])
    for span in (1, 2):
        deliver(config, span)
    assert not loop_of(config, world).step()
    assert verdicts(config) == [(2, RETRAIN)]
    (failure,) = (facts for event, facts in world.told if event == "failed")
    assert (failure["span"], failure["failure"]) == ("1", "its statistics are damaged")
    world.now += timedelta(seconds=61)
    assert loop_of(config, world).step()
    assert verdicts(config) == [(2, RETRAIN), (1, RETRAIN)]


def test_a_lost_lease_ends_a_pass_and_is_no_failure_of_the_span(config: PipelineConfig) -> None:
    world = World(unseen=[LeaseLost("another process is at it")])
    deliver(config, 1)
    with pytest.raises(LeaseLost):
        loop_of(config, world).step()
    assert world.events == []


def test_a_live_model_that_cannot_be_asked_is_told_and_decided_without(
    config: PipelineConfig,
) -> None:
    world = World(asks=False, unscored="its bundle is damaged")
    deliver(config, 1)
    assert loop_of(config, world).step()
    assert verdicts(config) == [(1, WAIT)]
    assert world.events == ["failed", "decided"]
    assert world.told[0][1]["failure"] == "its bundle is damaged"


def test_a_look_at_a_waiting_span_that_fails_leaves_the_schedule_its_moment(
    config: PipelineConfig,
) -> None:
    cron = config.continuous.model_copy(update={"cron": "0 6 * * *"})
    config = config.model_copy(update={"continuous": cron})
    now = datetime.now(UTC)
    world = World(asks=False, now=now, live_since=now)
    deliver(config, 1)
    loop = loop_of(config, world)
    assert loop.step()
    world.now += timedelta(days=1)
    world.unseen = [RunFailed("the process was ended"), RunFailed("and again")]
    assert not loop.step()
    assert not loop.step()
    assert len(world.unseen) == 1  # It backs off.
    world.now += timedelta(seconds=61)
    assert not loop.step()
    world.now += timedelta(seconds=121)
    assert loop.step()
    assert verdicts(config) == [(1, WAIT), (1, RETRAIN)]


def test_a_run_that_was_given_up_is_asked_for_again_by_time_alone(config: PipelineConfig) -> None:
    once = config.continuous.model_copy(update={"tries": 1})
    config = config.model_copy(update={"continuous": once})
    world = World(now=datetime.now(UTC), failing=["out of memory"])
    deliver(config, 1)
    loop = loop_of(config, world)
    assert loop.step()
    assert loop.step()
    assert [one.state for one in kept(config)] == [FAILED]
    world.now += timedelta(days=1, minutes=1)
    assert loop.step()
    assert [(one.verdict, one.state) for one in kept(config)] == [
        (RETRAIN, FAILED),
        (RETRAIN, COMPLETE),
    ]


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
    assert list(world.trained.values()) == [2]


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
    assert list(world.trained.values()) == [1, 3]
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


def test_a_lease_outlasts_a_store_that_fails_for_a_while(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(config, seconds=0.6) as lease:
        failed = threading.Event()

        def fail(*_: object) -> None:
            failed.set()
            monkeypatch.undo()
            raise errors.InternalError("disk I/O error")

        monkeypatch.setattr(MetadataStore, "_pywrap_cc_call", fail)
        assert failed.wait(10)
        time.sleep(0.7)
        with pytest.raises(LeaseLost):
            Lease(config, seconds=0.6).renew()
        lease.check()


def test_a_lease_renews_itself(config: PipelineConfig) -> None:
    with Lease(config, seconds=3):
        time.sleep(3.5)
        with pytest.raises(LeaseLost):
            Lease(config, seconds=3).renew()


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

        def train(self, decision, span, note, begun):
            begun(f"run-{decision}")
            (root / f"begun-{decision}").touch()
            time.sleep(0.05)
            with (root / "trained").open("a") as log:
                log.write(f"{decision} {span}\\n")
            return Done(f"run-{decision}", "7")

    class NoChallengers:
        def unopposed(self):
            return None

    def observe(span):
        return Seen(Observation(datetime.now(UTC), span, 27000, True))

    with Lease(config, seconds=1) as lease:
        watch = Watch(config, time.monotonic)
        Loop(config, Runs(), observe, print, lease, watch, NoChallengers()).step()
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
