"""What is said of the decisions to come is what the loop decides then."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.continuous import simulate
from pipeline.continuous.observe import Seen
from tests.pipeline.continuous_world import (
    World,
    deliver,
    kept,
    loop_of,
    make_config,
)


def nobody(span: int) -> Seen:
    raise AssertionError(f"span {span} is looked at")


def test_what_was_decided_about_is_not_looked_at_again(tmp_path: Path) -> None:
    config, world = make_config(tmp_path), World()
    for span in (1, 2):
        deliver(config, span)
    loop_of(config, world).step()
    before = kept(config)
    told = list(simulate.simulate(config, nobody))
    assert told == ["Nothing new: it was decided about all 2 spans that are there."]
    deliver(config, 2, "other rows")
    assert list(simulate.simulate(config, nobody)) == [
        "To be ingested and looked at first: span 2."
    ]
    assert kept(config) == before


def test_a_span_that_waits_is_asked_anew(tmp_path: Path) -> None:
    config, world = make_config(tmp_path), World(asks=False)
    deliver(config, 1)
    loop_of(config, world).step()
    _, reason, *findings = simulate.simulate(config, world.observe)
    assert reason.startswith("Span 1: no run, because")
    assert findings and all(line.startswith("  ") for line in findings)


def test_a_decision_that_is_not_carried_out_yet_comes_first(tmp_path: Path) -> None:
    config, world = make_config(tmp_path), World(failing=["out of memory"])
    deliver(config, 1)
    loop_of(config, world).step()
    first, *_ = simulate.simulate(config, world.observe)
    assert first.startswith(f"Decision {kept(config)[0].id} is at work, and is ended first: Span 1")


def test_of_a_span_that_is_ingested_trial_and_lateness_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, world = make_config(tmp_path), World(shadow=True, live="1", waiting="2")
    config = config.model_copy(update={"data": config.data.model_copy(update={"window": 1})})
    deliver(config, 3)
    loop_of(config, World()).step()
    deliver(config, 1)
    monkeypatch.setattr(simulate, "_is_ingested", lambda *_: True)
    trial, late, *_ = simulate.simulate(config, world.observe)
    assert trial.startswith("Span 1: challenger version 2 ")
    assert "it came late: a run learns from spans 3 to 3" in late
