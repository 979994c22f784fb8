"""A challenger is tried on the next span, which neither it nor the live model has learned from."""

from __future__ import annotations

import copy
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.config import PipelineConfig
from pipeline.continuous.policy import Challenger, Observation, Score
from pipeline.continuous.runs import RefusedSpan
from pipeline.continuous.trial import outcome
from pipeline.evaluate_config import EvaluateConfig, Metric, SelectConfig
from pipeline.store.decisions import COMPLETE, FAILED, KEEP, PROMOTE, REFUSED, RETRAIN
from tests.pipeline.continuous_world import (
    START,
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


def test_the_first_challenger_goes_live_at_once_and_the_next_ones_after_their_trial(
    config: PipelineConfig,
) -> None:
    world = World(shadow=True, auc={"1": 0.7, "2": 0.65, "3": 0.75})
    for span in (1, 2, 3, 4):
        deliver(config, span)
        assert loop_of(config, world).step()
    assert verdicts(config) == [
        (1, RETRAIN), (1, PROMOTE),
        (2, RETRAIN),
        (3, KEEP), (3, RETRAIN),
        (4, PROMOTE), (4, RETRAIN),
    ]  # fmt: skip
    assert (world.promoted, world.dropped) == (["1", "3"], ["2"])
    assert {one.state for one in kept(config)} == {COMPLETE}
    first, dropped, wins = (one for one in kept(config) if one.verdict in (PROMOTE, KEEP))
    assert first.reason == "Span 1: challenger version 1 goes live, because no model is."
    assert dropped.reason.startswith(
        "Span 3: challenger version 2 is dropped, because its auc of 0.6500 is worse than the live "
        "model's 0.7000 by 0.0500"
    )
    assert "better in 100.0% of 21 samples (limit 90%)" in wins.reason
    assert world.events[1:4] == ["retrained", "promoted", "decided"]


def test_the_policy_looks_at_the_model_that_won(config: PipelineConfig) -> None:
    world = World(shadow=True, auc={"1": 0.7, "2": 0.8})
    for span in (1, 2, 3):
        deliver(config, span)
    assert loop_of(config, world).step()
    promoted, retrained = kept(config)[-2:]
    assert '"version": "2"' in promoted.observed
    assert '"challenger": null' in retrained.observed


def test_a_promotion_that_fails_backs_off_and_nothing_else_is_begun_meanwhile(
    config: PipelineConfig,
) -> None:
    world = World(shadow=True, auc={"2": 0.8})
    for span in (1, 2):
        deliver(config, span)
    assert loop_of(config, world).step()
    deliver(config, 3)
    world.refusals = ["MLflow does not answer"]
    assert not loop_of(config, world).step()
    assert not loop_of(config, world).step()
    assert (world.live, verdicts(config)[-1]) == ("1", (3, PROMOTE))
    world.now += timedelta(seconds=61)
    assert loop_of(config, world).step()
    assert verdicts(config)[-2:] == [(3, PROMOTE), (3, RETRAIN)]
    assert world.promoted == ["1", "2"]


def test_a_promotion_that_was_given_up_is_not_begun_anew_before_the_next_span(
    config: PipelineConfig,
) -> None:
    once = config.continuous.model_copy(update={"tries": 1})
    config = config.model_copy(update={"continuous": once})
    world = World(shadow=True, refusals=["its bundle was changed"])
    deliver(config, 1)
    assert loop_of(config, world).step()
    assert loop_of(config, world).step()
    assert [(one.verdict, one.state, one.failure) for one in kept(config)] == [
        (RETRAIN, COMPLETE, ""),
        (PROMOTE, FAILED, "its bundle was changed"),
    ]
    deliver(config, 2)
    assert loop_of(config, world).step()
    assert (world.live, verdicts(config)[2:]) == ("2", [(2, RETRAIN), (2, PROMOTE)])


def test_a_trial_that_was_given_up_is_left_to_the_next_span(config: PipelineConfig) -> None:
    once = config.continuous.model_copy(update={"tries": 2})
    config = config.model_copy(update={"continuous": once})
    world = World(shadow=True, auc={"2": 0.8})
    for span in (1, 2):
        deliver(config, span)
    assert loop_of(config, world).step()
    deliver(config, 3)
    world.refusals = ["its bundle was changed"] * 3
    assert not loop_of(config, world).step()
    world.now += timedelta(seconds=61)
    assert loop_of(config, world).step()
    assert loop_of(config, world).step()
    assert [(one.span, one.verdict, one.state) for one in kept(config)[-2:]] == [
        (3, PROMOTE, FAILED),
        (3, RETRAIN, COMPLETE),
    ]
    assert (world.live, len(world.refusals)) == ("1", 1)


def test_a_registry_that_is_away_before_any_model_is_live_is_waited_for(
    config: PipelineConfig,
) -> None:
    world = World(shadow=True, bad={2: RefusedSpan("cut short")})
    deliver(config, 1)
    loop = loop_of(config, world)
    world.away = "MLflow does not answer"
    assert not loop.step()
    deliver(config, 2)
    assert not loop.step()
    assert verdicts(config) == [(2, REFUSED)]
    told = [facts for event, facts in world.told if event == "failed"]
    assert [one.get("span", "") for one in told] == ["", "1"]
    world.away = ""
    world.now += timedelta(seconds=61)
    assert loop.step()
    assert verdicts(config)[1:] == [(1, RETRAIN), (1, PROMOTE)]


def test_a_challenger_that_a_person_approves_meanwhile_is_none_any_more(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "unopposed", lambda _: 1)
    assert loop_of(config, World(shadow=True)).step()
    assert kept(config) == []


@pytest.fixture(scope="module")
def one_waits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """The folder, and the world, in which version 1 is live and version 2 waits."""
    folder = tmp_path_factory.mktemp("waits")
    world, config = World(shadow=True, auc={"2": 0.65, "3": 0.75}), make_config(folder)
    for span in (1, 2):
        deliver(config, span)
    loop_of(config, world).step()
    return folder, world


@pytest.mark.parametrize("moment", range(23))
def test_a_process_that_is_killed_at_any_moment_promotes_and_drops_once(
    one_waits: tuple[Path, World], tmp_path: Path, moment: int
) -> None:
    folder, world = one_waits
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    world, config = copy.deepcopy(world), make_config(tmp_path)
    world.until_killed = moment
    for span in (3, 4):
        deliver(config, span)
    with pytest.raises(Killed):
        loop_of(config, world).step()
    world.until_killed = float("inf")
    assert loop_of(config, world).step()
    assert verdicts(config)[3:] == [(3, KEEP), (3, RETRAIN), (4, PROMOTE), (4, RETRAIN)]
    assert (world.promoted, world.dropped) == (["1", "3"], ["2"])
    assert {one.state for one in kept(config)} == {COMPLETE}


@pytest.mark.parametrize("moment", range(7, 12))
def test_a_process_that_is_killed_before_the_first_is_live_makes_it_live_once(
    config: PipelineConfig, moment: int
) -> None:
    world = World(shadow=True, until_killed=moment)
    deliver(config, 1)
    with pytest.raises(Killed):
        loop_of(config, world).step()
    world.until_killed = float("inf")
    assert loop_of(config, world).step()
    assert verdicts(config) == [(1, RETRAIN), (1, PROMOTE)]
    assert (world.live, world.promoted) == ("1", ["1"])


def seen(live: Score | None, challenger: Score | None) -> Observation:
    scored = challenger and {Metric.AUC: challenger}
    return Observation(
        START, 4, 27_000, True, START,
        scores=live and {Metric.AUC: live}, challenger=Challenger("3", 7, scored),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("live", "challenger"), [(None, Score(0.8)), (Score(0.8), None), (None, None)]
)
def test_what_could_not_be_scored_waits_on(live: Score | None, challenger: Score | None) -> None:
    assert outcome(seen(live, challenger), SelectConfig(), EvaluateConfig()) is None


@pytest.mark.parametrize(
    ("ahead", "margin", "promotes"),
    [(0.0, 0.0, False), (0.01, 0.0, True), (0.01, 0.02, False), (-0.01, -0.02, True)],
)
def test_too_few_rows_for_samples_are_judged_by_the_metric_itself(
    ahead: float, margin: float, promotes: bool
) -> None:
    found = outcome(
        seen(Score(0.7), Score(0.7 + ahead)), SelectConfig(margin=margin), EvaluateConfig()
    )
    assert found is not None
    assert found.promote is promotes
    assert "on all rows, which are too few groups to draw samples from" in found.reason


def test_a_challenger_that_is_better_in_too_few_samples_is_dropped() -> None:
    live = Score(0.70, (0.70, 0.70, 0.70, 0.70, float("nan")))
    challenger = Score(0.72, (0.72, 0.72, 0.72, 0.69, 0.8))
    found = outcome(seen(live, challenger), SelectConfig(), EvaluateConfig())
    assert found is not None and not found.promote
    assert "better in 75.0% of 4 samples (limit 90%)" in found.reason
