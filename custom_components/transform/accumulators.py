"""What analyzers have accumulated, as bytes: the content of a cache, and of none a pickle."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tensorflow_transform.analyzer_nodes import CacheCoder, Combiner
from tensorflow_transform.analyzers import QuantilesCombiner
from tfx_bsl.sketches import QuantilesSketch


class CounterCoder(CacheCoder):
    """How often each value of a vocabulary occurs: JSON, where a text's bytes are characters."""

    def encode_cache(self, cache: Counter[Any]) -> bytes:
        """The bytes of a counter of bytes or of numbers."""
        counts = [
            (value.decode("latin-1") if isinstance(value, bytes) else value, count)
            for value, count in cache.items()
        ]
        return json.dumps(counts).encode()

    def decode_cache(self, encoded_cache: bytes) -> Counter[Any]:
        """The counter of these bytes."""
        return Counter(
            {
                value.encode("latin-1") if isinstance(value, str) else value: count
                for value, count in json.loads(encoded_cache)
            }
        )


class SketchCoder(CacheCoder):
    """The sketch of quantiles; TensorFlow Transform's own coder pickles it."""

    def encode_cache(self, cache: QuantilesSketch) -> bytes:
        """The sketch's own serialization, which a pickle of it would wrap."""
        state: bytes = cache.__getstate__()
        return state

    def decode_cache(self, encoded_cache: bytes) -> QuantilesSketch:
        """The sketch of these bytes."""
        sketch = QuantilesSketch.__new__(QuantilesSketch)
        sketch.__setstate__(encoded_cache)
        return sketch


class AsItIs(CacheCoder):
    """For accumulators that TensorFlow Transform keeps in no cache."""

    def encode_cache(self, cache: Any) -> Any:
        """The accumulator."""
        return cache

    def decode_cache(self, encoded_cache: Any) -> Any:
        """The accumulator."""
        return encoded_cache


def coder_of(combiner: Combiner) -> CacheCoder:
    """What makes bytes of a combiner's accumulators."""
    if isinstance(combiner, QuantilesCombiner):
        return SketchCoder()
    return combiner.accumulator_coder or AsItIs()
