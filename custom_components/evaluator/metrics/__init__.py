"""The metrics of each kind of problem, from tallies that can be added up."""

from __future__ import annotations

from custom_components.evaluator.metrics.binary import Binary
from custom_components.evaluator.metrics.measures import Measures, Samples, Unusable
from custom_components.evaluator.metrics.multiclass import Multiclass
from custom_components.evaluator.metrics.regression import Regression
from custom_components.evaluator.metrics.tally import BLOCKS, ROWS, Floats, Tally, add_up, tally
from pipeline.evaluate_config import EvaluateConfig
from pipeline.features_config import Problem

__all__ = [
    "BLOCKS",
    "ROWS",
    "Binary",
    "Floats",
    "Measures",
    "Multiclass",
    "Regression",
    "Samples",
    "Tally",
    "Unusable",
    "add_up",
    "measures",
    "tally",
]


def measures(config: EvaluateConfig, problem: Problem, classes: tuple[str, ...]) -> Measures:
    """How predictions for a problem are measured.

    Args:
        config: The threshold, or how many classes count as predicted.
        problem: Which one.
        classes: The label's values, none in a regression.
    """
    if problem is Problem.BINARY:
        return Binary(classes, config.decision_threshold)
    if problem is Problem.MULTICLASS:
        return Multiclass(classes, config.top_k)
    return Regression()
