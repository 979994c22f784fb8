"""What people write in preprocessing_fn beside what this project does, for Transform's tests."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from models.preprocessing import numbers, strings, zero_if_missing


def combiners(inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Analyzers that follow one another, and vocabularies that are cut."""
    distance = tf.cast(inputs["distance"][:, 0], tf.float32)
    centred = distance - tft.mean(distance)
    wind = zero_if_missing(numbers(inputs["wind"]))
    carrier = strings(inputs["carrier"])
    pair = tf.stack([distance, wind], axis=1)
    hour = inputs["hour"][:, 0]
    return {
        "scaled": centred / tft.max(tf.abs(centred)),
        "between": tft.scale_to_0_1(wind),
        "bucket": tft.bucketize(distance, 4),
        "turned": pair @ tft.pca(pair, output_dim=2, dtype=tf.float32),
        "top": tft.compute_and_apply_vocabulary(carrier, top_k=2, num_oov_buckets=1),
        "often": tft.compute_and_apply_vocabulary(hour, frequency_threshold=20, name="hours"),
        "counted": tf.cast(tft.size(distance), tf.int64) + tf.zeros_like(inputs["distance"][:, 0]),
        "text": carrier,
    }


def by_key(inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
    """An analyzer by key, which takes a Beam pipeline."""
    distance = tf.cast(inputs["distance"][:, 0], tf.float32)
    carrier = strings(inputs["carrier"])
    return {"scaled": tft.scale_to_z_score_per_key(distance, carrier)}


def constant(inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Nothing that has to be learned."""
    return {"twice": 2 * inputs["distance"][:, 0]}
