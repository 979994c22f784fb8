"""Decisions that are handed over: once each, and closed by how their run went."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pipeline.config import PipelineConfig
from pipeline.continuous.runs import RefusedSpan
from pipeline.store import decisions, record
from pipeline.tasks import decide, finish
from tests.pipeline.continuous_world import World, deliver, kept, make_config
from tests.pipeline.toy import compile_toy


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return make_config(tmp_path)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """What is seen of spans; each that comes asks for a run while `asks` is true."""
    world = World()
    monkeypatch.setattr(decide.ElsewhereRuns, "ingest", lambda self, span: world.ingest(span))
    monkeypatch.setattr(decide, "observe_apart", lambda config, span: world.observe(span))
    monkeypatch.setattr(decide, "telling", lambda config: world.tell)
    return world


def look(config: PipelineConfig, run_id: str) -> dict[str, object] | None:
    arguments = argparse.Namespace(run_id=run_id, store=config.store_url, ir_gzip="")
    return decide.decide(config, arguments)


def ran(config: PipelineConfig, run_id: str, outcome: str) -> None:
    """What a run that has ended leaves in the store."""
    note = f"Decision {kept(config)[0].id}: why"
    facts = {"pipeline": config.name, "note": note, **record.ended(outcome, reason="so")}
    with decisions.alone(config) as store:
        record.write(store, run_id, facts)


def test_a_run_is_handed_over_until_it_has_ended(config: PipelineConfig, world: World) -> None:
    assert look(config, "one") is None
    deliver(config, 1)
    found = look(config, "one")
    assert found is not None and (found["span"], found["retrain"]) == (1, True)
    assert found["note"] == f"Decision {found['decision']}: {found['reason']}"
    assert look(config, "one") == found  # The same look again, as a task that is tried again.
    (decision,) = kept(config)
    assert (decision.state, decision.run_id) == (decisions.RUNNING, found["run_id"])
    assert found["run_id"] == f"decision-{decision.id}-one"
    with decisions.alone(config) as store:
        facts = record.read(store, decision.run_id)
    assert (facts["runner"], facts["note"]) == ("airflow", found["note"])
    assert world.ingested == [1]
    ran(config, decision.run_id, record.SUCCEEDED)
    assert look(config, "two") is None
    assert [(one.state, one.tries) for one in kept(config)] == [(decisions.COMPLETE, 0)]


@pytest.mark.parametrize("kept_how", [True, False])
def test_a_run_that_failed_is_counted_once_and_handed_over_again(
    config: PipelineConfig, world: World, kept_how: bool
) -> None:
    continuous = config.continuous.model_copy(update={"tries": 2, "backoff_seconds": 0.0})
    config = config.model_copy(update={"continuous": continuous})
    deliver(config, 1)

    def try_it(name: str) -> str:
        found = look(config, name)
        assert found
        run_id = str(found["run_id"])
        if kept_how:  # Else its pod never began, or its time was over.
            ran(config, run_id, record.FAILED)
        return run_id

    first = try_it("one")
    reason = "so" if kept_how else "it ended without keeping how; see the log of its tasks"
    assert look(config, "two") is None
    assert [(one.tries, one.failure) for one in kept(config)] == [(1, f"run {first}: {reason}")]
    assert try_it("two") != first
    assert look(config, "three") is None
    assert [(one.tries, one.state) for one in kept(config)] == [(2, decisions.FAILED)]
    assert look(config, "three") is None


def test_a_run_that_a_person_has_brought_to_its_end_is_not_handed_over_again(
    config: PipelineConfig, world: World
) -> None:
    continuous = config.continuous.model_copy(update={"backoff_seconds": 0.0})
    config = config.model_copy(update={"continuous": continuous})
    deliver(config, 1)
    found = look(config, "one")
    assert found
    ran(config, str(found["run_id"]), record.FAILED)
    assert look(config, "two") is None
    ran(config, str(found["run_id"]), record.SUCCEEDED)
    assert look(config, "two") is None
    assert [one.state for one in kept(config)] == [decisions.COMPLETE]


def test_a_decision_against_a_run_is_told_and_not_asked_for_again(
    config: PipelineConfig, world: World
) -> None:
    world.asks = False
    world.bad = {2: RefusedSpan("it is empty")}
    deliver(config, 1)
    deliver(config, 2)
    found = look(config, "one")
    assert found is not None and (found["span"], found["retrain"]) == (2, False)
    assert "Span 2: refused, because it is empty." in str(found["reason"])
    assert look(config, "two") is None


def test_nothing_is_decided_while_another_process_holds_the_lease(
    config: PipelineConfig, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver(config, 1)
    with decide.Lease(config):
        assert look(config, "one") is None
    assert "nothing is decided now" in capsys.readouterr().out
    assert look(config, "one")


def test_finish_closes_the_decision_of_a_run_that_went_well(
    config: PipelineConfig, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deliver(config, 1)
    found = look(config, "one")
    assert found
    run_id = str(found["run_id"])
    arguments = argparse.Namespace(run_id=run_id, store=config.store_url)
    ran(config, run_id, record.FAILED)
    ir = compile_toy(str(tmp_path))
    ir.pipeline_info.id = config.name
    for outcome, state in (
        (record.FAILED, decisions.RUNNING),
        (record.SUCCEEDED, decisions.COMPLETE),
    ):
        monkeypatch.setattr(finish, "outcome_of", lambda *_, how=outcome: finish.Outcome(how))
        finish._recorded(arguments, ir)
        assert [one.state for one in kept(config)] == [state]
