"""Says what a year of retraining came to: its tables, its picture, and whether promises hold."""

from __future__ import annotations

import calendar
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.report import Figures, table
from pipeline.report.drawing import Chart, drawing
from pipeline.report.theme import LIGHT

POLICY, FROZEN = "policy", "frozen"
WITHIN = 0.01
"""By what share the policy's mean log loss may be above that of the best fixed rule."""
TRAININGS = 0.5
"""What share of that rule's trainings the policy may take."""
_METRICS = {"log_loss": "log loss", "auc": "AUC", "calibration_error": "calibration error"}
_LOOKS = {
    "frozen": ("s6", ":"),
    "last": ("s2", "--"),
    "three": ("s4", "-."),
    "expanding": ("s3", "-"),
    "policy": ("s1", "-"),
}

Month = dict[str, Any]


@dataclass(frozen=True)
class Promise:
    """What the shipped policy is to keep, and whether it does."""

    kept: bool
    words: str

    def __str__(self) -> str:
        return f"{'✓' if self.kept else '✗'} {self.words}"


def value(month: Month, metric: str) -> float:
    """A metric of the model that was live when the month came, on all rows of it.

    The calibration error is how far the predicted positives are from the actual ones, as a share.
    """
    if metric == "calibration_error":
        return abs(float(month["scores"]["calibration"]) - 1)
    return float(month["scores"][metric])


def mean(rule: Figures, metric: str) -> float:
    """Of a metric, each month counted alike."""
    return fmean(value(month, metric) for month in rule["months"])


def trainings(rule: Figures) -> int:
    """How often a model was trained, the first one included."""
    return 1 + sum(month["trained"] for month in rule["months"])


def promises(figures: Figures) -> list[Promise]:
    """Of the policy as shipped: as good as the best fixed rule, cheaper, and never a bad push."""
    rules = figures["rules"]
    policy = rules[POLICY]
    fixed = [rule for name, rule in rules.items() if name != POLICY]
    best = min(fixed, key=lambda rule: mean(rule, "log_loss"))
    ours, theirs = mean(policy, "log_loss"), mean(best, "log_loss")
    few, many = trainings(policy), trainings(best)
    pushes = [month["judged"] for month in policy["months"] if month["pushed"]]
    worse = sum(not _better(one["candidate"], one["live"]) for one in pushes)
    return [
        Promise(
            ours <= theirs * (1 + WITHIN),
            f"mean log loss {ours:.4f}: {ours / theirs - 1:+.1%} beside the best fixed rule's "
            f"{theirs:.4f} ({best['title']}); at most {WITHIN:+.0%}",
        ),
        Promise(
            few <= many * TRAININGS,
            f"{few} trainings beside that rule's {many}; at most {TRAININGS:.0%} of them",
        ),
        Promise(
            not worse,
            f"{worse} of {len(pushes)} pushed models scored worse than the one that they replaced "
            "on the rows of the newest month that judged them; none may",
        ),
    ]


