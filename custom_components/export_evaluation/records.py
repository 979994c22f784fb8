"""An evaluation as flat records, one for each model, metric and slice, as tables in warehouses are.

Imports neither TFX nor TensorFlow.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any

from custom_components.evaluator.verdict import LIVE, Intervals, Metrics, Verdict
from custom_components.selection import Selection
from pipeline.errors import UserError

MAX_BYTES = 131_071
"""What Linux lets one argument of a program hold, and with it a container's."""


def flatten(verdict: Verdict, selection: Selection) -> Iterator[dict[str, Any]]:
    """The records of an evaluation: all rows first, then slice by slice.

    Each has `model`, `live` (whether it is the live one), `blessed` (null for the live one),
    `champion` (whether it was selected), `metric`, `slice` ("all rows" or as in "carrier UA"),
    `rows`, `value`, and `low` and `high`, the ends of its interval; null where undefined.
    """
    yield from _of_slice(
        "all rows", verdict.rows, verdict.models, verdict.intervals, verdict, selection
    )
    for part in verdict.slices:
        yield from _of_slice(part.name, part.rows, part.models, part.intervals, verdict, selection)


def _of_slice(
    name: str,
    rows: int,
    models: Mapping[str, Metrics],
    intervals: Mapping[str, Intervals],
    verdict: Verdict,
    selection: Selection,
) -> Iterator[dict[str, Any]]:
    for model, metrics in models.items():
        for metric, value in metrics.items():
            low, high = intervals.get(model, {}).get(metric) or (None, None)
            yield {
                "model": model,
                "live": model == LIVE,
                "blessed": verdict.blessed.get(model),
                "champion": model == selection.winner,
                "metric": metric.value,
                "slice": name,
                "rows": rows,
                "value": _short(value),
                "low": _short(low),
                "high": _short(high),
            }


def _short(value: float | None) -> float | None:
    """With the digits that mean something."""
    return None if value is None else float(f"{value:.6g}")


def pack(records: Iterator[dict[str, Any]]) -> str:
    """The records as an argument of the program: base64 of gzip of JSON.

    Raises:
      UserError: they are more than an argument holds.
    """
    content = json.dumps(list(records), separators=(",", ":")).encode()
    text = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    if len(text) > MAX_BYTES:
        raise UserError(
            f"the evaluation's records have {len(text):,} bytes, and one argument of a container "
            f"holds {MAX_BYTES:,} at most: leave out slices of evaluate.slices, or export.url"
        )
    return text
