"""Rows that a model can learn from in a moment."""

from __future__ import annotations

import numpy as np

from models.dataset import Rows

SIZES = [5]


def learnable(count: int = 3000) -> Rows:
    """Rows of groups of 20; the first number and the category decide three labels of four."""
    rng = np.random.default_rng(3)
    numbers = rng.normal(size=(count, 3)).round(2).astype(np.float32)
    categories = rng.integers(0, SIZES[0], (count, 1)).astype(np.int32)
    signal = numbers[:, 0] + (categories[:, 0] == 2) - 1
    labels = np.where(rng.random(count) < 0.75, signal > 0, rng.random(count) < 0.2)
    folds = np.repeat(rng.choice(1000, count // 20, replace=False), 20).astype(np.int32)
    ones = np.ones(count, np.float32)
    return Rows(numbers, categories, labels.astype(np.float32), folds, ones)


def entropy(labels: np.ndarray, said: np.ndarray) -> float:
    """The mean cross entropy in nats."""
    return float(-np.log(np.where(labels == 1, said, 1 - said)).mean())


def base_entropy(labels: np.ndarray) -> float:
    """That of whoever knows the base rate alone."""
    return entropy(labels, np.full(len(labels), labels.mean()))
