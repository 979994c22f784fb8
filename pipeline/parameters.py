"""The runtime parameters of the compiled pipeline."""

from __future__ import annotations

SPAN = "span"
"""Says which span to ingest."""


def span_parameter(span: int) -> dict[str, str]:
    """The runtime parameter that makes a run ingest `span`.

    The text is part of the cache key, so there is one way to write it.
    """
    value = f'{{"static_range": {{"start_span_number": "{span}", "end_span_number": "{span}"}}}}'
    return {SPAN: value}
