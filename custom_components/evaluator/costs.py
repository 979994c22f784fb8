"""What it costs to ask the models of an evaluation: time for one row, for many, and bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from custom_components.evaluator.candidates import Models, load
from custom_components.evaluator.rows import Batch
from custom_components.evaluator.verdict import Cost
from models import manifest
from models.columns import Rows

_SINGLE_ROWS = 24
"""How many rows are asked for one by one."""
_BATCH_ROWS = 2048
_BATCHES = 3


def measure_costs(models: Models, examples: Sequence[bytes]) -> dict[str, Cost]:
    """Asks every model for raw rows, as a server is asked; its bundle is loaded already.

    Args:
        models: The models. What the mean of some costs is the sum of what they cost.
        examples: Serialized tf.Examples, at least one; repeated where there are too few.
    """
    batch = Batch.of(np.array(examples, object), {})
    inputs = {column for folder in models.folders.values() for column in load(folder).inputs}
    rows = pa.table({column: batch.values(column) for column in sorted(inputs)})
    rows = rows.take(np.arange(_BATCH_ROWS) % len(examples))
    single = _seconds(models, [[row] for row in rows.slice(0, _SINGLE_ROWS).to_pylist()])
    whole = _seconds(models, [rows] * _BATCHES)

    def cost(name: str) -> Cost:
        folders = models.parts(name)
        return Cost(
            latency_ms=1000 * float(np.median(sum(single[folder] for folder in folders))),
            rows_per_second=_BATCH_ROWS
            / float(np.median(sum(whole[folder] for folder in folders))),
            size_bytes=sum(manifest.size(Path(folder)) for folder in folders),
        )

    return {name: cost(name) for name in models.names}


def _seconds(models: Models, questions: Sequence[Rows]) -> dict[str, NDArray[np.float64]]:
    """How long each bundle, by its folder, takes for each question."""
    taken: dict[str, list[float]] = {folder: [] for folder in models.folders.values()}
    for folder in taken:
        load(folder).predict(questions[0])  # the first answer takes longer than any other
    for question in questions:
        # In turn, so that a busy moment of the machine is no single model's.
        for folder, seconds in taken.items():
            start = time.perf_counter()
            load(folder).predict(question)
            seconds.append(time.perf_counter() - start)
    return {folder: np.array(seconds) for folder, seconds in taken.items()}
