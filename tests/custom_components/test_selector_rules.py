"""The rules of the selection, case by case."""

from __future__ import annotations

import numpy as np
import pytest

from custom_components.evaluator.verdict import (
    ENSEMBLE,
    LIVE,
)
from custom_components.selector_rules import select
from pipeline.evaluate_config import EvaluateConfig, Metric, SelectConfig
from tests.custom_components.verdicts import (
    GUARDS,
    REPLICATES,
    candidate,
    choose,
    in_samples,
    make_verdict,
)


def test_where_no_model_is_live_the_best_wins() -> None:
    selection = choose({"keras": 0.67, "xgboost": 0.68, "sklearn": 0.66})
    assert selection.winner == "xgboost"
    assert selection.reason == (
        "xgboost: auc 0.6800, the best of 3 that may go live; no other model is live"
    )
    assert [c.name for c in selection.candidates] == ["xgboost", "keras", "sklearn"]
    assert all(c.eligible and c.better_than_live is None for c in selection.candidates)
    assert (selection.live, selection.live_value) == (None, None)


def test_a_single_candidate_wins_where_no_model_is_live() -> None:
    selection = choose({"keras": 0.67})
    assert selection.reason == (
        "keras: auc 0.6700, the only one that may go live; no other model is live"
    )


def test_the_best_must_beat_a_live_model_of_another_framework() -> None:
    values = {"xgboost": 0.6781, "sklearn": 0.6702, LIVE: 0.6716}
    selection = choose(values)
    assert selection.winner == "xgboost"
    assert (selection.live, selection.live_value) == ("keras", 0.6716)
    gain = candidate(selection, "xgboost").better_than_live
    assert gain is not None
    assert gain.value == pytest.approx(0.0065)
    assert gain.low < gain.value < gain.high
    assert (gain.confidence, gain.certainty) == (0.95, 1.0)
    assert selection.reason == (
        "xgboost: auc 0.6781, better than the live keras (0.6716) by 0.0065 "
        f"(95 % interval {gain.low:.4f} to {gain.high:.4f}), in 100 % of 1,000 samples of rows by "
        "date"
    )
    assert candidate(selection, "sklearn").reason.startswith(
        "worse than the live keras (0.6716) by 0.0014 (95 % interval"
    )


def test_a_candidate_that_is_better_in_too_few_samples_ties_and_the_live_model_stays() -> None:
    selection = choose({"xgboost": 0.6720, LIVE: 0.6716})
    assert selection.winner is None
    gain = candidate(selection, "xgboost").better_than_live
    assert gain is not None
    assert 0.5 < gain.certainty < 0.9
    reason = candidate(selection, "xgboost").reason
    assert reason.startswith("better than the live keras (0.6716) by 0.0004 (95 % interval -0.00")
    assert reason.endswith("; 90 % are asked for (select.confidence): a tie")
    assert selection.reason == (
        f"the live keras stays: the best candidate, xgboost (auc 0.6720), is {reason}"
    )


def test_the_same_candidate_wins_where_less_confidence_is_asked_for() -> None:
    assert choose({"xgboost": 0.6720, LIVE: 0.6716}, confidence=0.6).winner == "xgboost"


def test_a_model_that_does_as_the_live_one_does_is_a_tie_even_with_a_negative_margin() -> None:
    values = {"keras": 0.67, LIVE: 0.67}
    samples = in_samples({LIVE: 0.67})
    samples["keras"] = samples[LIVE]
    for margin in (0.0, -0.01):
        config = SelectConfig(margin=margin)
        selection = select(make_verdict(values), samples, config, EvaluateConfig())
        assert selection.winner is None
        assert candidate(selection, "keras").reason == "the same as the live keras in auc: a tie"


def test_a_margin_must_be_reached_in_the_samples() -> None:
    values = {"xgboost": 0.6746, LIVE: 0.6716}
    assert choose(values, margin=0.001).winner == "xgboost"
    selection = choose(values, margin=0.004)
    assert selection.winner is None
    assert "by 0.004 or more in " in selection.reason


