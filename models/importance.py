"""What a model relies on: how much worse it tells the labels when a column's values are shuffled.

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
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance

from pipeline.errors import UserError
from pipeline.evaluate_config import Metric

if TYPE_CHECKING:
    import pandas as pd

    from models.bundle import Bundle

_SCORERS = {Metric.AUC: "roc_auc", Metric.LOG_LOSS: "neg_log_loss"}
"""scikit-learn's names of the metrics that need no threshold."""


def importance(
    bundle: Bundle,
    rows: pd.DataFrame,
    *,
    metric: Metric = Metric.AUC,
    repeats: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """How much worse the metric is, column by column, when the rows' values are shuffled in it.

    It asks the model for all rows once for each column and repeat: a few thousand rows will do.

    Args:
        bundle: The model.
        rows: Raw rows with the label, not those that it learned from; `Artifact.rows` has some.
        metric: The area under the ROC curve, or the cross entropy in nats.
        repeats: How often each column is shuffled.
        seed: Of the shuffling.

    Returns:
        A row for each column that the model takes: `column`, `importance` (the mean over the
        repeats, in the metric's unit; about 0 or below: it does not matter) and `std`, the most
        important first.

    Raises:
        UserError: If the label is missing or of one class only, a column is missing, or the metric
            depends on a threshold.
    """
    import pandas as pd

    if metric not in _SCORERS:
        known = " or ".join(_SCORERS)
        raise UserError(f"importance by {metric}: it depends on a threshold; expected {known}")
    label = bundle.manifest.label
    labels = _labels(rows, label)
    inputs = rows[[column for column in rows.columns if column in bundle.inputs]]
    found = permutation_importance(
        _Classifier(bundle),
        inputs,
        labels,
        scoring=_SCORERS[metric],
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


def _labels(rows: pd.DataFrame, label: str) -> NDArray[np.int64]:
    if label not in rows:
        raise UserError(
            f"the rows have no column {label!r}, the label that the importance is measured by; "
            "take rows as the pipeline ingests them"
        )
    found = rows[label]
    unusable = int((~found.isin([0, 1])).sum())
    if unusable:
        raise UserError(
            f"{unusable} of {len(rows)} rows have no label: {label!r} is missing or neither 0 nor "
            "1. Leave them out"
        )
    if found.nunique() < 2:
        raise UserError(
            f"the {len(rows)} rows do not have both labels: {label!r} must be 0 in some and 1 in "
            "others. Take more rows"
        )
    labels: NDArray[np.int64] = found.to_numpy(np.int64)
    return labels


class _Classifier(ClassifierMixin, BaseEstimator):
    """A bundle as scikit-learn asks a classifier that is fitted."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.classes_ = np.array([0, 1])

    def fit(self, rows: pd.DataFrame, labels: Any) -> _Classifier:
        """Does nothing."""
        return self

    def predict_proba(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """The probability [rows, 2] of each label."""
        said = self.bundle.predict(rows).astype(np.float64)
        return np.stack([1 - said, said], axis=1)
