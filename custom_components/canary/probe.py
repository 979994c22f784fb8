"""Loads a SavedModel in a process of its own, sends it rows, and measures how it answers.

    echo '{"model": FOLDER, "rows": "canary.parquet", "output": FILE}' |
    python -m custom_components.canary.probe

It may be started before there is a model: it imports TensorFlow and waits for the line.
Nothing but TensorFlow loads the model, as in a server: what only works where this project's code,
TFX or the training process is at hand fails here and not in production.
"""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq

from pipeline.lazy import imports

if __name__ == "__main__":
    os.nice(10)  # What runs while this one is still getting ready goes first.
with imports():
    import tensorflow as tf

from custom_components.canary.report import SIGNATURES, Answers, Latency, ProbeResult
from models.features import column

_WARM_UP_CALLS = 20
_ONE_ROW_CALLS = 200
_BATCH_SECONDS = 0.2
_CAUSE_LENGTH = 500

_Inputs = Mapping[str, tf.Tensor]
_T = TypeVar("_T")


class _ModelFault(Exception):
    """The model does not do what a server asks of it; says what, after "the model"."""


def probe(model_folder: Path, rows: Sequence[bytes]) -> ProbeResult:
    """What the SavedModel says to `rows` (serialized tf.Examples) by each of its signatures."""
    try:
        return ProbeResult(answers=_answers(model_folder, rows))
    except _ModelFault as fault:
        return ProbeResult(error=f"the model {fault}")


def _answers(model_folder: Path, rows: Sequence[bytes]) -> Answers:
    start = time.perf_counter()
    # Held to the end: the signatures do not keep alive what they belong to.
    model = _attempt("cannot be loaded", lambda: tf.saved_model.load(str(model_folder)))
    serialized, raw = (_signature(model, name) for name in SIGNATURES)
    load_seconds = time.perf_counter() - start

    examples = [tf.train.Example.FromString(row) for row in rows]
    columns = _attempt("cannot take the raw columns", lambda: raw_columns(examples, raw))
    answers = {
        SIGNATURES[0]: _predict(serialized, {"examples": tf.constant(rows)}, SIGNATURES[0]),
        SIGNATURES[1]: _predict(raw, columns, SIGNATURES[1]),
    }
    for name, predictions in answers.items():
        if len(predictions) != len(rows):
            raise _ModelFault(f"gives {len(predictions)} answers to {len(rows)} rows by {name}")
    return Answers(
        load_seconds=load_seconds,
        predictions=answers,
        latency=_attempt("does not answer to single rows", lambda: _measure(raw, examples)),
    )


def raw_columns(examples: Sequence[tf.train.Example], signature: Any) -> _Inputs:
    """A tensor [rows] for each named input of `signature`, of the type that it asks for.

    A missing number is NaN, a missing string is empty.

    Raises:
      ValueError: a row does not fit the type.
    """
    return {
        name: _column(
            name, [example.features.feature[column(name)] for example in examples], spec.dtype
        )
        for name, spec in signature.structured_input_signature[1].items()
    }


def _column(name: str, features: Sequence[tf.train.Feature], dtype: tf.DType) -> tf.Tensor:
    values = [next(iter(_values(feature)), None) for feature in features]
    if dtype == tf.string:
        return tf.constant([b"" if v is None else v for v in values], tf.string)
    if dtype.is_floating:
        return tf.constant(np.array([math.nan if v is None else v for v in values], float), dtype)
    if None in values:
        raise ValueError(f"{name} is {dtype.name}, which cannot say that a value is missing")
    return tf.constant(values, dtype)


def _values(feature: tf.train.Feature) -> Sequence[Any]:
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


def _signature(model: Any, name: str) -> Any:
    if name not in model.signatures:
        raise _ModelFault(
            f"has no signature {name}, only: {', '.join(sorted(model.signatures)) or 'none'}"
        )
    return model.signatures[name]


def _predict(signature: Any, inputs: _Inputs, name: str) -> list[float | None]:
    answer = _attempt(
        f"does not answer by its signature {name}", lambda: signature(**inputs)["probability"]
    )
    return [None if math.isnan(p) else float(p) for p in np.ravel(answer.numpy())]


def _measure(signature: Any, examples: Sequence[tf.train.Example]) -> Latency:
    """Times calls in this process, from a row in memory to a prediction in memory."""
    one_row = [raw_columns([example], signature) for example in examples]
    for call in range(_WARM_UP_CALLS):
        signature(**one_row[call % len(one_row)])
    seconds = []
    for call in range(_ONE_ROW_CALLS):
        start = time.perf_counter()
        signature(**one_row[call % len(one_row)])["probability"].numpy()
        seconds.append(time.perf_counter() - start)
    p50, p95 = np.quantile(seconds, (0.5, 0.95))

    batch = raw_columns(examples, signature)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _BATCH_SECONDS:
        signature(**batch)["probability"].numpy()
        done += len(examples)
    return Latency(p50_ms=p50 * 1e3, p95_ms=p95 * 1e3, rows_per_second=done / elapsed)


def _attempt(complaint: str, action: Callable[[], _T]) -> _T:
    """What `action`, which does nothing but use the model, gives; what it raises is a fault."""
    try:
        return action()
    except Exception as error:
        cause = textwrap.shorten(f"{type(error).__name__}: {error}", _CAUSE_LENGTH)
        raise _ModelFault(f"{complaint}: {cause}") from error


def main() -> None:
    """Probes the model that standard input names; nothing is done if it ends without a line."""
    if order := sys.stdin.read():
        names = json.loads(order)
        rows = pq.read_table(names["rows"], columns=["example"]).column("example").to_pylist()
        Path(names["output"]).write_text(probe(Path(names["model"]), rows).model_dump_json())


if __name__ == "__main__":
    main()
