"""What was understood, as tables for a person and as data for a program."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.init import values
from pipeline.init.making import Understood
from pipeline.init.noticed import Flag
from pipeline.init.proposal import Facts, bounds
from pipeline.lineage_tables import show, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.init.understanding import Column

_ALIKE = 4
"""So many flags of a kind are told one by one."""
_WIDE, _NAME = 100, 26
_NARROW = {"name": 20, "example": 12}
"""Characters of a column of the table on a narrow terminal."""
_UNUSED = ("keep", "drop")


def tell(found: Understood, facts: Facts, *, described: str, notes: tuple[str, ...]) -> None:
    """Prints the columns, what was noticed, and what was decided."""
    parts: list[RenderableType] = [f"{described}: {found.rows:,} rows\n"]
    parts.append(_columns_table(found))
    noticed = [
        _printable({"noticed": f.about, "column": f.column or "", "what": f.text})
        for f in _short(found.flags)
        if f.about != "split"
    ]
    noticed = [{"noticed": "reading", "column": "", "what": note} for note in notes] + noticed
    if noticed:
        parts += ["", table(noticed)]
    decided = [
        _printable({"decided": key, "what": text}) for key, text in decisions(found, facts).items()
    ]
    show(*parts, "", table(decided), "")


def decisions(found: Understood, facts: Facts) -> dict[str, str]:
    """What was decided, in sentences."""
    label, split = found.label, found.split
    told = {"problem": f"{label.problem}: {label.why}"}
    how = f"by {split.column}" if split.column else "row by row"
    told["split"] = f"{how}: {split.why}" if split.column else how
    if split.folds:
        told["split"] += (
            f"; {found.rows:,} rows are few, so all of them judge: {split.folds} folds, "
            f"{split.repeats} times"
        )
    metric, reached = facts.best_in, found.baselines
    told["metric"] = str(metric)
    if metric in reached.trivial:
        told["metric"] += (
            f": a guess has {metric.words(reached.trivial[metric])}, {reached.model} "
            f"{metric.words(reached.simple[metric])}"
        )
    if found_bounds := bounds(facts):
        first, (value, why) = next(iter(found_bounds.items()))
        told["threshold"] = f"{first} {first.words(value)}, {why}"
    return told


def as_data(found: Understood, facts: Facts, *, described: str, files: list[str]) -> dict[str, Any]:
    """The same for a program."""
    reached = found.baselines
    return {
        "source": described,
        "rows": found.rows,
        "columns": [
            {
                "name": column.name,
                "kind": _kind(column, found),
                "why": _why(column, found),
                "role": "label" if column.name == found.label.name else column.guess.role,
                "missing": column.counted.missing / max(1, found.rows),
                "distinct": column.counted.distinct,
                "distinct_exact": column.counted.exact,
                "example": column.example,
            }
            for column in found.columns.values()
        ],
        "flags": [{"about": f.about, "column": f.column, "text": f.text} for f in found.flags],
        "problem": str(found.label.problem),
        "classes": list(found.label.classes),
        "decisions": decisions(found, facts),
        "metric": str(facts.best_in),
        "baselines": {
            "trivial": _named(reached.trivial),
            "simple": {"model": reached.model, **_named(reached.simple)},
        },
        "files": files,
    }


def _named(metrics: Mapping[Any, float]) -> dict[str, float]:
    return {str(metric): value for metric, value in metrics.items()}


def _short(flags: Sequence[Flag]) -> list[Flag]:
    """The flags, without those of which there are many alike; how many that are is said."""
    told: list[Flag] = []
    for about, many in _by_about(flags).items():
        told += many[:_ALIKE]
        if rest := [str(flag.column) for flag in many[_ALIKE:]]:
            listed = ", ".join(map(values.shown, rest[:_ALIKE])) + ", …" * (len(rest) > _ALIKE)
            told.append(Flag(about, f"{len(rest)} more", f"likewise: {listed}"))
    return told


def _by_about(flags: Sequence[Flag]) -> dict[str, list[Flag]]:
    told: dict[str, list[Flag]] = {}
    for flag in flags:
        told.setdefault(flag.about, []).append(flag)
    return told


def _columns_table(found: Understood) -> RenderableType:
    """A line for each column, dim if it is not used."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [_row(column, found) for column in found.columns.values()]
    narrow = sys.stdout.isatty() and Console().width < _WIDE
    made = Table(box=None, padding=(0, 1 if narrow else 2, 0, 0), pad_edge=False)
    for key in rows[0]:
        if narrow and key == "becomes":
            continue
        widest = max(len(key), *(len(row[key]) for row in rows))
        most = _NARROW.get(key, widest) if narrow else widest
        made.add_column(
            key,
            overflow="fold",
            justify="right" if key in ("missing", "distinct") else "left",
            min_width=8 if key == "why" else min(widest, _NAME if key == "name" else 16, most),
            max_width=None if key == "why" else most,
        )
    for row in rows:
        shown = (row[str(column.header)] for column in made.columns)
        made.add_row(*map(Text, shown), style="dim" if row["becomes"] in _UNUSED else "")
    return made


def _row(column: Column, found: Understood) -> dict[str, str]:
    counted = column.counted
    about = "" if counted.exact else "about "
    row = {
        "name": column.name,
        "kind": _kind(column, found),
        "becomes": "label" if column.name == found.label.name else column.guess.role,
        "why": _why(column, found),
        "missing": _share(counted.missing, found.rows),
        "distinct": f"{about}{counted.distinct:,}",
        "example": column.example,
    }
    return _printable(row)


def _printable(row: Mapping[str, str]) -> dict[str, str]:
    return {key: values.printable(text) for key, text in row.items()}


def _share(part: int, whole: int) -> str:
    """A share, and neither none nor all if it is hardly so."""
    share = part / max(1, whole)
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.1%}" if part else ""


def _kind(column: Column, found: Understood) -> str:
    if column.name != found.label.name:
        return str(column.guess.kind)
    return str(found.label.problem)


def _why(column: Column, found: Understood) -> str:
    return found.label.why if column.name == found.label.name else column.guess.why
