"""How far the metrics would move with other rows: a bootstrap of whole groups, by matrix products.

Rows of a group (a day, say) resemble one another, so to draw single rows would be far too sure.
Groups are drawn instead, with all of their rows: the cluster bootstrap (Davison & Hinkley 1997,
Bootstrap Methods and their Application, section 3.8; Field & Welsh 2007, Bootstrapping clustered
data). Each is drawn as often as a Poisson variable of mean 1 says, independently of the others,
which takes one pass and no count of the groups (Chamandy et al. 2012, Estimating uncertainty for
massive data streams). Groups fall by a hash into `metrics.BLOCKS` blocks that are drawn whole, so
memory is bounded however many groups there are.

A sample is a weight for each block. As every metric is made of sums over rows, all samples of all
metrics are products of the weights and the blocks' sums. The AUC's number of ordered pairs is the
product of two: of the rows of class 1, and of the rows of class 0 that are predicted below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from custom_components.evaluator.metrics import (
    BLOCKS,
    ROWS,
    Floats,
    Histogram,
    Numbers,
    Tally,
    block_level_and_label,
    of_sums,
)
from pipeline.evaluate_config import Metric

_SEED = 20130101
_LEVELS = 64
"""Levels of the prediction with about as many rows each, by which the AUC's variation is told."""

Singles = NDArray[np.float32]
Samples = dict[Metric, Floats]
"""Each metric in every sample [samples]; NaN where it is undefined."""


def resample(
    models: Mapping[str, Tally], measured: Mapping[str, Mapping[Metric, float]], samples: int
) -> dict[str, Samples]:
    """The metrics of each model in samples of the rows; the samples are the same for all models.

    Args:
        models: Tallies of the same rows.
        measured: What `metrics.measure` says of each.
        samples: How many to draw.

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
            name: _resample(tally, blocks, weights, auc=measured[name][Metric.AUC])
            for name, tally in models.items()
        }


def _resample(tally: Tally, blocks: Numbers, weights: Floats, *, auc: float) -> Samples:
    sums = (tally.sums[blocks].T @ weights).T
    positives, below = _by_level(tally.cells, blocks)
    found = of_sums(sums, _pairs(positives, below, weights.astype(np.float32)))
    coarse = _pairs(positives, below, np.ones((len(blocks), 1), np.float32))
    # What the coarse levels get wrong of the AUC is about the same in every sample.
    error = of_sums(tally.sums.sum(axis=0), coarse)[Metric.AUC] - auc
    return found | {Metric.AUC: np.clip(found[Metric.AUC] - error, 0, 1)}


def _pairs(positives: Singles, below: Singles, weights: Singles) -> Floats:
    """Ordered pairs in each sample [samples] of weights [blocks, samples]."""
    pairs = np.einsum("ls,ls->s", positives.T @ weights, below.T @ weights)
    return np.asarray(pairs, np.float64)


def _by_level(cells: Histogram, blocks: Numbers) -> tuple[Singles, Singles]:
    """For [blocks, levels]: rows of class 1 at the level, and of class 0 below it (ties half)."""
    block, level, label = block_level_and_label(cells.keys)
    shape = (2, len(blocks), _LEVELS)
    places = label, np.searchsorted(blocks, block), _even(level, cells.counts)
    flat = np.bincount(np.ravel_multi_index(places, shape), cells.counts, np.prod(shape))
    negatives, positives = flat.reshape(shape)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    return positives.astype(np.float32), below.astype(np.float32)


def _even(levels: Numbers, counts: Numbers) -> Numbers:
    """The levels as numbers from 0 to _LEVELS - 1 that hold about as many rows each."""
    by_level = np.bincount(levels, counts)
    middle = np.cumsum(by_level) - by_level / 2
    even: Numbers = (middle * _LEVELS / by_level.sum()).astype(np.int64)
    return even[levels]


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
