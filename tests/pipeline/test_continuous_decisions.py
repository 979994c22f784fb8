"""Decisions in the store, and which run each of them started, on each kind of store."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.lease import Lease
from pipeline.store import decisions
from pipeline.store.decisions import COMPLETE, FAILED, RETRAIN, RUNNING, WAIT, Facts
from tests import services
from tests.pipeline.written_store import Writer

LONG = "".join(sha256(str(i).encode()).hexdigest() for i in range(100))
"""A text that no database can make short."""
FACTS = Facts(
    pipeline="flights",
    span=4,
    content="ab" * 32,
    listing="cd" * 32,
    verdict=RETRAIN,
    reason="Span 4: retrain, because the live model's auc fell; see C:\\x 'y'.",
    numbers=json.dumps([{"rule": "age", "holds": True, "words": LONG}]),
    policy='{"min_rows": 1000}',
    observed=json.dumps({"span": 4, "rows": 27_000, "is_new": True, "live_version": LONG}),
)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def config(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PipelineConfig:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/store.sqlite"
    else:
        monkeypatch.setenv("PIPELINE_STORE_PASSWORD", services.PASSWORD)
        server: services.Server = request.getfixturevalue(f"{request.param}_server")
        url = server.database()
    config = load(DEFAULT, [f"store.url={json.dumps(url)}"])
    with decisions.alone(config):
        pass  # It makes the tables.
    return config


def test_a_decision_is_kept_with_what_it_looked_at(config: PipelineConfig) -> None:
    w = Writer(config.store_url)
    examples = w.artifact("Examples", span=4)
    statistics = w.artifact("ExampleStatistics", span=4)
    live = w.artifact("PushedModel", pushed=1)
    inputs = {"statistics": statistics, "examples": examples, "live_model": live}
    made = decisions.write(w.store, FACTS, inputs)
    (found,) = lineage.open(config).decisions()
    assert {name: getattr(found, name) for name in vars(FACTS)} == vars(FACTS)
    assert (found.id, found.state, found.run_id, found.run) == (made, RUNNING, "", None)
    assert {name: artifact.id for name, artifact in found.inputs.items()} == inputs
    assert found.findings[0]["rule"] == "age"
    assert found.observation is not None
    assert (found.observation.rows, found.observation.live_version) == (27_000, LONG)
    assert "Span 4" in found._repr_html_()
    store = lineage.open(config)
    assert store.live_model().properties == {"pushed": 1}
    assert [node.type for node in store.live_model().consumers] == [decisions.EXECUTION]
    assert store.live_model().descendants() == ()


def test_a_run_says_which_decision_started_it(config: PipelineConfig) -> None:
    w = Writer(config.store_url)
    first = decisions.write(w.store, FACTS, {})
    decisions.started(w.store, first, "run-1")
    decisions.ended(w.store, first, FAILED, failure="Trainer.keras: out of memory")
    second = decisions.write(w.store, replace(FACTS, span=5), {})
    decisions.started(w.store, second, "run-2")
    decisions.ended(w.store, second, COMPLETE)
    for run in ("run-1", "run-2", "by-hand"):
        w.facts(run, pipeline="flights")
    store = lineage.open(config)
    assert [one.id for one in store.decisions()] == [second, first]
    found = store.run("run-1").retrain_decision
    assert found is store.decisions()[1]
    assert found.run is store.run("run-1")
    assert (found.state, found.failure) == (FAILED, "Trainer.keras: out of memory")
    assert store.run("run-2").retrain_decision is store.decisions()[0]
    assert store.run("by-hand").retrain_decision is None


def test_a_decision_to_wait_is_at_its_end(config: PipelineConfig) -> None:
    w = Writer(config.store_url)
    decisions.write(w.store, replace(FACTS, verdict=WAIT), {})
    decisions.write(w.store, replace(FACTS, pipeline="taxi"), {})
    assert [one.pipeline for one in decisions.read(w.store)] == ["taxi", "flights"]
    (found,) = decisions.read(w.store, "flights")
    assert found.state == COMPLETE


def test_when_spans_are_to_be_tried_again_is_kept_beside_the_lease(config: PipelineConfig) -> None:
    until = decisions.Postponed(2, datetime(2026, 11, 25, 12, tzinfo=UTC))
    later = decisions.Postponed(1, until.next_try + timedelta(hours=1))
    with Lease(config) as lease:
        with decisions.alone(config) as store:
            decisions.postpone(store, config.name, 4, until)
            decisions.postpone(store, config.name, 5, later)
        lease.check()
        with decisions.alone(config) as store:
            assert decisions.postponed(store, config.name) == {4: until, 5: later}
            assert decisions.postponed(store, "taxi") == {}
            decisions.postpone(store, config.name, 4, None)
            assert decisions.postponed(store, config.name) == {5: later}


def test_a_store_without_decisions_has_none(config: PipelineConfig) -> None:
    w = Writer(config.store_url)
    w.facts("run-1", pipeline="flights")
    assert lineage.open(config).decisions() == ()
    assert lineage.open(config).run("run-1").retrain_decision is None
