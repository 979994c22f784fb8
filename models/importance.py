"""What a model relies on: how much worse it predicts when a column's values are shuffled.

Permutation importance (L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10), by
scikit-learn, around a bundle: raw columns are shuffled, so a column counts for all that is made of
it. It says what the model relies on, not what causes the label. Of columns that tell the same (the
temperature and the dew point) each looks unimportant, as the other still tells it when one is
shuffled; and shuffled rows may be such as never occur.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance

from models.scores import scores
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem

if TYPE_CHECKING:
    import pandas as pd

    from models.bundle import Bundle
    from models.manifest import Manifest

_METRICS = {
    Problem.BINARY: (Metric.AUC, Metric.LOG_LOSS),
    Problem.MULTICLASS: (Metric.LOG_LOSS,),
    Problem.REGRESSION: (Metric.RMSE, Metric.MAE),
}
"""Those that need no threshold, by default the first."""


def importance(
    bundle: Bundle,
    rows: pd.DataFrame,
    *,
    metric: Metric | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """How much worse the metric is, column by column, when the rows' values are shuffled in it.

    It asks the model for all rows once for each column and repeat: a few thousand rows will do.

    Args:
        bundle: The model.
        rows: Raw rows with the label, not those that it learned from; `Artifact.rows` has some.
        metric: Of two classes the area under the ROC curve, or the cross entropy in nats, as of
            several; of a value the root of the mean squared error, or the mean absolute one.
        repeats: How often each column is shuffled.
        seed: Of the shuffling.

    Returns:
        A row for each column that the model takes: `column`, `importance` (the mean over the
        repeats, in the metric's unit; about 0 or below: it does not matter) and `std`, the most
        important first.

    Raises:
        UserError: If the label is missing or of one class only, a column is missing, or the metric
            depends on a threshold or is of another problem.
    """
    import pandas as pd

    known = _METRICS[bundle.manifest.problem]
    judged_by = metric or known[0]
    if judged_by not in known:
        raise UserError(
            f"importance by {metric}: it depends on a threshold, or is none of a "
            f"{bundle.manifest.problem} problem; expected {' or '.join(known)}"
        )
    labels = _labels(rows, bundle.manifest)
    inputs = rows[[column for column in rows.columns if column in bundle.inputs]]

    def goodness(_: Any, shuffled: pd.DataFrame, labels: NDArray[np.float32]) -> float:
        found = scores(bundle.predict(shuffled), labels, len(bundle.manifest.classes))
        return judged_by.goodness(found[judged_by])

    found = permutation_importance(
        _Estimator(),
        inputs,
        labels,
        scoring=goodness,
        n_repeats=repeats,
        random_state=seed,
    )
    table = pd.DataFrame(
        {
            "column": inputs.columns,
            "importance": found.importances_mean,
            "std": found.importances_std,
        }
    )
    return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def _labels(rows: pd.DataFrame, made: Manifest) -> NDArray[np.float32]:
    """The number of each row's class, or its value."""
    label, classes = made.label, made.classes
    if label not in rows:
        raise UserError(
            f"the rows have no column {label!r}, the label that the importance is measured by; "
            "take rows as the pipeline ingests them"
        )
    found = [_number(value, classes) for value in rows[label]]
    unusable = found.count(None)
    if unusable:
        expected = f"none of {', '.join(classes)}" if classes else "no number"
        raise UserError(
            f"{unusable} of {len(rows)} rows have no label: {label!r} is missing or {expected}. "
            "Leave them out"
        )
    if len(set(found)) < 2:
        raise UserError(
            f"the {len(rows)} rows do not have several labels: {label!r} must differ among them. "
            "Take more rows"
        )
    return np.array(found, np.float32)


def _number(value: Any, classes: tuple[str, ...]) -> float | None:
    """What a label is to a model: 1, 1.0 and "1" name the same class."""
    if value is None or value != value:
        return None
    if not classes:
        return float(value) if isinstance(value, int | float | np.number) else None
    text = value.decode() if isinstance(value, bytes) else str(value)
    if isinstance(value, bool | np.bool_):
        text = text.lower()
    elif isinstance(value, float | np.floating):
        text = text.removesuffix(".0")
    return float(classes.index(text)) if text in classes else None


class _Estimator(BaseEstimator):
    """What scikit-learn wants to see; the score asks the bundle itself."""

    def fit(self, rows: pd.DataFrame, labels: Any) -> _Estimator:
        """Does nothing."""
        return self
