"""From a source to a configuration: reads, understands, decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError, nearest
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.init import baselines, judging, noticed, signals, splits, values
from pipeline.init.asked import ASKED
from pipeline.init.baselines import Baselines, Inputs
from pipeline.init.dates import DateFormat
from pipeline.init.judging import Judging
from pipeline.init.kinds import Guess, Kind
from pipeline.init.noticed import Flag
from pipeline.init.problems import Label, label_of
from pipeline.init.signals import Target
from pipeline.init.spelling import Spelling
from pipeline.init.splits import Split
from pipeline.init.survey import Survey, survey
from pipeline.init.understanding import (
    SAMPLE,
    Column,
    checked_label,
    columns_of,
    counted,
    placed,
    target_of,
    usable,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.sources import Source

    Sides = tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]

_TRIED = 10_000
"""Rows on which columns and simple models are tried."""
_TRIED_OF_CLASS = 500


@dataclass(frozen=True)
class Wishes:
    """What is not guessed, as somebody has said it."""

    label: str
    problem: Problem | None = None
    classes: tuple[str, ...] = ()
    positive: str | None = None
    roles: Mapping[str, Guess] = field(default_factory=dict)
    """Columns with a list of [features] that is asked for."""
    drop: tuple[str, ...] = ()
    """Columns that are not read."""
    split_by: str | None = None
    split_time: str | None = None
    split_rows: bool = False
    folds: int | None = None
    judging: Judging = field(default_factory=Judging)


@dataclass(frozen=True)
class Doubt:
    """A question with its answers, the proposed one first."""

    question: str
    answers: Sequence[str]
    flags: Sequence[Sequence[str]]
    """What says each answer on the command line."""


Ask = Callable[[Doubt], int]
"""Answers a doubt by the position of the answer."""


@dataclass(frozen=True)
class Understood:
    """What was understood and decided."""

    rows: int
    columns: Mapping[str, Column]
    label: Label
    split: Split
    baselines: Baselines
    spelling: Spelling
    flags: Sequence[Flag]
    bad_rows: int = 0
    """Rows that are dropped: of no label that counts, or with a text where a number should be."""
    spans: int = 1
    """Months, weeks, deliveries that the rows came in."""
    judging: Judging = field(default_factory=Judging)
    deciding: int = 0
    """So few rows make half of the squared error of a guess that mae is to judge; 0: it is not."""


def understand(source: Source, wishes: Wishes, ask: Ask, *, spans: int = 1) -> Understood:
    """Reads a sample and all rows, and decides.

    Args:
        source: Where the rows are.
        wishes: What is not guessed.
        ask: Answers what cannot be known.
        spans: Into so many the rows are put; those of one judge.

    Raises:
        UserError: Nothing can be learned here; says why.
    """
    label_column = checked_label(source, wishes.label)
    if wishes.folds:
        _check_folds(wishes.folds, source.rows, wishes.split_time)
    _check_names(source, wishes)
    sample = source.sample(SAMPLE)
    whole = (wishes.split_by, wishes.split_time)
    told, spelling = columns_of(source, sample, label_column, wishes.roles, wishes.drop, whole)
    told = {name: _settled(column, ask) for name, column in told.items()}
    apart = [n for n, c in told.items() if c.guess.kind is Kind.IDENTIFIER]
    readings = {name: column.reading for name, column in told.items()}
    surveyed = survey(source.batches(list(told)), readings, apart)
    told = counted(told, surveyed, label_column)
    label = _label(told[label_column], surveyed, wishes, ask)
    judging.check(wishes.judging, label.problem)
    target, known = target_of(told[label_column], label)
    tried = _tried(len(target.values), label)
    some, rows_tried = _taken(target, tried), np.flatnonzero(known)[tried]
    skills = _skills(told, label, some, rows_tried, surveyed)
    told, flags = noticed.without_leaks(told, skills, label, frozenset(wishes.roles))
    split = _split(told, label, target, known, surveyed.rows - label.left_out, wishes, ask)
    told = _grouped(told, split, label_column)
    told = placed(told, surveyed.rows, folds=bool(split.folds))
    features = usable(told, label_column)
    rows = surveyed.rows - label.left_out
    judges = max(1, rows // spans if split.folds else rows // spans // 3)
    sides = _sides(told, rows_tried, split)
    reached = _baselines(features, some, rows_tried, split, sides, judges)
    regression = label.problem is Problem.REGRESSION
    deciding = signals.deciding(target.values, judges) if regression else 0
    flags += noticed.flags(told, label, surveyed, spelling, split)
    by_mae = deciding > 0 and reached.bound(Metric.MAE) is not None
    flags += noticed.few_decide(deciding, target, label, by_mae=by_mae)
    flags += noticed.no_signal(reached, label, by_mae=by_mae)
    flags += [Flag("split", split.column, split.why)] if split.column else []
    missing = _missing(spelling, told)
    return Understood(
        rows=surveyed.rows,
        columns=told,
        label=label,
        split=split,
        baselines=reached,
        spelling=replace(spelling, missing=missing),
        flags=flags,
        bad_rows=label.left_out + sum(c.strays for n, c in told.items() if n != label_column),
        spans=spans,
        judging=wishes.judging,
        deciding=deciding if by_mae else 0,
    )


def _check_names(source: Source, wishes: Wishes) -> None:
    there = source.schema.names
    asked = dict.fromkeys((*wishes.roles, *wishes.drop), "is asked for")
    asked |= {n: "is to split by" for n in (wishes.split_by, wishes.split_time) if n}
    sliced = (*(wishes.judging.slices or ()), *(wishes.judging.guards or ()))
    asked |= dict.fromkeys(sliced, "is to make slices")
    for name, why in asked.items():
        if name not in there:
            raise UserError(
                f"{name!r} {why}, and there is no such column{nearest(name, there) or '.'} "
                f"The columns are: {', '.join(there)}"
            )
    for column in (wishes.split_by, wishes.split_time):
        if column in (*wishes.drop, wishes.label):
            raise UserError(f"{column!r} is to split by: it cannot be left out, or be the label")
    if wishes.label in (*wishes.roles, *wishes.drop):
        raise UserError(f"--label {wishes.label}: the label cannot be a feature or be left out")


def _check_folds(folds: int, rows: int, split_time: str | None) -> None:
    if split_time:
        raise UserError(
            f"--folds {folds} and --split-time {split_time}: the newest rows judge, so there are "
            "no folds; leave one of them out"
        )
    if not 2 <= folds <= rows // 2:
        raise UserError(
            f"--folds {folds}: expected 0, or from 2 to {rows // 2}, for there are {rows:,} rows"
        )


def _settled(column: Column, ask: Ask) -> Column:
    """The column, after a question where day and month may be the other way round."""
    form = column.guess.setting
    if not isinstance(form, DateFormat) or not form.ambiguous:
        return column
    question = f"{column.name} has dates such as {column.example}: what comes first?"
    order = {True: "the day", False: "the month"}
    answers = [
        f"{order[one.index('%d') < one.index('%m')]}: {one}" for one in (form.format, form.swapped)
    ]
    flags = [("--date", f"{column.name}={one}") for one in (form.format, form.swapped)]
    chosen = ask(Doubt(question, answers, flags))
    if chosen == 0:
        return column
    settled = DateFormat(form.swapped, clock=form.clock)
    return replace(column, guess=replace(column.guess, setting=settled))


def _label(column: Column, surveyed: Survey, wishes: Wishes, ask: Ask) -> Label:
    known = column.sample.drop_null()
    unit = values.unit_of(known) if pa.types.is_string(known.type) and not wishes.classes else None
    if unit and wishes.problem is not Problem.MULTICLASS and column.counted.distinct > 2:
        raise UserError(
            f"--label {column.name}: it holds {unit.words}, as in {unit.example!r}; expected plain "
            f"numbers. Write it so ({unit.plain}), or ask for --problem multiclass if each is a "
            "class"
        )
    told = label_of(
        column.name,
        column.counted,
        surveyed.rows,
        problem=wishes.problem,
        classes=wishes.classes,
        positive=wishes.positive,
    )
    if not told.unclear:
        return told
    other = {
        Problem.MULTICLASS: Problem.REGRESSION,
        Problem.REGRESSION: Problem.MULTICLASS,
    }[told.problem]
    words = {
        Problem.MULTICLASS: "multiclass: each number is a name",
        Problem.REGRESSION: "regression: more is more",
    }
    question = f"{told.why}. What is {column.name}?"
    problems = [told.problem, other]
    flags = [("--problem", str(problem)) for problem in problems]
    if ask(Doubt(question, [words[problem] for problem in problems], flags)) == 0:
        return told
    return label_of(column.name, column.counted, surveyed.rows, problem=other)


def _tried(rows: int, label: Label) -> NDArray[np.int64]:
    """Rows to try on, spread evenly; more of them where one of two classes is rare."""
    rare = label.problem is Problem.BINARY
    most = max(_TRIED, int(_TRIED_OF_CLASS / label.rarest)) if rare else _TRIED
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def _taken(target: Target, rows: NDArray[np.int64]) -> Target:
    return replace(target, values=target.values[rows])


def _skills(
    columns: Mapping[str, Column],
    label: Label,
    target: Target,
    rows: NDArray[np.int64],
    surveyed: Survey,
) -> dict[str, float]:
    """How well each column alone predicts the label."""
    told = {}
    for name, column in columns.items():
        usual = column.guess.kind not in (Kind.CONSTANT, Kind.IDENTIFIER, Kind.TEXT)
        usual &= column.guess.is_used
        if name == label.name or not usual:
            continue
        if surveyed.twins.get(name) == label.name or surveyed.twins.get(label.name) == name:
            told[name] = 1.0
            continue
        is_category = column.guess.kind in (Kind.CATEGORY, Kind.BOOLEAN)
        numbers = column.categories if is_category else column.numbers
        told[name] = signals.skill(numbers[rows], target, is_category=is_category)
    return told


def _split(
    columns: Mapping[str, Column],
    label: Label,
    target: Target,
    known: NDArray[np.bool_],
    rows: int,
    wishes: Wishes,
    ask: Ask,
) -> Split:
    asked = Split("as asked for", wishes.split_by, wishes.split_time)
    if asked.column or wishes.split_rows:
        return splits.checked(splits.with_folds(asked, rows, wishes.folds), columns)
    found = splits.choices(columns, label.name, target, known, rows)
    if wishes.folds:  # Who asks for folds does not want the newest rows to judge.
        found = tuple(split for split in found if not split.split_time)
    chosen = 0
    if len(found) > 1:
        answers = [
            f"{'by ' + s.column if s.column else 'each row by itself'}: {s.why}" for s in found
        ]
        flags = [split.flags for split in found]
        chosen = ask(Doubt("Which rows are to judge the models?", answers, flags))
    split = found[chosen]
    return split if wishes.folds is None else splits.with_folds(split, rows, wishes.folds)


def _grouped(columns: dict[str, Column], split: Split, label: str) -> dict[str, Column]:
    """The columns; the one that names groups, none of which is on both sides, is not used."""
    column = columns.get(split.split_by or "")
    others = {n for n, c in columns.items() if c.guess.is_used} - {label, split.split_by}
    if column is None or not column.guess.is_used or column.guess.why == ASKED or not others:
        return columns
    why = f"{column.guess.why}: rows are split by it, and a new one is unknown"
    return {**columns, column.name: replace(column, guess=Guess(Kind.IDENTIFIER, why))}


def _baselines(
    features: Mapping[str, Column],
    target: Target,
    rows: NDArray[np.int64],
    split: Split,
    sides: Sides,
    judging: int,
) -> Baselines:
    numbers, categories, texts = [], [], []
    for column in features.values():
        if column.guess.kind is Kind.TEXT:
            texts.append(np.array([v or "" for v in column.sample.to_pylist()], object)[rows])
        elif column.guess.kind in (Kind.CATEGORY, Kind.BOOLEAN) and column.is_text:
            categories.append(column.categories[rows])
        else:
            numbers.append(column.numbers[rows])
    none = np.empty((len(rows), 0))
    inputs = Inputs(
        np.stack(numbers, 1) if numbers else none,
        np.stack(categories, 1) if categories else none,
        tuple(texts),
    )
    return baselines.baselines(
        inputs,
        target,
        folds=bool(split.folds),
        judging=judging,
        groups=sides[0],
        order=sides[1],
    )


def _sides(columns: Mapping[str, Column], rows: NDArray[np.int64], split: Split) -> Sides:
    """What puts the rows apart: groups, or their order in time."""
    if split.split_by:
        return columns[split.split_by].categories[rows], None
    if split.split_time:
        return None, columns[split.split_time].numbers[rows]
    return None, None


def _missing(spelling: Spelling, columns: Mapping[str, Column]) -> tuple[str, ...]:
    """Every spelling of a missing value, those in rows beyond the sample too."""
    told = dict.fromkeys(spelling.missing)
    for column in columns.values():
        if column.reading.as_number and column.guess.is_used:
            told |= dict.fromkeys(set(column.counted.odd) & set(values.MISSING))
        for number in column.reading.stand_ins:
            told |= dict.fromkeys([f"{number:.0f}", f"{number:.1f}"])
    return tuple(told)
