"""What the pipeline's champion is held against: gradient boosting, tuned by hand as one would.

XGBoost with its own categories, dates as numbers and parts, texts as TF-IDF; learning rate, depth
and regularisation found by Optuna in a cross-validation of the rows to learn from, the number of
trees by early stopping in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold

from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem

Parts = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Positions of the rows to learn from, and of those to judge by; each time another model."""

TRIALS = 40
_MOST_TREES, _PATIENCE = 1000, 30
_FEW_ROWS, _MANY_ROWS = 2000, 10_000
"""With fewer, five parts in the search; with more than the other, one in three judges."""
_WORDS, _TEXT_WORDS = 200, 3.0
"""How many words of a text count; a column is one from so many words a value, on average."""
_OWN = 0.5
"""With more values than this share of the rows, a column names rows, and is no category."""


def score(problem: Problem, labels: NDArray[Any], predictions: NDArray[Any]) -> float:
    """The first metric of `Metric.of` the problem, by scikit-learn.

    Args:
        problem: Which metric.
        labels: [rows] numbers of classes, or values.
        predictions: [rows] probabilities or values, or [rows, classes].
    """
    if problem is Problem.BINARY:
        return float(roc_auc_score(labels, predictions))
    if problem is Problem.MULTICLASS:
        return float(f1_score(labels, predictions.argmax(axis=1), average="macro"))
    return float(root_mean_squared_error(labels, predictions))


def behind(metric: Metric, ours: float, reference: float) -> float:
    """How much worse `ours` is: the difference; of an error, as a share of the reference's."""
    return reference - ours if metric.higher_is_better else ours / reference - 1


@dataclass(frozen=True)
class Reference:
    """Rows and labels, ready for XGBoost."""

    table: pd.DataFrame
    """Numbers and categories."""
    labels: NDArray[Any]
    """[rows], numbers of classes, or values."""
    problem: Problem

    def evaluate(self, parts: Parts) -> float:
        """The metric of models that learn from one part and are judged by the other.

        What is found for the first one's rows is used for all, if there are several: where all are
        a cross-validation of the same rows, the reference so knows more than it should.
        """
        learn = np.unique(np.concatenate([pair[0] for pair in parts]))
        settings, trees = self._search(learn)
        said, truth = [], []
        for learn, judge in parts:
            model = xgboost.train(settings, self._matrix(learn), trees)
            said.append(model.predict(self._matrix(judge)))
            truth.append(self.labels[judge])
        return score(self.problem, np.concatenate(truth), np.concatenate(said))

    def _matrix(self, rows: NDArray[np.int64]) -> xgboost.DMatrix:
        some = self.table.iloc[rows]
        return xgboost.DMatrix(some, self.labels[rows], enable_categorical=True)

    def _search(self, rows: NDArray[np.int64]) -> tuple[dict[str, Any], int]:
        """The settings and the number of trees that are best for some rows."""
        folds = 5 if len(rows) < _FEW_ROWS else 3
        splitter = KFold if self.problem is Problem.REGRESSION else StratifiedKFold
        pairs = list(splitter(folds, shuffle=True, random_state=0).split(rows, self.labels[rows]))
        pairs = pairs[:1] if len(rows) > _MANY_ROWS else pairs
        matrices = [(self._matrix(rows[a]), self._matrix(rows[b])) for a, b in pairs]

        def objective(trial: optuna.Trial) -> float:
            settings = self._settings(trial)
            losses, trees = [], []
            for step, (learn, judge) in enumerate(matrices):
                model = xgboost.train(
                    settings,
                    learn,
                    _MOST_TREES,
                    evals=[(judge, "judge")],
                    early_stopping_rounds=_PATIENCE,
                    verbose_eval=False,
                )
                losses.append(model.best_score)
                trees.append(model.best_iteration + 1)
                trial.report(float(np.mean(losses)), step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            trial.set_user_attr("settings", settings)
            trial.set_user_attr("trees", round(np.mean(trees)))
            return float(np.mean(losses))

        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=0),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=8),
        )
        study.optimize(objective, n_trials=TRIALS)
        return study.best_trial.user_attrs["settings"], study.best_trial.user_attrs["trees"]

    def _settings(self, trial: optuna.Trial) -> dict[str, Any]:
        objective = {
            Problem.BINARY: "binary:logistic",
            Problem.MULTICLASS: "multi:softprob",
            Problem.REGRESSION: "reg:squarederror",
        }[self.problem]
        several = self.problem is Problem.MULTICLASS
        return {
            "objective": objective,
            **({"num_class": int(self.labels.max()) + 1} if several else {}),
            "tree_method": "hist",
            "nthread": 1 if len(self.labels) < _FEW_ROWS else 0,
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
            "max_depth": trial.suggest_int("max_depth", 2, 10),
            "min_child_weight": trial.suggest_float("min_child_weight", 0.5, 30, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1),
            "reg_lambda": trial.suggest_float("reg_lambda", 1e-2, 30, log=True),
            "max_cat_to_onehot": trial.suggest_int("max_cat_to_onehot", 2, 32, log=True),
        }


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns as XGBoost takes them: numbers, dates as numbers and parts, words, categories."""
    return pd.concat([_columns(str(name), frame[name]) for name in frame], axis=1)


def _columns(name: str, values: pd.Series[Any]) -> pd.DataFrame:
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return pd.DataFrame({name: values.astype(float)})
    dates = values if values.dtype.kind == "M" else _dates(values)
    if dates is not None:
        days = (dates - dates.min()) / pd.Timedelta(days=1)
        parts = {part: getattr(dates.dt, part) for part in ("month", "weekday", "hour")}
        return pd.DataFrame({name: days, **{f"{name} {k}": v for k, v in parts.items()}})
    if values.dropna().str.split().str.len().mean() >= _TEXT_WORDS:
        words = TfidfVectorizer(max_features=_WORDS)
        counted = words.fit_transform(values.fillna("")).toarray().astype(np.float32)
        table = pd.DataFrame(counted, values.index, words.get_feature_names_out())
        return table.add_prefix(f"{name} ").join(_category(name, values))
    return _category(name, values)


def _category(name: str, values: pd.Series[Any]) -> pd.DataFrame:
    """The column as a category, if its values are not mostly each a row's own."""
    if values.nunique() > _OWN * len(values):
        return pd.DataFrame(index=values.index)
    return pd.DataFrame({name: values.astype("category")})


def _dates(values: pd.Series[Any]) -> pd.Series[Any] | None:
    dates = pd.to_datetime(values, errors="coerce", format="mixed")
    return dates if dates.notna().sum() > 0.95 * values.notna().sum() else None