def test_a_margin_must_be_reached_on_all_rows_too() -> None:
    values = {"xgboost": 0.6736, LIVE: 0.6716}
    selection = select(
        make_verdict(values),
        {"xgboost": np.full(REPLICATES, 0.68), LIVE: np.full(REPLICATES, 0.67)},
        SelectConfig(margin=0.005),
        EvaluateConfig(),
    )
    assert selection.winner is None
    assert "; 0.005 is asked for on all rows (select.margin)" in selection.reason


def test_a_margin_below_0_lets_a_newer_model_be_a_little_worse() -> None:
    values = {"xgboost": 0.6700, LIVE: 0.6716}
    assert choose(values).winner is None
    selection = choose(values, margin=-0.005)
    assert selection.winner == "xgboost"
    assert "worse than the live keras (0.6716) by 0.0016" in selection.reason
    assert "no more than 0.005 worse in 100 % of 1,000 samples" in selection.reason
    assert choose({"xgboost": 0.6650, LIVE: 0.6716}, margin=-0.005).winner is None


@pytest.mark.parametrize("metric", [Metric.LOG_LOSS, Metric.CALIBRATION])
def test_the_right_end_of_the_metric_is_the_better_one(metric: Metric) -> None:
    lower = {"keras": 0.52, "xgboost": 0.50, LIVE: 0.51}
    selection = choose(lower, metric=metric)
    assert selection.winner == ("xgboost" if metric is Metric.LOG_LOSS else "keras")


def test_calibration_is_best_at_1_from_either_side() -> None:
    values = {"keras": 1.05, "xgboost": 0.98, "sklearn": 1.01, LIVE: 0.9}
    selection = choose(values, metric="calibration")
    assert [c.name for c in selection.candidates] == ["sklearn", "xgboost", "keras"]
    assert selection.winner == "sklearn"


def test_a_lower_error_is_better_and_the_margin_a_share_of_the_live_models() -> None:
    values = {"keras": 118_000.0, "xgboost": 116_900.0, LIVE: 120_000.0}
    samples = {name: value * np.linspace(0.9, 1.1, 100) for name, value in values.items()}
    verdict = make_verdict(values, Metric.RMSE)
    asked = {margin: SelectConfig(metric=Metric.RMSE, margin=margin) for margin in (0.02, 0.03)}
    found = {m: select(verdict, samples, config, EvaluateConfig()) for m, config in asked.items()}
    assert found[0.02].winner == "xgboost"
    assert "rmse 116,900, better than the live keras (120,000) by 3,100 " in found[0.02].reason
    assert ", by 2 % or more in 100 %" in found[0.02].reason
    assert found[0.03].winner is None


def test_a_slice_may_lose_a_share_of_the_live_models_error() -> None:
    values = {"keras": 100.0, LIVE: 110.0}
    slices = {"AA": (500, {"keras": 214.0, LIVE: 200.0})}
    verdict = make_verdict(values, Metric.RMSE, slices=slices)
    kept = {
        loss: select(
            verdict,
            in_samples(values),
            SelectConfig(metric=Metric.RMSE, max_slice_loss=loss),
            GUARDS,
        )
        for loss in (0.05, 0.08)
    }
    assert kept[0.08].winner == "keras"
    assert kept[0.05].winner is None
    said = "carrier AA: rmse 214 is 14 worse than the live model's 200, above 5 %"
    assert said in candidate(kept[0.05], "keras").reason


def test_a_cheaper_model_that_the_best_does_not_beat_wins() -> None:
    values = {"xgboost": 0.6783, "sklearn": 0.6781, "keras": 0.6700}
    verdict = make_verdict(values, costs={"xgboost": (2.0, 1.0), "keras": (0.1, 0.1)})
    selection = select(verdict, in_samples(values), SelectConfig(), EvaluateConfig())
    assert selection.winner == "sklearn"
    assert "xgboost is better by 0.0002" in selection.reason
    assert selection.reason.endswith(": a tie, and sklearn is cheaper")
    assert candidate(selection, "xgboost").reason.startswith("it is better by 0.0002")
    assert candidate(selection, "keras").reason.startswith("xgboost is better by 0.0083")


