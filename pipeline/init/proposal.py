"""The settings that suit what was understood, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.continuous_config import ContinuousConfig
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.init import dates
from pipeline.init.asked import ASKED
from pipeline.init.baselines import Baselines
from pipeline.init.judging import Judging
from pipeline.init.kinds import Guess, Kind
from pipeline.init.noticed import IMBALANCED
from pipeline.init.problems import Label
from pipeline.init.splits import Split
from pipeline.init.understanding import Column
from pipeline.train_config import Framework

LISTS = ("numeric", "log", "categorical", "target_encoded", "keep")
TABLES = ("cyclical", "bucketized", "hashed", "dates", "text")
_SLICE_VALUES, _SLICES, _SLICE_ROWS = 12, 3, 50
_MANY_ROWS = 2_000_000
_SPAN_ROWS = ContinuousConfig().min_rows
_GUARDED_ROWS, _GUARDED_OF_CLASS = 500, 50
"""Rows of a slice, and of its rarest class, that it takes to judge it."""
_NOT_WORSE, _NOT_WORSE_SLICE = 0.02, 0.05
"""How much worse than the live model a new one may be, as `Threshold.max_regression` says."""


@dataclass(frozen=True)
class Line:
    """One setting, and why."""

    key: str
    value: Any
    why: str = ""


@dataclass(frozen=True)
class Part:
    """A section of the configuration."""

    name: str
    lines: Sequence[Line]
    why: str = ""


@dataclass(frozen=True)
class Facts:
    """All that the settings depend on."""

    name: str
    rows: int
    spans: int
    """Months, weeks, deliveries that the rows came in."""
    where: str
    """Where the rows are, in words."""
    location: Mapping[str, Any]
    """The keys of [data] that say it."""
    schema_file: str
    columns: Mapping[str, Column]
    label: Label
    split: Split
    baselines: Baselines
    bad_rows: int = 0
    """Rows that are dropped: of no label that counts, or with a text where a number should be."""
    judging: Judging = field(default_factory=Judging)
    deciding: int = 0
    """So few rows make half of the squared error of a guess that mae is to judge; 0: it is not."""
    frameworks: Sequence[str] = tuple(map(str, Framework))
    """Those to train."""

    @property
    def best_in(self) -> Metric:
        """What the best model is best in."""
        if self.judging.metric is not None:
            return self.judging.metric
        if self.deciding:
            return Metric.MAE
        rare = self.label.problem is Problem.BINARY and self.label.rarest < IMBALANCED
        return Metric.PR_AUC if rare else Metric.of(self.label.problem)[0]


def proposal(facts: Facts) -> list[Part]:
    """The whole configuration, section by section."""
    return [
        Part("", [Line("name", facts.name)]),
        _data(facts),
        *_features(facts),
        Part("gate", list(_gate(facts)), "what stops a run before anything is trained"),
        *_train(facts),
        *_evaluate(facts),
        Part("select", [Line("metric", str(facts.best_in), _best_why(facts))]),
        *_continuous(facts),
        _card(facts),
    ]


def _data(facts: Facts) -> Part:
    lines = [Line(key, value) for key, value in facts.location.items() if key != "csv"]
    lines.append(Line("schema_file", facts.schema_file, "types and domains: look it through"))
    split = facts.split
    if split.split_by:
        lines.append(Line("split_by", split.split_by, split.why))
    if split.split_time:
        lines.append(Line("split_time", split.split_time, split.why))
    if not split.column and not split.folds:
        lines.append(Line("train_buckets", 2, f"two thirds of the rows train: {split.why}"))
        lines.append(Line("eval_buckets", 1))
    if facts.bad_rows:
        share = facts.bad_rows / facts.rows
        without, rest = facts.label.left_out, facts.bad_rows - facts.label.left_out
        whys = [f"{without:,} rows have no label that counts"] if without else []
        whys += [f"{rest:,} rows have a text where a number should be"] if rest else []
        why = " and ".join(whys)
        lines.append(Line("on_bad_row", "drop", why))
        most = min(1.0, round(max(0.01, 1.5 * share + 0.005), 3))
        lines.append(Line("max_bad_fraction", most, "more, and the run stops"))
    if facts.rows > _MANY_ROWS:
        lines.append(Line("memory_budget", 2.0, "GiB of rows in memory; more stay on disk"))
    csv = facts.location.get("csv", {})
    lines += [Line(f"csv.{key}", value, _CSV.get(key, "")) for key, value in csv.items()]
    return Part("data", lines, facts.where)


_CSV = {"null_values": "what means that there is no value"}


def _features(facts: Facts) -> Iterator[Part]:
    label = facts.label
    lines = [Line("label", label.name), Line("problem", str(label.problem), label.why)]
    if label.classes and label.classes != ("0", "1"):
        why = "the second is the positive one" if len(label.classes) == 2 else ""
        lines.append(Line("classes", list(label.classes), why))
    ours = [c for c in facts.columns.values() if c.name != label.name]
    for role in LISTS:
        listed = {c.name: c.guess.why for c in ours if c.guess.role == role}
        if listed:
            lines.append(Line(role, listed))
    yield Part("features", lines, "each column's list, and why")
    for role in TABLES:
        rows = [Line(c.name, _setting(c.guess), c.guess.why) for c in ours if c.guess.role == role]
        if rows:
            yield Part(f"features.{role}", rows)


def _setting(guess: Guess) -> Any:
    if guess.role != "dates":
        return guess.setting
    parts = ["month", "weekday", *(["hour"] if guess.setting.clock else [])]
    told: dict[str, Any] = {"parts": parts}
    if guess.setting.format != dates.ISO:
        told = {"format": guess.setting.format, **told}
    return told


def _gate(facts: Facts) -> Iterator[Line]:
    each = facts.rows // facts.spans
    why = f"there are {each:,} now" if facts.spans == 1 else f"a span has {each:,} on average"
    yield Line("min_rows", max(1, min(100, each // 2)), why)


def _train(facts: Facts) -> Iterator[Part]:
    why = "pytorch where it is installed" if "pytorch" in facts.frameworks else ""
    line = Line("frameworks", list(facts.frameworks), why)
    yield Part("train", [line], "hyper-parameters that are not set here go by the number of rows")
    if facts.rows > _MANY_ROWS:
        why = f"{facts.rows:,} rows are many: fewer steps over them"
        for network in [name for name in ("keras", "pytorch") if name in facts.frameworks]:
            yield Part(f"train.{network}", [Line("batch_size", 4096, why)])


def _evaluate(facts: Facts) -> Iterator[Part]:
    metrics = [str(metric) for metric in Metric.of(facts.label.problem)]
    lines = [Line("metrics", metrics)]
    lines += _groups(facts)
    if facts.judging.decision_threshold is not None:
        lines.append(Line("decision_threshold", facts.judging.decision_threshold, ASKED))
    elif facts.label.problem is Problem.BINARY and facts.label.rarest < 0.25:
        positives = facts.label.counts[1] / sum(facts.label.counts)
        threshold = float(f"{min(0.9, max(0.02, positives)):.2g}")
        lines.append(Line("decision_threshold", threshold, "the positives' share"))
    yield Part("evaluate", lines)
    if facts.split.folds:
        yield Part(
            "evaluate.cross_validation",
            [Line("folds", facts.split.folds), Line("repeats", facts.split.repeats)],
            f"{facts.rows:,} rows are few: each judges models that have not learned from it",
        )
    if bounds := list(_thresholds(facts)):
        yield Part(
            "evaluate.thresholds",
            bounds,
            "so that who passes has learned something",
        )


def _thresholds(facts: Facts) -> Iterator[Line]:
    told = facts.baselines
    for metric, (value, why) in bounds(facts).items():
        rule = {"min" if metric.higher_is_better else "max": float(f"{value:.5g}")}
        if metric is facts.best_in:
            rule["max_regression"] = _NOT_WORSE
        if metric in told.trivial:
            said = f"a guess has {metric.words(told.trivial[metric])}, {told.model} "
            why = f"{said}{metric.words(told.simple[metric])}: {why}"
        yield Line(str(metric), rule, why)


def bounds(facts: Facts) -> dict[Metric, tuple[float, str]]:
    """What a model has to reach in which metrics, and why, that of the best model first."""
    if facts.judging.thresholds is not None:
        return {metric: (value, ASKED) for metric, value in facts.judging.thresholds.items()}
    told, best = facts.baselines, facts.best_in
    # What a share of the variance or the likelihood says is not in the unit of the label, and
    # depends less on which rows judge; but a few that decide rmse decide it too.
    others = (Metric.LOG_LOSS, *(() if facts.deciding else (Metric.R2,)))
    known = [metric for metric in dict.fromkeys((best, *others)) if metric in told.trivial]
    found = {metric: bound for metric in known if (bound := told.bound(metric)) is not None}
    learned = {
        metric: bound
        for metric, bound in found.items()
        if metric.goodness(bound[0]) > metric.goodness(told.trivial[metric])
    }
    if best not in known:
        return learned
    first = found.get(best, (told.trivial[best], "hardly better, so what a guess has will do"))
    if best in found and not learned:
        first = told.trivial[best], "what a guess has, for by chance the latter may be beyond it"
    return {best: first} | {metric: bound for metric, bound in learned.items() if metric != best}


def _groups(facts: Facts) -> Iterator[Line]:
    """Slices, and the guards of some of them."""
    asked = facts.judging
    slices = _slices(facts) if asked.slices is None else asked.slices
    watched = slices if asked.guards is None else asked.guards
    slices = list(dict.fromkeys((*slices, *(asked.guards or ()))))
    if not slices:
        return
    why = "few values with enough rows" if asked.slices is None else ASKED
    yield Line("slices", [[name] for name in slices], why)
    guards = [_guard(facts, name) for name in watched if asked.guards or _is_guarded(facts, name)]
    if guards:
        yield Line("guards", guards, "no group pays for the average" if not asked.guards else ASKED)


def _slices(facts: Facts) -> list[str]:
    """Columns of few values, each with enough rows to be judged by, those of the fewest first."""
    share = _judging_share(facts)
    found = []
    for column in facts.columns.values():
        if column.name == facts.label.name or column.counted.values is None:
            continue
        codes = column.guess.role == "categorical" or column.guess.kind is Kind.BOOLEAN
        counts = [n for _, n in column.counted.values.most_common()]
        enough = len(counts) > 1 and counts[1] * share >= _SLICE_ROWS
        if codes and enough and len(counts) <= _SLICE_VALUES and column.counted.whole_or_text:
            found.append((len(counts), column.name))
    return [name for _, name in sorted(found)[:_SLICES]]


def _is_guarded(facts: Facts, column: str) -> bool:
    """Whether two of a column's slices have rows enough not to be noise."""
    counts = (facts.columns[column].counted.values or {}).values()
    share = _judging_share(facts)
    return sum(count * share >= _guarded_rows(facts) for count in counts) >= 2


