"""Texts as vectors: how often each n-gram of words is in them, by its hash or by a vocabulary."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

from models import features
from pipeline.features_config import TextConfig


def vectors(column: str, text: tf.Tensor, config: TextConfig) -> tf.Tensor:
    """float32 [rows, config.size] of length 1, or 0 where a text [rows] has no word.

    Words are runs of letters and digits in lower case. A count c goes in as log(1 + c), so that the
    tenth time says less than the first.
    """
    found = ngrams(text, config.ngrams)
    if config.method == "hash":
        places = tf.strings.to_hash_bucket_fast(found.values, config.size)
    else:
        places = tft.compute_and_apply_vocabulary(
            found.values, top_k=config.size, vocab_filename=features.vocabulary(column)
        )
    rows = tf.size(text, tf.int64)
    cells = found.value_rowids() * config.size + places
    # What is in no vocabulary is at -1, and left out of sums.
    cells = tf.where(places < 0, tf.constant(-1, tf.int64), cells)
    ones = tf.ones_like(cells, tf.float32)
    counts = tf.math.unsorted_segment_sum(ones, cells, rows * config.size)
    counts = tf.reshape(counts, [-1, config.size])
    return tf.math.l2_normalize(tf.math.log1p(counts), axis=1)


def ngrams(text: tf.Tensor, longest: int) -> tf.RaggedTensor:
    """Runs of 1 to `longest` words of each text [rows], with a blank between them."""
    plain = tf.strings.regex_replace(
        tf.strings.lower(text, encoding="utf-8"), r"[^\pL\pM\pN]+", " "
    )
    return tf.strings.ngrams(tf.strings.split(plain), tuple(range(1, longest + 1)), separator=" ")
