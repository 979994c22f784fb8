"""Makes Markdown of how fast batch inference is."""

from __future__ import annotations

from benchmarks.report import Figures, table

TARGET = 200_000
"""Rows a second that the tree models should do at least, on two cores."""
_TREES = ("sklearn", "xgboost")
_NAMES = {"copy": "no model: read and written"}


def predict(figures: Figures) -> str:
    """The section on batch inference."""
    count = figures["rows"]
    rows = [
        [
            _NAMES.get(name, name),
            one["seconds"],
            f"{count / one['seconds']:,.0f}",
            f"{one['cpu_seconds'] * 1e6 / count:.2f}",
            one["peak_mb"],
        ]
        for name, one in figures["frameworks"].items()
    ]
    least = min(count / figures["frameworks"][name]["seconds"] for name in _TREES)
    return "\n\n".join(
        [
            f"{count:,} flights from one Parquet file to another, with their predictions, by the "
            "code of `python -m pipeline predict` and of BatchPredict, each in a process of its "
            f"own that has loaded the model; the least of {figures['rounds']}, in turn, on "
            f"{figures['cores']} cores. (TFX's BulkInferrer takes no Keras 3 model.)",
            table(["model", "seconds", "rows/s", "cpu µs/row", "peak MB"], rows),
            f"The slower of the tree models: {least:,.0f} rows/s (target: {TARGET:,} at least).",
        ]
    )