def _better(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one["auc"] >= other["auc"] and one["log_loss"] <= other["log_loss"]


def year(figures: Figures) -> str:
    """The tables, and whether the promises hold."""
    rules = figures["rules"]
    return "\n\n".join(
        [
            summary(figures),
            *(_by_month(rules, metric) for metric in _METRICS),
            _retrainings(rules[POLICY]),
            "\n".join(f"- {promise}" for promise in promises(figures)),
        ]
    )


def summary(figures: Figures) -> str:
    """A row for each rule: means over the months, trainings, minutes, and pushes that lost."""
    rows = [
        [
            rule["title"],
            *(f"{mean(rule, metric):.4f}" for metric in ("log_loss", "auc")),
            f"{mean(rule, 'calibration_error'):.1%}",
            trainings(rule),
            f"{_minutes(figures, rule):.1f}",
            _lost(rule),
        ]
        for rule in figures["rules"].values()
    ]
    headers = ["retrained", "log loss", "AUC", "calibration error", "trainings", "minutes"]
    return table([*headers, "pushes that lost the next month"], rows)


def _minutes(figures: Figures, rule: Figures) -> float:
    seconds = sum(month.get("seconds", 0.0) for month in rule["months"])
    return float(figures["first_seconds"] + seconds) / 60


def _lost(rule: Figures) -> str:
    """How many pushed models had a higher log loss on the next month than the model before them."""
    known = [month["next"] for month in rule["months"] if "next" in month]
    lost = sum(one["pushed"]["log_loss"] > one["replaced"]["log_loss"] for one in known)
    return f"{lost} of {len(known)}" if known else "-"


def _by_month(rules: Mapping[str, Figures], metric: str) -> str:
    form = "{:.1%}" if metric == "calibration_error" else "{:.4f}"
    months = zip(*(rule["months"] for rule in rules.values()), strict=True)
    rows = [
        [_name(row[0]), *(f"{form.format(value(m, metric))}{_mark(m)}" for m in row)]
        for row in months
    ]
    rows.append(["mean", *(form.format(mean(rule, metric)) for rule in rules.values())])
    return table([_METRICS[metric], *(rule["title"] for rule in rules.values())], rows)


def _mark(month: Month) -> str:
    return "" if not month["trained"] else " ↑" if month["pushed"] else " ="


def _retrainings(policy: Figures) -> str:
    """A row for each training of the policy: who was better where."""
    rows = []
    for month in policy["months"]:
        if not month["trained"]:
            continue
        judged = month["judged"]
        following = month.get("next")
        rows.append(
            [
                f"after {_name(month)}",
                *(_pair(judged["live"], judged["candidate"], m) for m in ("auc", "log_loss")),
                "goes live" if month["pushed"] else "the live model stays",
                _pair(following["replaced"], following["pushed"], "log_loss") if following else "-",
            ]
        )
    headers = ["retrained", "AUC, judged", "log loss, judged", "so", "log loss, next month"]
    return table(headers, rows)


def _pair(before: Mapping[str, float], after: Mapping[str, float], metric: str) -> str:
    return f"{before[metric]:.4f} → {after[metric]:.4f}"


def _name(month: Month) -> str:
    return calendar.month_name[month["month"]]


def picture(figures: Figures) -> Chart:
    """Each metric by month and rule, and what a low mean log loss costs in trainings."""
    rules = figures["rules"]
    said = "; ".join(
        f"{rule['title']}: mean log loss {mean(rule, 'log_loss'):.4f} for {trainings(rule)} "
        "trainings"
        for rule in rules.values()
    )
    with drawing("", f"A year of retraining by rule. {said}") as made:
        figure = made.figure
        figure.clear()
        figure.set_size_inches(8.4, 6.2)
        (loss, auc), (error, cost) = figure.subplots(2, 2)
        _less_frozen(loss, rules, "log_loss", "log loss less the frozen model's: lower is better")
        _less_frozen(auc, rules, "auc", "AUC less the frozen model's: higher is better")
        _lines(error, rules, lambda m, _: value(m, "calibration_error"))
        error.set_title("calibration error: lower is better")
        error.yaxis.set_major_formatter("{x:.0%}")
        for name, rule in rules.items():
            key, _ = _LOOKS[name]
            x, y = trainings(rule), mean(rule, "log_loss")
            cost.plot(x, y, "o", color=LIGHT[key], markersize=9 if name == POLICY else 6)
        cost.set_title("mean log loss by number of trainings")
        cost.set_xlim(left=0)
        cost.locator_params(axis="x", integer=True)
        handles, labels = loss.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return made.chart


def _less_frozen(axes: Any, rules: Mapping[str, Figures], metric: str, title: str) -> None:
    _lines(axes, rules, lambda m, frozen: value(m, metric) - value(frozen, metric))
    axes.set_title(title)


def _lines(axes: Any, rules: Mapping[str, Figures], of: Callable[[Month, Month], float]) -> None:
    """A line for each rule; the policy's is bold, with a dot at each month after a training."""
    frozen = rules.get(FROZEN, rules[POLICY])["months"]
    for name, rule in rules.items():
        key, line = _LOOKS[name]
        months = [month["month"] for month in rule["months"]]
        values = [of(month, other) for month, other in zip(rule["months"], frozen, strict=True)]
        bold = name == POLICY
        style = {"linewidth": 3 if bold else 1.4, "zorder": 3 if bold else 2}
        axes.plot(months, values, line, color=LIGHT[key], label=rule["title"], **style)
        if bold:
            fresh = list(_fresh(rule["months"]))
            dots = {"color": LIGHT[key], "markersize": 8, "zorder": 4}
            axes.plot([months[p] for p in fresh], [values[p] for p in fresh], "o", **dots)
    axes.set_xticks(months, [calendar.month_abbr[m][0] for m in months])


def _fresh(months: Iterable[Month]) -> Iterable[int]:
    """The places of months to which a new model had gone live the month before."""
    for place, (before, _) in enumerate(itertools.pairwise(months), start=1):
        if before["pushed"]:
            yield place
