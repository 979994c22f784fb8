"""Makes Markdown of how soon a metadata store answers."""

from __future__ import annotations

from benchmarks.report import Figures, table

TARGET = 1.0
"""Seconds that a command may take on the largest store."""
_PASS = "python -c pass"


def lineage(figures: Figures) -> str:
    """The section on questions to the metadata store."""
    parts = [
        "Stores as runs of 16 nodes would have left them: a window of three spans, two "
        "models a run, every third run pushes one, with which the next ones are compared; every "
        "fifth run finds what it makes of its data in the cache. Each question is asked through "
        "`pipeline.lineage` of a store that was just opened, with nothing in memory; the least of "
        f"{figures['rounds']}. Growth is from the smallest store to the largest: of the number of "
        "things in the answer, and of the time. What asks for artifacts by their properties, and "
        "so for a span, reads all of their type, as ML Metadata 1.21 has no filter.",
    ]
    for name, sizes in figures["databases"].items():
        parts += [f"{name}:", _questions(sizes)]
    parts += [f"Not measured on {name}: {why}" for name, why in figures["missing"].items()]
    largest = max(map(int, figures["databases"]["sqlite"]))
    commands = figures["commands"]
    base = commands[_PASS]["wall"]
    rows = [
        [
            f"`{name}`",
            cost["wall"],
            f"{cost['wall'] / base:.0f}",
            cost["cpu"],
            ", ".join(cost["imported"]) or "neither",
        ]
        for name, cost in commands.items()
    ]
    slowest = max(commands, key=lambda name: float(commands[name]["wall"]))
    parts += [
        f"The same as commands, `python -m pipeline …`, on sqlite with {largest:,} executions:",
        table(["command", "seconds", f"/ {_PASS}", "cpu s", "imports of TensorFlow, TFX"], rows),
        f"- the slowest command, `{slowest}`: {commands[slowest]['wall']:.2f} s (target: below "
        f"{TARGET:.0f} s)",
    ]
    return "\n\n".join(parts)


def _questions(sizes: dict[str, Figures]) -> str:
    by_size = [sizes[size] for size in sorted(sizes, key=int)]
    first, last = by_size[0], by_size[-1]
    rows = []
    for name in last:
        answers = [found[name]["answer"] for found in (first, last)]
        seconds = [found[name]["seconds"] for found in by_size]
        rows.append(
            [
                name,
                *answers,
                f"{answers[1] / answers[0]:.1f}",
                *(f"{1000 * taken:,.1f}" for taken in seconds),
                f"{seconds[-1] / seconds[0]:.1f}",
            ]
        )
    labels = [f"{int(size):,}" for size in sorted(sizes, key=int)]
    headers = ["question", f"answer: {labels[0]}", labels[-1], "growth", f"ms: {labels[0]}"]
    return table([*headers, *labels[1:], "growth"], rows)
