"""Searches in the place of a framework's: quick, and of a loss that is known."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.history import Curve
from pipeline.errors import UserError
from pipeline.train_config import TrainConfig

STEPS = 100
KILL_AT = "TEST_KILL_AT"
"""Name of the environment variable with the number of the training that is killed, from 1."""
BEST_RATE = 0.1
BEST_DEPTH = 7

Report = Callable[[int, float], None]

_begun = 0


def lowest(learning_rate: float, max_depth: int) -> float:
    """The loss after the last step, 0.5 at best."""
    rate = math.log10(learning_rate / BEST_RATE)
    return 0.5 + 0.2 * rate**2 + 0.01 * abs(max_depth - BEST_DEPTH)


def search(rows: Any, sizes: Sequence[int], settings: TrainConfig, *, report: Report) -> Curve:
    """Falls from 1 above the lowest loss, in equal parts; killed if the environment says so."""
    global _begun
    _begun += 1
    print("a line that a library prints")
    losses = []
    for step in range(1, STEPS + 1):
        end = lowest(settings.xgboost.learning_rate, settings.xgboost.max_depth)
        losses.append(end + 1 - step / STEPS)
        if step == STEPS // 2 and str(_begun) == os.environ.get(KILL_AT):
            os.kill(os.getpid(), signal.SIGKILL)
        report(step, losses[-1])
    return Curve(learned=tuple(losses), held_out=tuple(losses))


def together(rows: Any, sizes: Sequence[int], settings: TrainConfig, *, report: Report) -> Curve:
    """Gives its process's id as the loss, once another one is at work too."""
    time.sleep(0.5)
    return Curve(learned=(), held_out=(float(os.getpid()),))


def of_rows(rows: Any, sizes: Sequence[int], settings: TrainConfig, *, report: Report) -> Curve:
    """Gives a loss that only those can know who have the rows, the sizes and the settings."""
    loss = lowest(settings.xgboost.learning_rate, settings.xgboost.max_depth)
    loss += float(np.sum(rows.numbers, dtype=float)) + len(rows) + 1000 * sum(sizes)
    return Curve(learned=(), held_out=(loss,))


def refused(rows: Any, sizes: Sequence[int], settings: TrainConfig, *, report: Report) -> Curve:
    """Says that the rows will not do."""
    raise UserError("There are too few rows.")


def broken(rows: Any, sizes: Sequence[int], settings: TrainConfig, *, report: Report) -> Curve:
    """Has a defect."""
    raise ZeroDivisionError


def diverged(rows: Any, sizes: Sequence[int], settings: TrainConfig, *, report: Report) -> Curve:
    """Comes to no loss but at the rate that is the default."""
    loss = 0.7 if settings.xgboost.learning_rate == 0.05 else math.nan
    report(50, loss)
    return Curve.model_construct(learned=(), held_out=(loss,))


def hopeless(rows: Any, sizes: Sequence[int], settings: TrainConfig, *, report: Report) -> Curve:
    """Comes to no loss."""
    return Curve.model_construct(learned=(), held_out=(math.nan,))
