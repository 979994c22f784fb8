"""What a person should look at: leaks, repeated rows, odd values, rare classes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.init import signals, values
from pipeline.init.baselines import Baselines
from pipeline.init.kinds import Guess, Kind
from pipeline.init.problems import Label
from pipeline.init.signals import Target
from pipeline.init.spelling import Spelling
from pipeline.init.splits import Split
from pipeline.init.survey import Survey
from pipeline.init.understanding import Column

_ALIKE = 0.01
"""So many rows of a table of few columns are alike by chance."""
IMBALANCED = 0.05
"""With fewer positives the ranking of the few is what counts."""


_COMMAS = ", or say what the comma is (--thousands , or --decimal ,)"
_AS_TEXT = {True: "each is a category of its own", False: "read, but not predicted from"}


@dataclass(frozen=True)
class Flag:
    """Something to look at."""

    about: str
    """leak, identifier, constant, …"""
    column: str | None
    text: str


def without_leaks(
    columns: Mapping[str, Column], skills: Mapping[str, float], label: Label, asked: frozenset[str]
) -> tuple[dict[str, Column], list[Flag]]:
    """The columns, those that give the label away kept out, and what is said of them."""
    told, flags = dict(columns), []
    for name, skill in skills.items():
        named_after = _named_after(name, label.name)
        certain = skill >= signals.CERTAIN or (named_after and skill >= signals.SUSPECT - 0.1)
        if not certain and (skill < signals.SUSPECT or columns[name].guess.kind is Kind.DATE):
            continue
        how = f"alone it predicts the label almost perfectly ({_skill(skill, label.problem)})"
        also = " and is named after it" if named_after else ""
        if certain and name not in asked:
            why = f"a leak: {how}{also}"
            guess = columns[name].guess
            told[name] = replace(columns[name], guess=Guess(guess.kind, why, "keep"))
            mend = f"kept out; if it is known before the label is, {_option(_flag(guess), name)}"
        else:
            mend = f"used; is it known before the label is? if not, {_option('keep', name)}"
        flags.append(Flag("leak", name, f"{how}{also}: {mend}"))
    return told, flags


def flags(
    columns: Mapping[str, Column],
    label: Label,
    surveyed: Survey,
    spelling: Spelling,
    split: Split,
) -> Iterator[Flag]:
    """What else there is to say, a sentence each."""
    for name, column in columns.items():
        if name == label.name:
            continue
        yield from _of_column(column, surveyed)
        yield from _of_texts(column)
        yield from _of_counts(column, surveyed)
        yield from _of_spelling(column, spelling)
    yield from _of_repeated(columns, surveyed, split)
    yield from _of_label(label, surveyed)


def few_decide(deciding: int, target: Target, label: Label, *, by_mae: bool) -> Iterator[Flag]:
    """Says so where a few rows of far values decide what rmse is."""
    if deciding:
        away = abs(target.values - target.values.mean())
        least = values.figure(float(f"{sorted(away)[-deciding]:.2g}"))
        other = "mae is everybody's" if by_mae else "but in mae the median is hardly to be beaten"
        yield Flag(
            "few decide",
            label.name,
            f"{deciding:,} of {len(away):,} rows, {least} and more from the mean, make half of "
            f"the squared error of a guess: rmse is theirs alone, {other}. Are these values real?",
        )


def no_signal(told: Baselines, label: Label, *, by_mae: bool) -> Iterator[Flag]:
    """Says so where a simple model is no better than a guess."""
    metric = Metric.MAE if by_mae else next(iter(told.trivial))
    looked_at = [metric]
    if label.problem is Problem.MULTICLASS:  # Whose F1 grows with every class that is named.
        metric, looked_at = Metric.ACCURACY, [Metric.ACCURACY, Metric.LOG_LOSS]
    if all(told.bound(one) is None for one in looked_at):
        better = metric.goodness(told.simple[metric]) > metric.goodness(told.trivial[metric])
        yield Flag(
            "no signal",
            label.name,
            f"{'hardly' if better else 'no'} better than a guess "
            f"({metric} {metric.words(told.trivial[metric])}): "
            f"{told.model} ({metric.words(told.simple[metric])}); a run may find no model worth "
            "pushing",
        )


def _skill(skill: float, problem: Problem) -> str:
    if problem is Problem.BINARY:
        return f"AUC {(skill + 1) / 2:.3f}"
    if problem is Problem.REGRESSION:
        return f"R² {skill:.3f}"
    return f"{skill:.0%} of what a guess gets wrong is right"


def _named_after(name: str, label: str) -> bool:
    words = set(re.split(r"[\W_]+", name.lower()))
    return set(re.split(r"[\W_]+", label.lower())) <= words


def _flag(guess: Guess) -> str:
    roles = {"numeric": "numeric", "log": "numeric", "dates": "date", "text": "text"}
    return roles.get(guess.role, "categorical")


def _option(flag: str, columns: str) -> str:
    """An option as a shell takes it."""
    return f"--{flag} {shlex.quote(columns)}"


def _of_column(column: Column, surveyed: Survey) -> Iterator[Flag]:
    name, guess = column.name, column.guess
    if guess.kind is Kind.IDENTIFIER:
        yield Flag("identifier", name, f"{guess.why}: not predicted from")
    elif not guess.is_read:
        yield Flag("hardly a value", name, f"{guess.why}: not read")
    elif guess.kind is Kind.CONSTANT:
        yield Flag("constant", name, f"{guess.why}: not predicted from")
    elif name in surveyed.twins:
        yield Flag("duplicate column", name, f"holds the same as {surveyed.twins[name]}: left out")
    if guess.kind is Kind.DATE and guess.setting is not None:
        yield Flag("date", name, f"read {guess.setting}: becomes its parts and its age")
        if guess.setting.ambiguous:
            yield Flag(
                "ambiguous date",
                name,
                f"day and month may be the other way round; read as {guess.setting.format}; if "
                f"not, {_option('date', f'{name}={guess.setting.swapped}')}",
            )


def _of_counts(column: Column, surveyed: Survey) -> Iterator[Flag]:
    name, guess = column.name, column.guess
    counted = column.counted
    if counted.values and guess.kind is not Kind.CONSTANT:
        value, count = counted.values.most_common(1)[0]
        if count >= 0.995 * surveyed.rows:
            rest = surveyed.rows - count - counted.missing
            yield Flag("constant", name, f"{value} in all but {rest:,} rows: nearly a constant")
    if counted.missing > 0.5 * surveyed.rows and guess.kind is not Kind.CONSTANT:
        share = counted.missing / surveyed.rows
        yield Flag("missing", name, f"missing in {share:.0%} of the rows: that itself is an input")


def _of_texts(column: Column) -> Iterator[Flag]:
    import pyarrow as pa
    import pyarrow.compute as pc

    name, guess, known = column.name, column.guess, column.sample.drop_null()
    if not (len(known) and pa.types.is_string(known.type)):
        return
    names_things = guess.is_used and guess.kind in (Kind.CATEGORY, Kind.BOOLEAN)
    if alike := values.spelled_alike(column.counted.values or ()) if names_things else []:
        yield Flag(
            "spelling",
            name,
            f"{values.alike_in_words(alike)}, and each is a category of its own: if they are the "
            "same, write them in one way",
        )
    if guess.kind in (Kind.DATE, Kind.BOOLEAN):
        return
    if unit := values.unit_of(known):
        yield Flag(
            "unit",
            column.name,
            f"{unit.words}, as in {unit.example!r}: {_AS_TEXT[column.guess.is_used]}. To predict "
            f"from the number, write {unit.plain} in its place"
            f"{_COMMAS if 'comma' in unit.words else ''}, and run init again",
        )
        return
    spelled = values.is_number(known)
    share = pc.mean(spelled.cast("int8")).as_py()
    codes = pc.all(pc.match_substring_regex(known, r"^\d+$")).as_py()
    if 0.05 < share < 0.95 and not codes:
        other = pc.index(spelled, False).as_py()
        yield Flag(
            "mixed types",
            column.name,
            f"{share:.0%} are numbers and the rest is text, as in {known[other].as_py()!r}: "
            "read as text",
        )


def _of_spelling(column: Column, spelling: Spelling) -> Iterator[Flag]:
    """What is said of texts in a column of numbers or dates, and of numbers that are none."""
    name, odd = column.name, column.counted.odd
    texts = odd or spelling.odd.get(name, ())
    missing = [text for text in texts if spelling.means_none(name, text)]
    listed = ", ".join(map(repr, missing[:5])) + (", …" if len(missing) > 5 else "")
    if missing and not spelling.missing:
        yield Flag("mixed types", name, f"numbers or dates, but for {listed}: read as text")
    elif missing:
        rows = sum(odd[text] for text in missing)
        where = f" in {rows:,} rows" if rows else ""
        unusual = any(text not in values.MISSING for text in missing)
        unless = f", for the rest are numbers; if it is a value, {_option('categorical', name)}"
        said = f"{listed}{where} means that there is none{unless if unusual else ''}"
        yield Flag("missing value", name, said)
    if strays := column.strays:
        told = [text for text in odd if not spelling.means_none(name, text)]
        listed = ", ".join(map(repr, told[:3])) + (", …" if len(told) > 3 else "")
        where = f"in {strays:,} rows, the first of them row {column.counted.odd_row:,}"
        yield Flag(
            "mixed types",
            name,
            f"{listed} {where}, is no number: such rows are dropped. Correct them, or, if it means "
            "that there is none, add it to csv.null_values: then it does so in every column",
        )
    if name in spelling.suspects:
        value = values.shown(spelling.suspects[name])
        known = name in spelling.stand_ins
        mend = "in null_values" if known else "it is read as a number; write it as missing"
        yield Flag("missing value", name, f"{value} seems to mean that there is none: {mend}")


def _of_repeated(columns: Mapping[str, Column], surveyed: Survey, split: Split) -> Iterator[Flag]:
    """What is said of rows that are there twice: a row's values decide on which side it is."""
    rows, repeated, alike = surveyed.rows, surveyed.repeated, surveyed.alike
    if repeated:
        yield Flag(
            "duplicate rows",
            None,
            f"{repeated:,} of {rows:,} rows repeat another one in every column. They stay on its "
            "side of the split, but count twice: take them out, if they are the same thing",
        )
    by_chance = alike - repeated < _ALIKE * rows
    if not (by_chance or split.column or split.folds):
        apart = [n for n, c in columns.items() if c.guess.kind is Kind.IDENTIFIER]
        yield Flag(
            "duplicate rows",
            None,
            f"{alike - repeated:,} of {rows:,} rows repeat another one but for {', '.join(apart)}. "
            "They may be on the other side of the split, which flatters the models: "
            f"{_option('drop', ','.join(apart))} keeps them together",
        )


def _of_label(label: Label, surveyed: Survey) -> Iterator[Flag]:
    missing = surveyed.columns[label.name].missing
    if missing:
        yield Flag("label", label.name, f"missing in {missing:,} rows, which are dropped")
    if label.left_out > missing:
        others = label.left_out - missing
        yield Flag("label", label.name, f"of another class in {others:,} rows, which are dropped")
    if label.problem is Problem.REGRESSION:
        return
    at = label.counts.index(min(label.counts))
    rare = f"{label.classes[at]} is {label.rarest:.1%} of the rows ({label.counts[at]:,})"
    if label.problem is Problem.BINARY and label.rarest < IMBALANCED:
        yield Flag(
            "imbalance",
            label.name,
            f"{rare}: accuracy would be {1 - label.rarest:.1%} for a model that never says so; "
            "judged by pr_auc, which looks at the rare ones alone. train.class_weight = "
            '"balanced" would shift the probabilities',
        )
    elif label.problem is Problem.MULTICLASS and label.rarest < 0.3 / len(label.classes):
        yield Flag("rare class", label.name, f"{rare}: macro F1 counts each class alike")