@pytest.mark.parametrize(
    ("costs", "winner"),
    [
        ({"keras": (1.0, 9.0), "xgboost": (2.0, 1.0)}, "keras"),
        ({"keras": (1.0, 9.0), "xgboost": (1.0, 1.0)}, "xgboost"),
        ({"keras": (1.0, 1.0), "xgboost": (1.0, 1.0)}, "keras"),
        ({"keras": (1.2, 1.2), "xgboost": (1.0, 1.0)}, "keras"),
    ],
)
def test_cheap_is_clearly_quicker_then_clearly_smaller_then_the_better_and_first_by_name(
    costs: dict[str, tuple[float, float]], winner: str
) -> None:
    values = {"keras": 0.67, "xgboost": 0.67}
    verdict = make_verdict(values, costs=costs)
    assert select(verdict, in_samples(values), SelectConfig(), EvaluateConfig()).winner == winner


def test_a_tie_with_one_that_costs_about_the_same_goes_to_the_better() -> None:
    values = {"xgboost": 0.6783, "sklearn": 0.6781}
    costs = {"xgboost": (1.2, 1.4), "sklearn": (1.0, 1.0)}
    verdict = make_verdict(values, costs=costs)
    selection = select(verdict, in_samples(values), SelectConfig(), EvaluateConfig())
    assert selection.winner == "xgboost"
    assert candidate(selection, "sklearn").reason.endswith(": a tie, and this one is no cheaper")


def test_what_is_worse_than_a_model_that_is_beaten_is_beaten_too() -> None:
    values = {ENSEMBLE: 0.682, "xgboost": 0.678, "sklearn": 0.677}
    samples = in_samples(values)
    samples["sklearn"] += np.random.default_rng(1).normal(0, 0.02, REPLICATES)
    selection = select(make_verdict(values), samples, SelectConfig(), EvaluateConfig())
    assert selection.winner == ENSEMBLE
    reason = candidate(selection, "sklearn").reason
    assert reason.endswith(", and beats xgboost, which is better than this")


def test_an_ensemble_wins_by_beating_its_best_member() -> None:
    selection = choose({"keras": 0.67, "xgboost": 0.68, ENSEMBLE: 0.69, LIVE: 0.65})
    assert selection.winner == ENSEMBLE
    assert candidate(selection, ENSEMBLE).members == ("keras", "xgboost")
    assert candidate(selection, "xgboost").members == ()


def test_an_ensemble_that_is_hardly_better_than_a_member_loses_however_quick_it_was() -> None:
    values = {"keras": 0.67, "xgboost": 0.68, ENSEMBLE: 0.6802, LIVE: 0.65}
    verdict = make_verdict(values, costs={ENSEMBLE: (0.1, 0.1)})
    selection = select(verdict, in_samples(values), SelectConfig(), EvaluateConfig())
    assert selection.winner == "xgboost"
    assert candidate(selection, ENSEMBLE).reason.startswith("it is better by 0.0002")


def test_a_model_that_the_evaluator_refused_does_not_win_and_says_why() -> None:
    values = {"keras": 0.67, "xgboost": 0.68}
    verdict = make_verdict(values, refused={"xgboost": "log_loss 0.7000 is above 0.6"})
    selection = select(verdict, in_samples(values), SelectConfig(), EvaluateConfig())
    assert selection.winner == "keras"
    assert not candidate(selection, "xgboost").eligible
    assert candidate(selection, "xgboost").reason == "log_loss 0.7000 is above 0.6"


@pytest.mark.parametrize("live", [True, False])
def test_nothing_goes_live_where_nothing_is_blessed(live: bool) -> None:
    values = {"keras": 0.67, "xgboost": 0.68} | ({LIVE: 0.65} if live else {})
    verdict = make_verdict(values, refused={"keras": "too bad", "xgboost": "worse"})
    selection = select(verdict, in_samples(values), SelectConfig(), EvaluateConfig())
    assert selection.winner is None
    stays = "the live keras stays" if live else "no model goes live"
    assert selection.reason == (
        f"{stays}: no candidate may go live (keras: too bad; xgboost: worse)"
    )


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_latency_ms": 5}, "it takes 9.00 ms for one row, above 5 (select.max_latency_ms)"),
        ({"max_size_mb": 50}, "its folder has 80.00 MB, above 50 (select.max_size_mb)"),
    ],
)
def test_a_model_that_is_too_slow_or_too_large_does_not_win(
    limit: dict[str, float], reason: str
) -> None:
    values = {"keras": 0.67, "xgboost": 0.68}
    verdict = make_verdict(values, costs={"xgboost": (9.0, 80.0)})
    config = SelectConfig.model_validate(limit)
    selection = select(verdict, in_samples(values), config, EvaluateConfig())
    assert selection.winner == "keras"
    assert candidate(selection, "xgboost").reason == reason


