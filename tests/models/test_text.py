"""Texts become vectors of how often their n-grams occur."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models import text
from pipeline.features_config import TextConfig


def vectors(*texts: str, size: int = 4096, ngrams: int = 2) -> np.ndarray:
    found = text.vectors("note", tf.constant(texts), TextConfig(size=size, ngrams=ngrams))
    return found.numpy()


def test_words_count_whatever_their_case_and_what_stands_between_them():
    first, second = vectors("Late, as ever - ÄRGER!", "late as\never ärger")
    np.testing.assert_array_equal(first, second)


def test_the_order_of_words_counts_where_ngrams_are_longer_than_one():
    assert (np.diff(vectors("no crew", "crew no"), axis=0) != 0).any()
    assert not np.diff(vectors("no crew", "crew no", ngrams=1), axis=0).any()


def test_every_text_with_a_word_has_length_one_and_one_without_is_zero():
    found = vectors("a", "a b a c", "", "...", size=16)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 0], rtol=1e-6)
    assert found.shape == (4, 16) and found.dtype == np.float32


def test_a_word_that_comes_more_often_weighs_the_logarithm_of_its_count():
    (found,) = vectors("a a a b", ngrams=1)
    low, high = sorted(found[found > 0])
    np.testing.assert_allclose(high / low, np.log(4) / np.log(2), rtol=1e-5)
