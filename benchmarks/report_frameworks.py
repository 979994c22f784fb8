"""Makes Markdown of what several frameworks cost."""

from __future__ import annotations

from benchmarks.report import Figures, table

TARGET = 1.6
"""How much longer a run may take with three frameworks than with Keras alone."""


def frameworks(figures: Figures) -> str:
    """The section on training several frameworks, and on their predictions."""
    runs = figures["runs"]
    alone = runs["keras"]["wall"]
    rows = [
        [", ".join(r["frameworks"]), r["wall"], r["cpu"], r["peak_mb"], f"{r['wall'] / alone:.2f}"]
        for r in runs.values()
    ]
    asked = [
        [
            name,
            figure["one_p50_ms"],
            figure["one_p99_ms"],
            figure["many_p50_ms"],
            figure["many_p99_ms"],
            round(figure["rows_per_second"]),
            figure["load_seconds"],
        ]
        for name, figure in figures["predictions"].items()
    ]
    headers = ["1 row, ms: median", "p99", "1,000 rows, ms: median", "p99", "rows/s", "loading, s"]
    ratio = runs["three"]["wall"] / alone
    return "\n\n".join(
        [
            "The flights pipeline from an empty folder to a pushed and registered model, with "
            f"Keras alone and with more frameworks, in turn; the least of {figures['rounds']}.",
            table(["frameworks", "wall s", "cpu s", "peak MB", "wall / Keras alone"], rows),
            f"- three frameworks take {ratio:.2f} times as long as Keras alone (target: {TARGET} "
            "at most)",
            "Their models, and the mean of all, asked for raw rows through the bundle, each in a "
            "process of its own that has loaded nothing else: a row as a dict, 1,000 rows and the "
            "28,000 of a month as an Arrow table. Preprocessing is part of it.",
            table(["model", *headers], asked),
        ]
    )
