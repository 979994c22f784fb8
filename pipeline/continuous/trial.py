"""Whether a challenger goes live: both models were asked about a span that neither learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custom_components.selection import Interval
from custom_components.selector_rules import is_enough, lead
from pipeline.continuous.policy import Observation, Score
from pipeline.evaluate_config import EvaluateConfig, Metric, SelectConfig


@dataclass(frozen=True)
class Outcome:
    """What came of a trial."""

    promote: bool
    """Whether the challenger goes live; else it is dropped, and the live model stays."""
    reason: str
    """Why, in one sentence with the numbers."""


def outcome(seen: Observation, select: SelectConfig, evaluate: EvaluateConfig) -> Outcome | None:
    """By the selector's own rule: `select.metric`, `select.margin` and `select.confidence`.

    Returns:
      None where it cannot be told on this span: no challenger waits, no model is live, one of the
      two has learned from the span, or it has no labels. The challenger waits on.
    """
    waits, metric = seen.challenger, select.metric
    challenger = ((waits and waits.scores) or {}).get(metric)
    live = (seen.scores or {}).get(metric)
    if waits is None or challenger is None or live is None:
        return None
    gains = _gains(challenger, live, metric)
    margin = metric.allowance(select.margin, live.value)
    gain = lead(
        metric.goodness(challenger.value) - metric.goodness(live.value),
        gains,
        margin=margin,
        confidence=evaluate.confidence,
    )
    promote = is_enough(gain, margin, select.confidence)
    verdict = "goes live" if promote else "is dropped"
    return Outcome(
        promote,
        f"Span {seen.span}: challenger version {waits.version} {verdict}, because its {metric} of "
        f"{metric.words(challenger.value)} is {_words(gain, live, len(gains), select)}.",
    )


def _gains(challenger: Score, live: Score, metric: Metric) -> NDArray[np.float64]:
    """In each sample in which both metrics are defined."""
    left, right = (np.asarray(one.samples, np.float64) for one in (challenger, live))
    gains = metric.goodness(left) - metric.goodness(right)
    return gains[np.isfinite(gains)]


def _words(gain: Interval, live: Score, samples: int, select: SelectConfig) -> str:
    than = "better" if gain.value >= 0 else "worse"
    metric, margin = select.metric, select.margin
    words = (
        f"{than} than the live model's {metric.words(live.value)} by "
        f"{metric.words(abs(gain.value))}"
    )
    if not samples:
        return f"{words} on all rows, which are too few groups to draw samples from"
    asked = f"better by {metric.setting_words(margin)}" if margin > 0 else "better"
    if margin < 0:
        asked = f"no more than {metric.setting_words(-margin)} worse"
    return (
        f"{words} ({gain.confidence:.0%} interval {metric.words(gain.low)} to "
        f"{metric.words(gain.high)}), "
        f"{asked} in {gain.certainty:.1%} of {samples:,} samples "
        f"(limit {select.confidence:.0%})"
    )
