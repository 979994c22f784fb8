"""Makes Markdown of how champions do on public data sets."""

from __future__ import annotations

from benchmarks.report import Figures, table
from pipeline.evaluate_config import Metric

BOUND, ERROR_BOUND = 0.02, 0.03
"""How far a champion may be behind: in AUC or macro F1; as a share of the reference's error."""


def misses(figures: Figures) -> dict[str, str]:
    """Why a data set is a miss, by its name."""
    found = {}
    for name, one in figures["sets"].items():
        if "failure" in one:
            found[name] = one["failure"]
        elif one["champion"] is None:
            found[name] = f"no model went live: {one['reason']}"
        elif one["behind"] > _bound(one):
            found[name] = f"{_behind(one)} behind the reference"
    return found


def datasets(figures: Figures) -> str:
    """The section on public data sets."""
    rows = [
        [name, "-", "-", "-", "-", "-", "-", "-", "failed", "-"]
        if "failure" in one
        else [
            name,
            f"{one['rows']:,}",
            one["columns"],
            one["kinds"],
            one["problem"],
            one["metric"],
            _value(one, one["ours"]),
            _value(one, one["reference"]),
            one["champion"] or "none",
            round(one["init_seconds"] + one["run_seconds"]),
        ]
        for name, one in figures["sets"].items()
    ]
    headers = ["data set", "rows", "columns", "kinds found", "problem", "metric", "champion's"]
    missed = [f"- {name}: {why}" for name, why in misses(figures).items()]
    return "\n\n".join(
        [
            "`pipeline init FILE --label COLUMN --yes` and a run of what it wrote, each from the "
            "file to the champion without a hand, with every framework that is installed. Some of "
            "these sets have shaped the rules and defaults (bikes, spotify), so they are no proof "
            "of what others will give. Beside the champion's metric stands that of XGBoost, with "
            f"{figures['trials']} trials of Optuna in a cross-validation of the same rows to learn "
            "from, on the same rows to judge by: those of the eval split, or, below 2,000 rows or "
            "so, all of them in the same parts of a repeated cross-validation.",
            table([*headers, "reference's", "champion", "s"], rows),
            f"Bound: {BOUND} behind in AUC or macro F1, {ERROR_BOUND:.0%} in RMSE.",
            "\n".join(missed) if missed else "None is further behind.",
        ]
    )


def _bound(one: Figures) -> float:
    return BOUND if Metric(one["metric"]).higher_is_better else ERROR_BOUND


def _behind(one: Figures) -> str:
    better = Metric(one["metric"]).higher_is_better
    return f"{one['behind']:.4f}" if better else f"{one['behind']:.1%}"


def _value(one: Figures, value: float) -> str:
    return Metric(one["metric"]).words(value)
