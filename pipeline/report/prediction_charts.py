"""The charts of predictions beside what came true; each is an SVG image, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from pipeline.features_config import Problem
from pipeline.report.axes import BOUND, Curve, draw_curves, say
from pipeline.report.drawing import Chart, drawing
from pipeline.report.theme import LIGHT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from custom_components.evaluator.curves import CalibrationPoint, Curves, ThresholdPoint
    from custom_components.evaluator.points import Points, Values
    from pipeline.lineage import Artifact

POINTS, _EACH = 1000, 10
"""Thresholds, so that the one that was configured is among them; of how many one is drawn."""
_DRAWN = 400
"""Rows of a chart: more hide one another, and make a page heavy."""
_BINS = 40
_TAILS = (0.5, 99.5)
"""Percentiles between which a chart shows all: a single row far out would make it empty."""


def of_evaluation(evaluation: Artifact, *models: str, threshold: float) -> tuple[Chart, ...]:
    """The charts that suit the problem of an evaluation, of some of its models.

    Args:
      evaluation: a ModelEvaluation.
      models: by the names that its verdict has; of those that it lacks nothing is drawn.
      threshold: the decision threshold, for two classes.

    Raises:
      UserError: a file of it is gone.
    """
    verdict = evaluation.verdict()
    names = {name: name for name in models if name in verdict.models}
    if verdict.problem is Problem.REGRESSION:
        return of_values(evaluation.points(), names)
    if verdict.problem is Problem.MULTICLASS:
        return of_classes(evaluation.curves(), names)
    return of_flags(evaluation.curves(), names, verdict.label_mean, threshold)


def table(evaluation: Artifact, model: str) -> pd.DataFrame:
    """The same in numbers: 20 thresholds, or each class, or quantiles of the errors' sizes.

    Raises:
      UserError: a file of it is gone.
    """
    import pandas as pd

    verdict = evaluation.verdict()
    if verdict.problem is Problem.REGRESSION:
        return pd.DataFrame({name: errors.size for name, errors in verdict.errors.items()})
    if verdict.problem is Problem.MULTICLASS:
        found = [one.model_dump() for one in verdict.by_class[model]]
        return pd.DataFrame(found, index=list(verdict.classes))
    return pd.DataFrame(evaluation.curves().thresholds(model, n=20)).set_index("threshold")


def of_flags(
    curves: Curves, names: Mapping[str, str], positives: float, threshold: float
) -> tuple[Chart, ...]:
    """The charts of two classes.

    Args:
      curves: of the evaluation.
      names: what each model is called, by its name there.
      positives: the share of positive rows.
      threshold: the decision threshold.
    """
    found = {shown: curves.thresholds(name, POINTS) for name, shown in names.items()}
    recalls = {
        shown: [(point.recall, point.precision) for point in points]
        for shown, points in found.items()
    }
    return (
        *of_classes(curves, names),
        roc({shown: list(zip(*curves.roc(name), strict=True)) for name, shown in names.items()}),
        precision_recall(recalls, positives),
        *(thresholds(shown, points[::_EACH], threshold) for shown, points in found.items()),
    )


def of_classes(curves: Curves, names: Mapping[str, str]) -> tuple[Chart, ...]:
    """The charts of several classes; the arguments are those of `of_flags`."""
    return (calibration({shown: curves.calibration(name) for name, shown in names.items()}),)


def of_values(points: Points, names: Mapping[str, str]) -> tuple[Chart, ...]:
    """The charts of a regression; the arguments are those of `of_flags`."""
    off = {shown: points.predictions(name) - points.labels for name, shown in names.items()}
    each = (predicted_and_true(shown, points, name) for name, shown in names.items())
    return errors(off), *each


def calibration(curves: Mapping[str, Sequence[CalibrationPoint]]) -> Chart:
    """How often it came true against how probable it was said to be, a curve for each model."""
    about = (
        f"Calibration of {', '.join(curves)}: the share of rows for which it came true against "
        "the mean predicted probability; on the diagonal both are the same"
    )
    with drawing("Calibration", about) as made:
        found = {name: [(p.predicted, p.observed) for p in curve] for name, curve in curves.items()}
        ends = [max(point) for points in found.values() for point in points]
        _diagonal(made.axes, 0, max(ends, default=1.0))
        draw_curves(made.axes, found, marker="o")
        made.axes.set(xlabel="predicted probability", ylabel="share that came true")
    return made.chart


def thresholds(name: str, points: Sequence[ThresholdPoint], chosen: float) -> Chart:
    """Precision, recall and the share that is flagged by threshold, the chosen one marked."""
    about = f"{name} by decision threshold: precision, recall, share flagged"
    if points:
        near = min(points, key=lambda point: abs(point.threshold - chosen))
        precision = "undefined" if near.precision is None else f"{near.precision:.0%}"
        about += f"; at {chosen:g} {precision}, {near.recall:.0%} and {near.flagged:.0%}"
    with drawing(name, about) as made:
        axes = made.axes
        curves: dict[str, Curve] = {
            "precision": [(p.threshold, p.precision) for p in points],
            "recall": [(p.threshold, p.recall) for p in points],
            "flagged": [(p.threshold, p.flagged) for p in points],
        }
        draw_curves(axes, curves)
        axes.axvline(chosen, **BOUND)
        say(axes, f"{chosen:g}", (chosen, 0.98))
        axes.set(xlabel="decision threshold", ylim=(0, 1.03), xlim=(0, 1))
        axes.yaxis.set_major_formatter("{x:.0%}")
    return made.chart


def roc(curves: Mapping[str, Curve]) -> Chart:
    """What each model finds against what it flags in vain, over all thresholds.

    Args:
      curves: by model, the share of the rows of the other class that is flagged, and the share of
        those of the positive class.
    """
    about = (
        f"ROC curve of {', '.join(curves)}: the share of positive rows that is flagged against "
        "the share of the others that is; the diagonal is guessing"
    )
    with drawing("ROC", about) as made:
        _diagonal(made.axes, 0, 1)
        draw_curves(made.axes, curves)
        made.axes.set(xlabel="others flagged", ylabel="positives flagged")
        _in_percent(made.axes)
    return made.chart


def precision_recall(curves: Mapping[str, Curve], positives: float) -> Chart:
    """How much of what each model flags is right against how much it finds.

    Args:
      curves: by model, recall and precision.
      positives: the share of positive rows, which is the precision of guessing.
    """
    about = (
        f"Precision by recall of {', '.join(curves)}: the share of flagged rows that are positive "
        f"against the share of positive rows that is flagged; guessing has {positives:.1%}"
    )
    with drawing("Precision and recall", about) as made:
        made.axes.axhline(positives, color=LIGHT["muted"], linewidth=1, linestyle=":")
        draw_curves(made.axes, curves)
        made.axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.03))
        _in_percent(made.axes)
    return made.chart


def predicted_and_true(name: str, points: Points, model: str) -> Chart:
    """The label of rows against what a model predicts for them, and the mean label by prediction.

    Args:
      name: what the model is called.
      points: of the evaluation.
      model: its name there.
    """
    predictions, labels = points.predictions(model), points.labels
    means = points.calibration(model)
    about = (
        f"{name}: the label against the prediction, a dot for each of {min(len(labels), _DRAWN)} "
        "rows; on the diagonal it is right; the line is the mean label of rows that are predicted "
        f"alike: {'; '.join(f'{p.observed:.4g} at {p.predicted:.4g}' for p in means)}"
    )
    with drawing(name, about) as made:
        axes = made.axes
        both = np.concatenate([predictions, labels])
        low, high = np.percentile(both, _TAILS) if len(both) else (0.0, 1.0)
        _diagonal(axes, low, high)
        some = np.linspace(0, len(labels) - 1, min(len(labels), _DRAWN)).astype(int)
        style: dict[str, Any] = {"markersize": 2.5, "markeredgewidth": 0, "alpha": 0.5}
        axes.plot(predictions[some], labels[some], "o", color=LIGHT["s6"], **style)
        found = [(point.predicted, point.observed) for point in means]
        draw_curves(axes, {"mean label": found}, marker="o")
        margin = (high - low) * 0.05
        axes.set(xlabel="predicted", ylabel="label", ylim=(low - margin, high + margin))
        axes.set_xlim(low - margin, high + margin)
        _in_label_unit(axes.xaxis, axes.yaxis)
    return made.chart


def errors(of_models: Mapping[str, Values]) -> Chart:
    """How the errors are spread: prediction less label, in equal steps between the far ends."""
    every = np.concatenate(list(of_models.values())) if of_models else np.zeros(0)
    low, high = np.percentile(every, _TAILS) if len(every) else (0.0, 1.0)
    said = "; ".join(f"{name}: {_median(values)}" for name, values in of_models.items())
    about = f"Errors, prediction less label, by the share of rows; medians: {said or 'none'}"
    with drawing("Errors", about) as made:
        rows = max(map(len, of_models.values()), default=0)
        edges = np.linspace(low, high, min(_BINS, 8 + int(rows**0.5)) + 1)
        centres = (edges[1:] + edges[:-1]) / 2
        curves = {
            name: list(zip(centres, np.histogram(values, edges)[0] / len(values), strict=True))
            for name, values in of_models.items()
        }
        made.axes.axvline(0, color=LIGHT["muted"], linewidth=1, linestyle=":")
        draw_curves(made.axes, curves)
        made.axes.set(xlabel="prediction less label", ylabel="share of rows")
        made.axes.yaxis.set_major_formatter("{x:.0%}")
        _in_label_unit(made.axes.xaxis)
    return made.chart


def _median(values: Values) -> str:
    return f"{np.median(values):.4g}" if len(values) else "none"


def _diagonal(axes: Axes, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color=LIGHT["muted"], linewidth=1, linestyle=":")


def _in_label_unit(*found: Axis) -> None:
    """Few ticks, as the numbers may be long."""
    for axis in found:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter("{x:,g}")


def _in_percent(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:.0%}")
