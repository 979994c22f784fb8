"""Bundles of two columns that predict by a formula, saved in a fraction of a second."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import tensorflow as tf

from models import manifest
from models.manifest import Base, Manifest
from pipeline.provenance import Provenance

RAW: list[dict[str, Any]] = [
    {"temp": 0.5, "carrier": "AA"},
    {"temp": -2.0, "carrier": "UA"},
    {"temp": None, "carrier": "AA"},
    {"temp": 1.0, "carrier": None},
]


def make_row(temp: float | None, carrier: str | None) -> tf.train.Example:
    """A row as ingest writes it: without what is missing, with the label."""
    row = tf.train.Example()
    row.features.feature["late"].int64_list.value.append(1)
    if temp is not None:
        row.features.feature["temp"].float_list.value.append(temp)
    if carrier is not None:
        row.features.feature["carrier"].bytes_list.value.append(carrier.encode())
    return row


ROWS = [make_row(**row) for row in RAW]
SERIALIZED = [row.SerializeToString() for row in ROWS]


def expected(bias: float = 0.0) -> list[float]:
    """By hand: temp, or 0 where it is missing, plus 1 for AA, plus the bias, through a sigmoid."""
    return [1 / (1 + math.exp(-score - bias)) for score in (1.5, -2.0, 1.0, 1.0)]


def save_model(
    folder: Path,
    *,
    framework: str = "keras",
    bias: float = 0.0,
    label: str = "late",
    inputs: dict[str, str] | None = None,
    spans: tuple[int, ...] = (),
    base: str = "",
    raw_carrier: bool = False,
    without: str = "",
) -> Path:
    """A bundle that is a SavedModel.

    Args:
        folder: Where to.
        framework: What its manifest says that it is made with.
        bias: Added to the score.
        label: What its manifest says that it predicts.
        inputs: What its manifest says that it takes, if that is not the truth.
        spans: What its manifest says that it was trained on.
        base: The digest of the model that its manifest says it went on from.
        raw_carrier: Breaks how it takes the carrier by serving_raw.
        without: A signature that is left out.
    """
    module = tf.Module()

    def predict(temp: tf.Tensor, carrier: tf.Tensor) -> dict[str, tf.Tensor]:
        score = tf.where(tf.math.is_nan(temp), 0.0, temp) + bias
        score += tf.cast(carrier == "AA", tf.float32)
        return {"probability": tf.sigmoid(score)[:, None]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(
            examples,
            {
                "temp": tf.io.FixedLenFeature([], tf.float32, math.nan),
                "carrier": tf.io.FixedLenFeature([], tf.string, ""),
            },
        )
        return predict(parsed["temp"], parsed["carrier"])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "temp"),
            tf.TensorSpec([None], tf.string, "carrier"),
        ]
    )
    def serving_raw(temp: tf.Tensor, carrier: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict(temp, tf.strings.lower(carrier) if raw_carrier else carrier)

    signatures = {"serving_default": serving_default, "serving_raw": serving_raw}
    signatures.pop(without, None)
    tf.saved_model.save(module, str(folder), signatures)
    seal(folder, framework=framework, label=label, inputs=inputs, spans=spans, base=base)
    return folder


def seal(
    folder: Path,
    *,
    framework: str = "keras",
    label: str = "late",
    inputs: dict[str, str] | None = None,
    spans: tuple[int, ...] = (),
    base: str = "",
) -> Manifest:
    """Writes the manifest of a bundle whose files are there."""
    folder.mkdir(parents=True, exist_ok=True)
    return manifest.write(
        folder,
        Manifest(
            framework=framework,
            label=label,
            inputs=inputs or {"temp": "float32", "carrier": "string"},
            example={"temp": 0.5, "carrier": "AA"},
            provenance=Provenance(
                pipeline="toy", run="run-1", node=f"Trainer.{framework}", execution=7, spans=spans
            ),
            base=Base(digest=base) if base else None,
        ),
    )