@pytest.mark.parametrize(
    ("rows", "value", "reason"),
    [
        (
            100,
            0.60,
            "carrier XX: auc 0.6000 is 0.0700 worse than the live model's 0.6700, above 0.05 "
            "(select.max_slice_loss)",
        ),
        (100, 0.63, None),
        (99, 0.10, None),
        (100, None, "carrier XX: auc is undefined, 0.6700 for the live model"),
    ],
)
def test_no_guarded_slice_pays_for_the_average(
    rows: int, value: float | None, reason: str | None
) -> None:
    values = {"keras": 0.68, "xgboost": 0.70, LIVE: 0.67}
    verdict = make_verdict(
        values,
        slices={
            "UA": (500, {"keras": 0.70, "xgboost": 0.72, LIVE: 0.67}),
            "XX": (rows, {"keras": 0.65, "xgboost": value, LIVE: 0.67}),
        },
    )
    selection = select(verdict, in_samples(values), SelectConfig(), GUARDS)
    assert selection.winner == ("keras" if reason else "xgboost")
    if reason:
        assert candidate(selection, "xgboost").reason == reason
    unwatched = select(verdict, in_samples(values), SelectConfig(), EvaluateConfig())
    assert unwatched.winner == "xgboost"
    without = SelectConfig(max_slice_loss=None)
    assert select(verdict, in_samples(values), without, GUARDS).winner == "xgboost"


def test_many_objections_are_counted_after_the_first_ones() -> None:
    values = {"xgboost": 0.70, LIVE: 0.67}
    verdict = make_verdict(
        values, slices={f"X{i}": (900 - i, {"xgboost": 0.5, LIVE: 0.67}) for i in range(8)}
    )
    selection = select(verdict, in_samples(values), SelectConfig(), GUARDS)
    reason = candidate(selection, "xgboost").reason
    assert reason.startswith("carrier X0: auc 0.5000 is 0.1700 worse than the live model's 0.6700")
    assert reason.count("carrier") == 3
    assert reason.endswith("; and 5 more")


def test_a_model_whose_metric_is_undefined_does_not_win() -> None:
    selection = choose({"keras": None, "xgboost": 0.4, LIVE: 0.3}, metric="precision")
    assert selection.winner == "xgboost"
    assert candidate(selection, "keras").reason == "precision is undefined"
    assert selection.candidates[-1].name == "keras"


def test_a_live_model_whose_metric_is_undefined_is_replaced() -> None:
    selection = choose({"xgboost": 0.4, LIVE: None}, metric="precision")
    assert selection.winner == "xgboost"
    assert selection.reason.endswith("precision is undefined for the live keras")


def test_without_samples_the_metric_over_all_rows_decides_and_says_so() -> None:
    values = {"keras": 0.67, "xgboost": 0.6717, LIVE: 0.6716}
    selection = select(make_verdict(values), {}, SelectConfig(), EvaluateConfig())
    assert (selection.winner, selection.replicates) == ("xgboost", 0)
    assert selection.reason == (
        "xgboost: auc 0.6717, better than the live keras (0.6716) by 0.0001 on all rows, which are "
        "too few groups to draw samples from"
    )
    too_little = select(make_verdict(values), {}, SelectConfig(margin=0.01), EvaluateConfig())
    assert too_little.winner is None


def test_samples_in_which_a_metric_is_undefined_do_not_count() -> None:
    values = {"xgboost": 0.68, LIVE: 0.67}
    samples = in_samples(values)
    samples[LIVE][:500] = np.nan
    selection = select(make_verdict(values), samples, SelectConfig(), EvaluateConfig())
    assert selection.winner == "xgboost"
