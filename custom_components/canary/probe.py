"""Loads a model in a process of its own, sends it rows, and measures how it answers.

    echo '{"model": FOLDER, "rows": "canary.parquet", "output": FILE}' |
    python -m custom_components.canary.probe

It may be started before there is a model: it imports TensorFlow and waits for the line.
The model is loaded as in a server: a SavedModel by TensorFlow alone, any other by `models.bundle`
and its framework. What only works where TFX or the training process is at hand fails here and not
in production.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lazy import imports

if __name__ == "__main__":
    os.nice(10)  # What runs while this one is still getting ready goes first.
with imports():
    import tensorflow as tf

from custom_components.canary.forms import Form, ModelFault, attempt, load
from custom_components.canary.report import Answer, Answers, Latency, ProbeResult
from pipeline.errors import UserError

_WARM_UP_CALLS = 20
_ONE_ROW_CALLS = 200
_BATCH_SECONDS = 0.2


def probe(model_folder: Path, rows: Sequence[bytes]) -> ProbeResult:
    """What the model says to `rows` (serialized tf.Examples) in each of its two ways."""
    try:
        return ProbeResult(answers=_answers(model_folder, rows))
    except (ModelFault, UserError) as fault:
        return ProbeResult(error=str(fault))


def _answers(model_folder: Path, rows: Sequence[bytes]) -> Answers:
    start = time.perf_counter()
    model = load(model_folder)
    load_seconds = time.perf_counter() - start

    examples = [tf.train.Example.FromString(row) for row in rows]
    columns = attempt("cannot take the raw columns", lambda: model.columns(examples))
    by_examples, by_columns = model.ways
    answers = {
        by_examples: _predict(by_examples, lambda: model.by_examples(rows)),
        by_columns: _predict(by_columns, lambda: model.by_columns(columns)),
    }
    for way, predictions in answers.items():
        if len(predictions) != len(rows):
            raise ModelFault(
                f"the model gives {len(predictions)} answers to {len(rows)} rows by {way}"
            )
    return Answers(
        load_seconds=load_seconds,
        predictions=answers,
        latency=attempt("does not answer to single rows", lambda: _measure(model, examples)),
    )


def _predict(way: str, ask: Callable[[], NDArray[Any]]) -> list[Answer | None]:
    answer = attempt(f"does not answer by {way}", ask)
    return [row.tolist() if np.isfinite(row).all() else None for row in answer]


def _measure(model: Form, examples: Sequence[tf.train.Example]) -> Latency:
    """Times calls in this process, from a row in memory to a prediction in memory."""
    one_row = [model.columns([example]) for example in examples]
    for call in range(_WARM_UP_CALLS):
        model.by_columns(one_row[call % len(one_row)])
    seconds = []
    for call in range(_ONE_ROW_CALLS):
        start = time.perf_counter()
        model.by_columns(one_row[call % len(one_row)])
        seconds.append(time.perf_counter() - start)
    p50, p95 = np.quantile(seconds, (0.5, 0.95))

    batch = model.columns(examples)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _BATCH_SECONDS:
        model.by_columns(batch)
        done += len(examples)
    return Latency(p50_ms=p50 * 1e3, p95_ms=p95 * 1e3, rows_per_second=done / elapsed)


def main() -> None:
    """Probes the model that standard input names; nothing is done if it ends without a line."""
    if order := sys.stdin.read():
        names = json.loads(order)
        rows = pq.read_table(names["rows"], columns=["example"]).column("example").to_pylist()
        Path(names["output"]).write_text(probe(Path(names["model"]), rows).model_dump_json())


if __name__ == "__main__":
    main()
