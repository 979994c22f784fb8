"""The loop runs each decision once, whatever fails and whenever it is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.lease import Lease, LeaseLost
from pipeline.continuous.runs import RefusedSpan, RunFailed
from pipeline.store.decisions import COMPLETE, FAILED, REFUSED, RETRAIN
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
