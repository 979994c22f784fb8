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
from tfx.types.artifact import Artifact

from custom_components.evaluator.candidates import Target
from custom_components.evaluator.executor import Executor
from custom_components.evaluator.verdict import FILE, Verdict
from models import bundle, manifest
from models.manifest import Manifest
from models.out_of_fold import OutOfFold
from pipeline.evaluate_config import EvaluateConfig, Metric
from pipeline.features_config import Problem

BEAM_ARGS = ["--direct_running_mode=in_memory", "--sdk_container_image=unused"]
CARRIERS = np.array(["AA", "UA", "XX"])

BINARY = Target()

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
        "day": np.array([f"2013-01-{day:02}" for day in 1 + np.arange(size) * 30 // max(size, 1)]),
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


def write_examples(
    folder: Path, *spans: Columns | list[bytes], train: Columns | None = None
) -> list[standard_artifacts.Examples]:
    """Writes the eval split of each span: columns, or serialized tf.Examples.

    The train split is `train` in each. The spans' ids are 100, 101, …
    """
    artifacts = []
    for span, rows in enumerate(spans):
        artifact = standard_artifacts.Examples()
        artifact.uri, artifact.id = str(folder / f"examples-{span}"), 100 + span
        artifact.set_int_custom_property("span", span)
        artifact.split_names = json.dumps(["train", "eval"])
        for split, content in (("train", train), ("eval", rows)):
            if content is not None:
                _write_split(Path(artifact.uri) / f"Split-{split}", content)
        artifacts.append(artifact)
    return artifacts


def _write_split(folder: Path, rows: Columns | list[bytes]) -> None:
    folder.mkdir(parents=True)
    file = str(folder / "data-00000-of-00001.gz")
    with tf.io.TFRecordWriter(file, tf.io.TFRecordOptions("GZIP")) as writer:
        for example in rows if isinstance(rows, list) else serialized(rows):
            writer.write(example)


class Reader(tf.Module):
    """A model whose prediction is a column of the row, or one for each class."""

    def __init__(self, *columns: str, problem: Problem = Problem.BINARY) -> None:
        super().__init__()
        self._spec = dict.fromkeys(columns, tf.io.FixedLenFeature([], tf.float32))
        self._output = bundle.output_of(problem)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=bundle.EXAMPLES)])
    def of_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._said(tf.io.parse_example(examples, self._spec))

    def _said(self, columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {self._output: tf.stack([columns[name] for name in self._spec], axis=1)}

    def signatures(self) -> dict[str, Any]:
        @tf.function
        def of_columns(**columns: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._said(columns)

        raw = dict.fromkeys(self._spec, tf.TensorSpec([None], tf.float32))
        return {
            bundle.EXAMPLES_SIGNATURE: self.of_examples,
            bundle.RAW_SIGNATURE: of_columns.get_concrete_function(**raw),
        }


def save_reader(
    folder: Path,
    *columns: str,
    target: Target = BINARY,
    out_of_fold: OutOfFold | None = None,
    **known: Any,
) -> str:
    """Writes the bundle of a Reader, under the name of a framework; the uri of its Model."""
    bundle_folder = folder / "Format-Serving"
    reader = Reader(*columns, problem=target.problem)
    tf.saved_model.save(reader, str(bundle_folder), reader.signatures())
    if out_of_fold:
        out_of_fold.write(bundle_folder)
    seal(bundle_folder, *columns, target=target, **known)
    return str(folder)


def seal(
    folder: Path,
    *columns: str,
    framework: str = "keras",
    held_out_loss: float | None = None,
    target: Target = BINARY,
) -> None:
    """Writes the manifest of a bundle of numbers."""
    manifest.write(
        folder,
        Manifest(
            framework=framework,
            label="late",
            problem=target.problem,
            classes=target.classes,
            inputs=dict.fromkeys(columns, "float32"),
            example=dict.fromkeys(columns, 0.5),
            held_out_loss=held_out_loss,
        ),
    )


@dataclass
class Outcome:
    verdict: Verdict
    evaluation: standard_artifacts.ModelEvaluation
    blessings: dict[str, standard_artifacts.ModelBlessing]
    models: list[standard_artifacts.Model]

    @property
    def folder(self) -> Path:
        return Path(self.evaluation.uri)


def run(
    folder: Path,
    spans: Sequence[Columns | list[bytes]],
    *model_uris: str,
    live: str | None = None,
    canary_rows: int = 20,
    label: str = "late",
    ensemble: int = 0,
    group_by: str = "",
    train: Columns | None = None,
    learned: Sequence[int] | None = None,
    target: Target = BINARY,
    **settings: Any,
) -> Outcome:
    """Evaluates models, whose ids are 7, 8, …, beside the live one, whose id is 5.

    They have learned from the spans at the places `learned`; None: from all.
    """
    models = [artifact(standard_artifacts.Model, uri, id) for id, uri in enumerate(model_uris, 7)]
    pushed = [artifact(standard_artifacts.PushedModel, f"{live}/Format-Serving", 5)] if live else []
    outputs = {
        "evaluation": [artifact(standard_artifacts.ModelEvaluation, str(folder / "evaluation"))],
        "blessing": [artifact(standard_artifacts.ModelBlessing, str(folder / "blessing"))],
    }
    (evaluation,) = outputs["evaluation"]
    Path(evaluation.uri).mkdir(parents=True)
    examples = write_examples(folder, *spans, train=train)
    inputs = {"examples": examples, "model": models, "baseline_model": pushed}
    if learned is not None:
        inputs["learned"] = [examples[place] for place in learned]
    Executor(Executor.Context(beam_pipeline_args=BEAM_ARGS)).Do(
        inputs,
        outputs,
        {
            "evaluate": EvaluateConfig(
                **{"metrics": Metric.of(target.problem), **settings}
            ).model_dump_json(),
            "label": label,
            "problem": str(target.problem),
            "classes": json.dumps(target.classes),
            "canary_rows": canary_rows,
            "ensemble": ensemble,
            "group_by": group_by,
        },
    )
    blessings = {b.get_string_custom_property("candidate"): b for b in outputs["blessing"]}
    verdict = Verdict.model_validate_json((folder / "evaluation" / FILE).read_text())
    return Outcome(verdict, evaluation, blessings, models)


def artifact(kind: type[Artifact], uri: str, id: int = 0) -> Any:
    made = kind()
    made.uri, made.id = uri, id
    return made
