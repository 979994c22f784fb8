"""Small examples and tiny models to evaluate, for the tests of the Evaluator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tfx.types import standard_artifacts

from custom_components.evaluator.executor import Executor
from custom_components.evaluator.verdict import FILE, Verdict
from pipeline.config import EvaluateConfig

BEAM_ARGS = ["--direct_running_mode=in_memory", "--sdk_container_image=unused"]
CARRIERS = np.array(["AA", "UA", "XX"])

Columns = dict[str, np.ndarray]


def make_rows(size: int = 3000, *, seed: int = 1) -> Columns:
    """Rows with a label, two slice columns, and columns that models predict straight from.

    `strong` tells more than `weak`; `uneven` is as `strong`, but turned around for carrier XX.
    """
    random = np.random.default_rng(seed)
    label = random.random(size) < 0.3
    strong = 1 / (1 + np.exp(1.2 - 2 * label - random.normal(size=size)))
    weak = 1 / (1 + np.exp(1.0 - 0.8 * label - random.normal(size=size)))
    carrier = random.choice(CARRIERS, size, p=[0.5, 0.4, 0.1])
    return {
        "late": label.astype(np.int64),
        "carrier": carrier,
        "hour": random.integers(0, 3, size),
        "strong": strong.astype(np.float32),
        "weak": weak.astype(np.float32),
        "uneven": np.where(carrier == "XX", 1 - strong, strong).astype(np.float32),
    }


def serialized(rows: Columns) -> list[bytes]:
    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        if isinstance(value, np.integer):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    name: feature(value)
                    for name, value in zip(rows, values, strict=True)
                    if value is not None
                }
            )
        ).SerializeToString()
        for values in zip(*rows.values(), strict=True)
    ]


def write_examples(folder: Path, *spans: Columns) -> list[standard_artifacts.Examples]:
    artifacts = []
    for span, rows in enumerate(spans):
        artifact = standard_artifacts.Examples()
        artifact.uri = str(folder / f"examples-{span}")
        artifact.split_names = json.dumps(["train", "eval"])
        file = Path(artifact.uri) / "Split-eval" / "data-00000-of-00001.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions("GZIP")) as writer:
            for example in serialized(rows):
                writer.write(example)
        artifacts.append(artifact)
    return artifacts


class Reader(tf.Module):
    """A model whose probability is a column of the row."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self._spec = {column: tf.io.FixedLenFeature([1], tf.float32)}
        self._column = column

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probability": tf.io.parse_example(examples, self._spec)[self._column]}


@dataclass
class Outcome:
    verdict: Verdict
    evaluation: standard_artifacts.ModelEvaluation
    blessing: standard_artifacts.ModelBlessing
    model: standard_artifacts.Model


def run(
    folder: Path,
    spans: Sequence[Columns],
    model_uri: str,
    live_uri: str | None = None,
    *,
    canary_rows: int = 20,
    label: str = "late",
    **settings: Any,
) -> Outcome:
    model = standard_artifacts.Model()
    model.uri, model.id = model_uri, 7
    live = standard_artifacts.PushedModel()
    if live_uri:
        live.uri, live.id = f"{live_uri}/Format-Serving", 5
    evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
    evaluation.uri, blessing.uri = str(folder / "evaluation"), str(folder / "blessing")
    Path(evaluation.uri).mkdir(parents=True)
    Executor(Executor.Context(beam_pipeline_args=BEAM_ARGS)).Do(
        {
            "examples": write_examples(folder, *spans),
            "model": [model],
            "baseline_model": [live] if live_uri else [],
        },
        {"evaluation": [evaluation], "blessing": [blessing]},
        {
            "evaluate": EvaluateConfig(**settings).model_dump_json(),
            "label": label,
            "candidate": "keras",
            "canary_rows": canary_rows,
        },
    )
    verdict = Verdict.model_validate_json((folder / "evaluation" / FILE).read_text())
    return Outcome(verdict, evaluation, blessing, model)
