"""The runtime parameters of the compiled pipeline, and the span that a run is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig

SPAN = "span"
"""Says which span to ingest."""
NEWEST = "newest"
"""In place of a span's number: the newest that is there when the run begins."""


def span_parameter(span: int) -> dict[str, str]:
    """The runtime parameter that makes a run ingest `span`.

    The text is part of the cache key, so there is one way to write it.
    """
    value = f'{{"static_range": {{"start_span_number": "{span}", "end_span_number": "{span}"}}}}'
    return {SPAN: value}


def of_span(config: PipelineConfig, span: int | None) -> PipelineConfig:
    """`config` for a run on `span`; None: on the newest that is there."""
    data = config.data.model_copy(update={"span": span})
    return config.model_copy(update={"data": data})
