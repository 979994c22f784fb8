"""What kind of problem a label makes, and the labels that make none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.init.survey import Counted
from pipeline.init.values import NUMBER, alike_in_words, boolean_pair, figure, spelled_alike

_LEAST_ROWS = 50
LEAST_PER_CLASS = 8
"""Of fewer rows no model learns, and none can judge."""
_MOST_CLASSES = 100
_RARE = 0.01


@dataclass(frozen=True)
class Label:
    """The label, and the problem that it makes."""

    name: str
    problem: Problem
    why: str
    classes: tuple[str, ...] = ()
    """As the configuration lists them; of two the second is the positive one."""
    counts: tuple[int, ...] = ()
    """Rows of each class."""
    unclear: bool = False
    """Whether it could as well be another problem."""
    left_out: int = 0
    """Rows that are not learned from: without a label, or of a class that was not asked for."""

    @property
    def rarest(self) -> float:
        """The share of the rarest class."""
        return min(self.counts) / sum(self.counts)


def label_of(
    name: str,
    counted: Counted,
    rows: int,
    *,
    problem: Problem | None = None,
    classes: Sequence[str] = (),
    positive: str | None = None,
) -> Label:
    """The problem, as asked for, or by the label's values.

    Args:
        name: The label's column.
        counted: What all rows say of it.
        rows: How many there are.
        problem: What it is said to be.
        classes: The label's values that count, in their order; rows of others are left out.
        positive: Of two classes, the one whose probability is predicted.

    Raises:
        UserError: Nothing can be learned of this label, or it is not what it is said to be.
    """
    labelled = rows - counted.missing
    if not labelled:
        raise UserError(f"--label {name}: the column has no value in any of the {rows:,} rows")
    if labelled < _LEAST_ROWS:
        have = "1 row has" if labelled == 1 else f"{labelled} rows have"
        raise UserError(
            f"{have} a label {name!r}; expected {_LEAST_ROWS} or more: fewer teach "
            "nothing that could be checked. Gather more rows"
        )
    if counted.distinct == 1:
        value = next(iter(counted.values or {"": 0}))
        raise UserError(
            f"--label {name}: all {labelled:,} rows have the same value, {value!r}; there is "
            "nothing to learn. Name another column, or add rows with other values"
        )
    told, why, unclear = _problem(counted, labelled)
    if alike := spelled_alike(counted.values or ()) if not (problem or classes) else []:
        raise UserError(
            f"--label {name}: {alike_in_words(alike)}. If they are the same, write them in one way "
            f"in the data; if each is a class of its own, say so: --problem {told}"
        )
    if problem is not None:
        told, why, unclear = problem, "as asked for", False
    elif classes:
        told = Problem.BINARY if len(classes) == 2 else Problem.MULTICLASS
        why, unclear = f"{len(classes)} classes are asked for", False
    if told is Problem.REGRESSION:
        return Label(name, told, _number(name, counted, why), (), (), unclear, counted.missing)
    return replace(
        _classes(name, counted, told, why, classes, positive),
        unclear=unclear,
        left_out=counted.missing + _others(counted, classes),
    )


def _problem(counted: Counted, labelled: int) -> tuple[Problem, str, bool]:
    """The problem, why, and whether it is unclear."""
    distinct, values = counted.distinct, counted.values
    if distinct == 2:
        return Problem.BINARY, "the label has two values", False
    if counted.high == -float("inf"):
        return Problem.MULTICLASS, f"the label has {distinct:,} values that are no numbers", False
    if not counted.whole or values is None or distinct > 30 or labelled < 10 * distinct:
        return Problem.REGRESSION, f"the label has {distinct:,} numbers", False
    few = min(values.values())
    in_turn = counted.high - counted.low + 1 == distinct and counted.low in (0, 1)
    if in_turn and few >= max(LEAST_PER_CLASS, _RARE * labelled):
        why = f"the label has {distinct} whole numbers in turn, none of them rare"
        return Problem.MULTICLASS, why, distinct > 3
    return Problem.REGRESSION, f"the label has {distinct} whole numbers, as counts have", True


def _number(name: str, counted: Counted, why: str) -> str:
    if counted.high == -float("inf"):
        some = ", ".join(map(repr, list(counted.values or ())[:3]))
        raise UserError(
            f"--label {name}: a regression predicts a number, and the column holds text"
            f"{f' ({some})' if some else ''}. Write it as plain numbers, without units or "
            "separators between thousands, or ask for --problem multiclass"
        )
    return f"{why}, from {figure(counted.low)} to {figure(counted.high)}"


def _others(counted: Counted, classes: Sequence[str]) -> int:
    if not classes or counted.values is None:
        return 0
    return sum(count for value, count in counted.values.items() if value not in classes)


def _classes(
    name: str,
    counted: Counted,
    problem: Problem,
    why: str,
    wanted: Sequence[str],
    positive: str | None,
) -> Label:
    there = counted.values
    if there is None or (not wanted and len(there) > _MOST_CLASSES):
        raise UserError(
            f"--label {name}: {counted.distinct:,} different values are too many classes; expected "
            f"{_MOST_CLASSES} at most. Is it an identifier or a text? Name another column, or name "
            "the values that count: --classes a,b,c"
        )
    for value in (*wanted, *([positive] if positive is not None else [])):
        if value not in there:
            listed = ", ".join(list(there)[:10])
            raise UserError(f"{name} is never {value!r}; its values are: {listed}")
    counts = {value: there[value] for value in wanted or there}
    names, reason = _in_order(counts, problem, positive, asked=bool(wanted))
    if (problem is Problem.BINARY) != (len(names) == 2):
        raise UserError(
            f"--problem {problem}: {name} has {len(names)} classes ({', '.join(names[:10])}); "
            f"expected {'two' if problem is Problem.BINARY else 'three or more'}. Name the values "
            "that count by --classes, or ask for another problem"
        )
    rare = [value for value in names if counts[value] < LEAST_PER_CLASS]
    if rare:
        left = [value for value in names if value not in rare]
        way = f", name the others (--classes {','.join(left)})" if len(left) > 1 else ""
        said = ", ".join(f"{value!r} has {counts[value]}" for value in rare[:5])
        raise UserError(
            f"--label {name}: too few rows of a class: {said}; expected {LEAST_PER_CLASS} or more. "
            f"Gather more rows of it{way}, or put it together with another in the data"
        )
    return Label(name, problem, f"{why}{reason}", names, tuple(counts[v] for v in names))


def _in_order(
    counts: dict[str, int], problem: Problem, positive: str | None, *, asked: bool
) -> tuple[tuple[str, ...], str]:
    """The classes in order, and which is the positive one and why, in words."""
    if problem is not Problem.BINARY or len(counts) != 2:
        names = tuple(counts) if asked else tuple(sorted(counts, key=_by_number))
        return names, ""
    if positive is not None:
        yes, why = positive, "as asked for"
    elif asked:
        yes, why = tuple(counts)[1], "as asked for"
    elif pair := boolean_pair(counts):
        yes, why = pair[1], "by its name"
    else:
        yes, why = min(sorted(counts), key=lambda v: counts[v]), "the rarer one"
    no = next(value for value in counts if value != yes)
    return (no, yes), f"; {yes} is the positive one, {why}"


def _by_number(text: str) -> tuple[float, str]:
    import re

    return (float(text), "") if re.match(NUMBER, text) else (float("inf"), text)
