"""What the policy decides, and what no observation may ever make it decide."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config_file import DEFAULT, load
from pipeline.continuous.policy import Drifted, Moved, Observation, Policy, Rule, Score
from pipeline.continuous_config import ContinuousConfig
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WELL = Observation(
    now=NOW,
    span=4,
    rows=27_000,
    is_new=True,
    live_since=NOW - timedelta(days=20),
    learned=(1, 2, 3),
    unlearned=1,
    scores={
        Metric.AUC: Score(0.69, (0.68, 0.69, 0.70), 0.70, (0.69, 0.70, 0.71)),
        Metric.LOG_LOSS: Score(0.51, (0.50, 0.51, 0.52), 0.50, (0.49, 0.50, 0.51)),
    },
)
"""A span on which the live model does as before."""


def policy(**settings: Any) -> Policy:
    """One whose reasons are only those that are named."""
    nothing = {"drift": {"enabled": False}, "performance": {}, "max_age_spans": 0}
    return Policy(ContinuousConfig.model_validate(nothing | settings))


def moved(span: int, **distances: float) -> Drifted:
    return Drifted(span, tuple(Moved(name, True, value) for name, value in distances.items()))


def holding(found: Policy, seen: Observation) -> list[Rule]:
    return [finding.rule for finding in found.decide(seen).findings if finding.holds]


def test_a_first_model_is_trained_whatever_the_policy_says() -> None:
    decision = policy().decide(Observation(now=NOW, span=1, rows=27_000, is_new=True))
    assert decision.retrain
    assert decision.reason == "Span 1: retrain, because no model is live yet."


def test_an_empty_policy_never_retrains() -> None:
    decision = policy().decide(WELL)
    assert not decision.retrain
    assert decision.reason == "Span 4: no run, because nothing in the policy asks for a run."


def test_the_default_policy_lets_a_model_alone_that_does_as_before() -> None:
    assert not Policy(ContinuousConfig()).decide(WELL).retrain


def test_the_default_policy_retrains_where_the_auc_fell() -> None:
    fallen = {**(WELL.scores or {}), Metric.AUC: Score(0.58, (0.58,) * 3, 0.7, (0.69, 0.7, 0.71))}
    decision = Policy(ContinuousConfig()).decide(replace(WELL, scores=fallen))
    assert decision.retrain
    assert "auc of 0.5800 is worse than the 0.7000 at its push" in decision.reason


def test_a_fall_that_too_few_samples_show_is_none() -> None:
    unsure = {Metric.AUC: Score(0.6, (0.6, 0.7, 0.7), 0.7, (0.7, 0.7, 0.7))}
    rule = {"auc": {"max_fall": 0.02}}
    seen = replace(WELL, scores=unsure)
    assert not policy(performance=rule, confidence=0.9).decide(seen).retrain
    assert policy(performance=rule, confidence=0.5).decide(seen).retrain is False
    likely = {Metric.AUC: Score(0.6, (0.6, 0.6, 0.7), 0.7, (0.7, 0.7, 0.7))}
    seen = replace(WELL, scores=likely)
    assert policy(performance=rule, confidence=0.6).decide(seen).retrain


@pytest.mark.parametrize(
    ("metric", "rule", "value", "fires"),
    [
        ("auc", {"min": 0.65}, 0.64, True),
        ("auc", {"min": 0.65}, 0.66, False),
        ("log_loss", {"max": 0.55}, 0.56, True),
        ("log_loss", {"max": 0.55}, 0.54, False),
        ("log_loss", {"max_fall": 0.1}, 0.61, True),
        ("log_loss", {"max_fall": 0.1}, 0.39, False),  # better
        ("calibration", {"max_fall": 0.1}, 1.61, True),
        ("calibration", {"max_fall": 0.1}, 1.2, False),  # nearer to 1 than 0.5 was
        ("calibration", {"min": 0.8, "max": 1.2}, 0.7, True),
        ("calibration", {"min": 0.8, "max": 1.2}, 1.3, True),
    ],
)
def test_a_metric_fires_by_its_own_worse_end(
    metric: str, rule: dict[str, float], value: float, fires: bool
) -> None:
    seen = replace(WELL, scores={Metric(metric): Score(value, before=0.5)})
    assert policy(performance={metric: rule}).decide(seen).retrain is fires


def test_nothing_is_concluded_from_a_score_that_is_not_known() -> None:
    rules = {"auc": {"min": 0.99, "max_fall": 0}}
    assert not policy(performance=rules).decide(replace(WELL, scores=None)).retrain
    unknown = {Metric.AUC: Score(1.0, before=None)}
    decision = policy(performance=rules).decide(replace(WELL, scores=unknown))
    assert not decision.retrain
    assert "when it was pushed is not known" in decision.findings[-1].words


def test_one_odd_span_is_no_drift_and_a_new_season_is() -> None:
    rain = replace(WELL, span=5, drift=(moved(4, precip=0.1), moved(5, precip=0.6)))
    summer = replace(WELL, span=5, drift=(moved(4, temp=0.4), moved(5, temp=0.8)))
    assert Rule.DRIFT not in holding(Policy(ContinuousConfig()), rain)
    assert Rule.DRIFT in holding(Policy(ContinuousConfig()), summer)
    assert Rule.DRIFT not in holding(policy(drift={"columns": 2}), summer)


def test_drift_counts_the_spans_of_the_last_few() -> None:
    spans = (moved(4, a=0.9), moved(5, a=0.1), moved(6, a=0.9), moved(7, a=0.1))

    def fires(**rule: Any) -> bool:
        found = policy(drift={"columns": 1, **rule})
        return found.decide(replace(WELL, span=7, drift=spans)).retrain

    assert fires(spans=1, of=2)
    assert not fires(spans=2, of=3)
    assert fires(spans=2, of=4)


def test_a_column_is_held_to_its_own_threshold() -> None:
    columns = (Moved("temp", True, 0.5), Moved("carrier", False, 0.15))
    seen = replace(WELL, drift=(Drifted(4, columns),))
    one = {"columns": 1, "spans": 1, "of": 1}
    assert not policy(drift=one | {"thresholds": {"temp": 1, "carrier": 0.2}}).decide(seen).retrain
    assert policy(drift=one | {"thresholds": {"temp": 1}}).decide(seen).retrain
    assert (
        not policy(drift=one | {"max_l_infinity": 0.2, "max_js_divergence": 0.5})
        .decide(seen)
        .retrain
    )


def test_the_schedule_is_due_once_and_in_its_time_zone() -> None:
    live_since = datetime(2026, 11, 25, 4, 30, tzinfo=UTC)
    seen = replace(WELL, live_since=live_since, now=datetime(2026, 11, 25, 5, 30, tzinfo=UTC))
    assert policy(cron="0 6 * * *", timezone="Europe/Berlin").decide(seen).retrain
    assert not policy(cron="0 6 * * *").decide(seen).retrain
    again = replace(seen, runs=(datetime(2026, 11, 25, 5, 1, tzinfo=UTC),))
    assert not policy(cron="0 6 * * *", timezone="Europe/Berlin").decide(again).retrain


def test_age_is_told_in_days_and_in_spans() -> None:
    assert policy(max_age_days=20).decide(WELL).retrain
    assert not policy(max_age_days=21).decide(WELL).retrain
    assert policy(max_age_spans=1).decide(WELL).retrain
    assert not policy(max_age_spans=2).decide(WELL).retrain


@pytest.mark.parametrize(
    ("settings", "change", "rule"),
    [
        ({"min_rows": 27_001}, {}, Rule.MIN_ROWS),
        ({"quiet_hours": 24}, {"runs": (NOW - timedelta(hours=23),)}, Rule.QUIET),
        ({"budget": {"runs": 1}}, {"runs": (NOW - timedelta(days=29),)}, Rule.BUDGET),
        ({"budget": {"runs": 0}}, {}, Rule.BUDGET),
        ({}, {"is_new": False}, Rule.NOTHING_NEW),
    ],
)
def test_what_holds_back_outweighs_the_reasons_and_says_so(
    settings: dict[str, Any], change: dict[str, Any], rule: Rule
) -> None:
    decision = policy(max_age_spans=1, **settings).decide(replace(WELL, **change))
    assert not decision.retrain
    assert [f.rule for f in decision.findings if f.holds] == [rule, Rule.AGE]
    assert ", although 1 span has come since" in decision.reason


def test_what_is_over_holds_nothing_back() -> None:
    settings = {"quiet_hours": 24, "budget": {"runs": 1, "days": 2}, "every_span": True}
    seen = replace(WELL, runs=(NOW - timedelta(hours=49),))
    assert policy(**settings).decide(seen).retrain


def test_the_numbers_are_json() -> None:
    found = json.loads(Policy(ContinuousConfig()).decide(WELL).numbers())
    assert [one["rule"] for one in found] == [
        "nothing new", "minimum rows", "drift", "performance", "age",
    ]  # fmt: skip
    assert found[1] | {"words": ""} == {
        "rule": "minimum rows", "holds": False, "value": 27000, "bound": 1000, "words": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cron='0 6 * *'", "names no time that comes"),
        ("cron='0 0 30 2 *'", "names no time that comes"),
        ("cron='61 * * * *'", "names no time that comes"),
        ("timezone='Mars/Olympus'", "is no time zone"),
        ("drift.spans=4", "can never be; raise of"),
        ("performance.auc={}", "needs at least one of"),
        ("performance.auk={min=0.5}", "did you mean auc"),
    ],
)
def test_a_mistake_in_the_policy_is_a_sentence(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(DEFAULT, [f"continuous.{setting}"])


def test_a_policy_does_not_change() -> None:
    with pytest.raises(ValidationError):
        ContinuousConfig().min_rows = 3  # type: ignore[misc]


SHARES = st.floats(0, 1)
COLUMNS = st.dictionaries(st.sampled_from("abcd"), SHARES, min_size=1)
MOMENTS = st.floats(0, 90).map(lambda days: NOW - timedelta(days=days))


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    samples = st.lists(SHARES, min_size=4, max_size=4).map(tuple)
    scores = {
        metric: Score(draw(SHARES), draw(samples), draw(SHARES), draw(samples))
        for metric in draw(st.sets(st.sampled_from(Metric)))
    }
    first = draw(st.integers(4, 6))
    drift = tuple(moved(span, **draw(COLUMNS)) for span in range(first, 8))
    return Observation(
        now=NOW,
        span=7,
        rows=draw(st.integers(0, 3000)),
        is_new=draw(st.booleans()),
        live_since=draw(st.none() | MOMENTS),
        unlearned=draw(st.integers(0, 5)),
        drift=drift,
        scores=draw(st.none() | st.just(scores)),
        runs=draw(st.lists(MOMENTS, max_size=4).map(tuple)),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    of = draw(st.integers(1, 4))
    rule = st.fixed_dictionaries({"max_fall": SHARES}) | st.fixed_dictionaries({"min": SHARES})
    settings = {
        "every_span": draw(st.booleans()),
        "cron": draw(st.none() | st.just("0 6 2 * *")),
        "drift": {
            "columns": draw(st.integers(1, 3)),
            "of": of,
            "spans": draw(st.integers(1, of)),
            "max_js_divergence": draw(SHARES),
        },
        "performance": draw(st.dictionaries(st.sampled_from([*map(str, Metric)]), rule)),
        "confidence": draw(st.floats(0.5, 0.99)),
        "max_age_days": draw(st.floats(0, 90)),
        "max_age_spans": draw(st.integers(0, 5)),
        "min_rows": draw(st.integers(0, 3000)),
        "quiet_hours": draw(st.floats(0, 999)),
        "budget": draw(st.none() | st.fixed_dictionaries({"runs": st.integers(0, 4)})),
    }
    return Policy(ContinuousConfig.model_validate(settings))


@given(policies(), observations(), SHARES)
def test_more_drift_never_turns_a_yes_into_a_no(
    found: Policy, seen: Observation, more: float
) -> None:
    worse = tuple(
        replace(one, columns=tuple(replace(c, distance=max(c.distance, more)) for c in one.columns))
        for one in seen.drift
    )
    assert found.decide(seen).retrain <= found.decide(replace(seen, drift=worse)).retrain


@given(policies(), observations(), SHARES)
def test_a_lower_auc_never_turns_a_yes_into_a_no(
    found: Policy, seen: Observation, less: float
) -> None:
    scores = dict(seen.scores or {})
    if Metric.AUC in scores:
        lower = tuple(min(value, less) for value in scores[Metric.AUC].samples)
        scores[Metric.AUC] = replace(scores[Metric.AUC], samples=lower)
    worse = replace(seen, scores=scores)
    assert found.decide(seen).retrain <= found.decide(worse).retrain


@given(policies(), observations(), st.integers(0, 3))
def test_an_older_model_never_turns_a_yes_into_a_no(
    found: Policy, seen: Observation, more: int
) -> None:
    older = replace(seen, unlearned=seen.unlearned + more)
    assert found.decide(seen).retrain <= found.decide(older).retrain


@given(policies(), observations())
def test_a_spent_budget_and_a_quiet_period_always_win(found: Policy, seen: Observation) -> None:
    spent = found.config.model_copy(update={"budget": None, "quiet_hours": 1.0, "every_span": True})
    assert not Policy(spent).decide(replace(seen, runs=(NOW,))).retrain
    one = ContinuousConfig.model_validate({"budget": {"runs": 1}}).budget
    spent = found.config.model_copy(update={"budget": one, "every_span": True})
    assert not Policy(spent).decide(replace(seen, runs=(NOW - timedelta(days=1),))).retrain


@given(policies(), observations())
def test_a_decision_says_why_in_one_sentence_and_is_made_twice_alike(
    found: Policy, seen: Observation
) -> None:
    decision = found.decide(seen)
    assert decision == found.decide(seen)
    assert decision.reason.startswith("Span 7: ")
    assert decision.reason.endswith(".")
    assert ("no run" in decision.reason) is not decision.retrain
    json.loads(decision.numbers())
