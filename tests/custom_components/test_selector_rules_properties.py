"""What must hold of a selection whatever the numbers are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from custom_components.evaluator.verdict import ENSEMBLE, LIVE, Cost, Verdict
from custom_components.selection import Selection
from custom_components.selector_rules import select
from pipeline.evaluate_config import EvaluateConfig, SelectConfig
from tests.custom_components.verdicts import candidate, in_samples, make_verdict

NAMES = ("keras", "pytorch", "sklearn", "xgboost", ENSEMBLE)


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[Verdict, dict[str, NDArray[np.float64]]]:
    """Any evaluation of some models, with or without a live one."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    names += [LIVE] * draw(st.booleans())
    values = {
        name: draw(st.none() | st.integers(600, 700).map(lambda v: v / 1000)) for name in names
    }
    cost = st.tuples(st.sampled_from([0.5, 1.0, 9.0]), st.sampled_from([0.1, 5.0]))
    verdict = make_verdict(
        values,
        costs={name: draw(cost) for name in names},
        refused={name: "no" for name in names if name != LIVE and draw(st.booleans())},
    )
    samples = in_samples(values, draw(st.sampled_from([0.0001, 0.01])), replicates=50)
    return verdict, samples if draw(st.booleans()) else {}


configs = st.builds(
    SelectConfig,
    margin=st.sampled_from([-0.01, 0.0, 0.01]),
    confidence=st.sampled_from([0.5, 0.9]),
    max_latency_ms=st.sampled_from([None, 2.0]),
    max_size_mb=st.sampled_from([None, 1.0]),
)


@settings(deadline=None)
@given(evaluations(), configs)
def test_the_winner_may_go_live_and_every_candidate_has_its_reason(
    evaluation: tuple[Verdict, dict[str, NDArray[np.float64]]], config: SelectConfig
) -> None:
    verdict, samples = evaluation
    selection = select(verdict, samples, config, EvaluateConfig())
    assert {c.name for c in selection.candidates} == set(verdict.candidates)
    assert all(c.reason for c in selection.candidates)
    assert Selection.model_validate_json(selection.model_dump_json()) == selection
    if selection.winner is None:
        return
    winner = candidate(selection, selection.winner)
    assert winner.eligible
    assert verdict.blessed[winner.name]
    if winner.better_than_live is not None:
        assert winner.better_than_live.certainty >= config.confidence
        assert winner.better_than_live.value >= config.margin - 1e-9


@settings(deadline=None)
@given(evaluations(), configs)
def test_a_candidate_that_is_worse_in_every_sample_changes_nothing(
    evaluation: tuple[Verdict, dict[str, NDArray[np.float64]]], config: SelectConfig
) -> None:
    verdict, samples = evaluation
    before = select(verdict, samples, config, EvaluateConfig())
    if before.winner is None:
        return
    metric = verdict.models[before.winner][config.metric]
    assert metric is not None
    name = "worse"
    more = verdict.model_copy(
        update={
            "candidates": (*verdict.candidates, name),
            "blessed": verdict.blessed | {name: True},
            "models": verdict.models | {name: {config.metric: metric - 0.1}},
            "costs": verdict.costs
            | {name: Cost(latency_ms=0.01, rows_per_second=1e6, size_bytes=1)},
        }
    )
    more_samples = samples | {name: samples[before.winner] - 0.1} if samples else {}
    assert select(more, more_samples, config, EvaluateConfig()).winner == before.winner


@settings(deadline=None)
@given(evaluations(), configs, st.sampled_from([0.25, 4.0]))
def test_on_a_machine_that_is_slower_for_all_the_same_model_wins(
    evaluation: tuple[Verdict, dict[str, NDArray[np.float64]]], config: SelectConfig, factor: float
) -> None:
    verdict, samples = evaluation
    costs = {
        name: cost.model_copy(update={"latency_ms": cost.latency_ms * factor})
        for name, cost in verdict.costs.items()
    }
    slower = verdict.model_copy(update={"costs": costs})
    config = config.model_copy(update={"max_latency_ms": None})
    before = select(verdict, samples, config, EvaluateConfig())
    assert select(slower, samples, config, EvaluateConfig()).winner == before.winner