def _guarded_rows(facts: Facts) -> int:
    if not facts.label.counts:
        return _GUARDED_ROWS
    return max(_GUARDED_ROWS, math.ceil(_GUARDED_OF_CLASS / facts.label.rarest))


def _judging_share(facts: Facts) -> float:
    """The share of the rows that judge a model; with spans they are of one of them."""
    return (1.0 if facts.split.folds else 1 / 3) / facts.spans


def _guard(facts: Facts, column: str) -> dict[str, Any]:
    rule = {"columns": [column], "metric": str(facts.best_in), "max_regression": _NOT_WORSE_SLICE}
    return {**rule, "min_rows": _guarded_rows(facts)}


def _best_why(facts: Facts) -> str:
    if facts.deciding and facts.judging.metric is None:
        return f"{facts.deciding:,} rows make half of the squared error, so not rmse"
    return "the best model is best in this"


def _continuous(facts: Facts) -> Iterator[Part]:
    if "{SPAN" not in f"{facts.location.get('pattern')}{facts.location.get('query')}":
        return
    each = facts.rows // facts.spans
    if each // 2 < _SPAN_ROWS:
        why = f"no run on a span of fewer; one has {each:,} on average"
        yield Part("continuous", [Line("min_rows", each // 2, why)])
    why = "retrain when a new span scores so much worse"
    why += ", as a share" if facts.best_in.is_relative else ""
    yield Part(
        "continuous.performance",
        [Line(str(facts.best_in), {"max_fall": 0.1}, why)],
        "when `python -m pipeline continuous` retrains, beside drift",
    )


def _card(facts: Facts) -> Part:
    label = facts.label
    what = {
        Problem.BINARY: f"how likely it is that {label.name} is {(*label.classes, '', '')[1]}",
        Problem.MULTICLASS: f"which of {len(label.classes)} values {label.name} has",
        Problem.REGRESSION: f"the value of {label.name}",
    }[label.problem]
    return Part(
        "card",
        [
            Line("intended_use", f"To predict {what}.", "edit: what for, and who acts on it"),
            Line("out_of_scope", "", "edit: what it is not for, though it may seem so"),
            Line(
                "data", f"{facts.rows:,} rows, {facts.where}.", "edit: whom or what they stand for"
            ),
            Line("limits", "", "edit: groups, seasons, values that it has not seen"),
            Line("owners", [], "edit: who answers for it"),
        ],
        "what only people know; each run's report has the facts",
    )
