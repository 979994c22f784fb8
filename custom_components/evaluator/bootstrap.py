"""How far the metrics would move with other rows: a bootstrap of whole groups, by matrix products.

Rows of a group (a day, say) resemble one another, so to draw single rows would be far too sure.
Groups are drawn instead, with all of their rows: the cluster bootstrap (Davison & Hinkley 1997,
Bootstrap Methods and their Application, section 3.8; Field & Welsh 2007, Bootstrapping clustered
data). Each is drawn as often as a Poisson variable of mean 1 says, independently of the others,
which takes one pass and no count of the groups (Chamandy et al. 2012, Estimating uncertainty for
massive data streams). Groups fall by a hash into `metrics.BLOCKS` blocks that are drawn whole, so
memory is bounded however many groups there are.

A sample is a weight for each block. As every metric is made of sums over rows, all samples of all
metrics are products of the weights and the blocks' sums: the `metrics` of each problem know which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

from custom_components.evaluator.metrics import BLOCKS, ROWS, Floats, Measures, Samples, Tally
from pipeline.evaluate_config import Metric

_SEED = 20130101


def resample(
    models: Mapping[str, Tally],
    measured: Mapping[str, Mapping[Metric, float]],
    samples: int,
    measures: Measures,
) -> dict[str, Samples]:
    """The metrics of each model in samples of the rows; the samples are the same for all models.

    Args:
        models: Tallies of the same rows.
        measured: What `measures` says of each.
        samples: How many to draw.
        measures: How predictions for the problem are measured.

    Returns:
        Nothing for rows of fewer than two blocks: there is nothing to draw.
    """
    rows = next(iter(models.values())).sums[:, ROWS]
    blocks = np.flatnonzero(rows)
    if len(blocks) < 2:
        return {}
    weights = _weights(samples)[blocks]
    # Threads of two processes in each other's way take many times as long as one.
    with _libraries().limit(limits=1, user_api="blas"):
        return {
            name: measures.resampled(tally, blocks, weights, measured[name])
            for name, tally in models.items()
        }


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """What computes matrix products here; to look for it takes milliseconds."""
    return ThreadpoolController()


@lru_cache(maxsize=1)
def _weights(samples: int) -> Floats:
    """[BLOCKS, samples]: how often each sample has each block; always the same."""
    return np.random.default_rng(_SEED).poisson(1, (BLOCKS, samples)).astype(np.float64)


def interval(values: Floats, confidence: float) -> tuple[float, float] | None:
    """The percentiles between which the share `confidence` of the samples lies.

    None if the metric is undefined in more samples than that leaves out.
    """
    defined = values[~np.isnan(values)]
    if len(defined) < confidence * len(values):
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def intervals(
    samples: Samples, metrics: Sequence[Metric], confidence: float
) -> dict[Metric, tuple[float, float]]:
    """The intervals of the metrics that have one."""
    found = {metric: interval(samples[metric], confidence) for metric in metrics}
    return {metric: ends for metric, ends in found.items() if ends}
