"""What a guess and a simple model reach on the split that is proposed: thresholds lie between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.init.signals import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_FOLDS = 5
_REPLICATES, _DRAWN, _ERRORS = 40, 3000, 3.0
_HARDLY = 0.01
"""Less of a gain, in a share or of the guess's loss, is none."""
_LINEAR_BELOW = 2000


@dataclass(frozen=True)
class Inputs:
    """The features of the sample's rows, simply encoded."""

    numbers: Numbers
    """[rows, n], NaN where missing."""
    categories: Numbers
    """[rows, m]: numbers of values, the most frequent one 0, NaN where missing."""
    texts: tuple[NDArray[np.object_], ...] = ()
    """[rows] each."""


@dataclass(frozen=True)
class Baselines:
    """Metrics of a guess and of a simple model, on the same rows."""

    model: str
    """The simple model, in words."""
    trivial: Mapping[Metric, float]
    simple: Mapping[Metric, float]
    spread: Mapping[Metric, float]
    """Standard errors of the simple model's, on as many rows as are to judge."""

    def bound(self, metric: Metric) -> tuple[float, str] | None:
        """What a model has to reach, and why; None if the simple one is hardly better than a guess.

        Half way from the guess to the simple model, or where other rows, as many, may take the
        simple model by chance, if that is less.
        """
        low, high = self.trivial[metric], self.simple[metric]
        gap = abs(high - low)
        least = _HARDLY if metric.higher_is_better else _HARDLY * low
        if metric.goodness(high) <= metric.goodness(low) or gap < least:
            return None
        digits = 1 - math.floor(math.log10(gap))
        chance = _ERRORS * self.spread[metric]
        if gap / 2 >= chance:
            return round((low + high) / 2, digits), "half way between the two"
        worst = high - chance if metric.higher_is_better else high + chance
        why = "what the latter may have on other rows by chance (three standard errors)"
        return round(worst, digits), why


def baselines(
    inputs: Inputs,
    target: Target,
    *,
    folds: bool,
    judging: int | None = None,
    groups: NDArray[Any] | None = None,
    order: Numbers | None = None,
    eval_share: float = 1 / 3,
) -> Baselines:
    """Metrics of the classes' shares (or the mean, of mae the median), and of a simple model.

    Args:
        inputs: The features.
        target: The label.
        folds: Whether every row judges in turn in the pipeline, or one share of them; here, where
            rows have no order, they do so in either case.
        judging: How many rows judge in the pipeline; by default as many as here.
        groups: [rows]; rows of a group are on one side.
        order: [rows]; the highest judge.
        eval_share: The share that judges.
    """
    from sklearn import ensemble, linear_model  # noqa: F401 (the limit is for what is loaded)
    from threadpoolctl import threadpool_limits

    told = np.zeros((len(target.values), max(1, target.classes)))
    guessed = np.zeros_like(told)
    middle = np.zeros(len(told))
    judged = np.zeros(len(told), bool)
    with threadpool_limits(1):  # Threads that wait for one another take longer than one alone.
        for learn, judge in _splits(target, folds, groups, order, eval_share):
            told[judge] = _predict(inputs, target, learn, judge)
            guessed[judge] = target.sides[learn].mean(0)
            middle[judge] = np.median(target.values[learn])
            judged[judge] = True
    actual, drawn_from = target.values[judged], None if groups is None else groups[judged]
    linear = len(target.values) < _LINEAR_BELOW
    names = {True: "a linear model", False: "small boosted trees"}
    return Baselines(
        names[linear],
        _metrics(guessed[judged], actual, target) | _by_chance(actual, target, middle[judged]),
        _metrics(told[judged], actual, target),
        _spread(told[judged], actual, target, drawn_from, judging or len(actual)),
    )


def _splits(
    target: Target,
    folds: bool,
    groups: NDArray[Any] | None,
    order: Numbers | None,
    eval_share: float,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    rows = np.arange(len(target.values))
    if order is not None:
        newest = order > np.nanquantile(order, 1 - eval_share)
        if not newest.any():  # The last moment has more rows than that share.
            newest = order == np.nanmax(order)
        yield rows[~newest], rows[newest]
        return
    count = _FOLDS if folds else max(2, round(1 / eval_share))
    if groups is not None:
        splits = GroupKFold(min(count, len(np.unique(groups)))).split(rows, groups=groups)
    elif target.problem is Problem.REGRESSION:
        splits = KFold(count, shuffle=True, random_state=0).split(rows)
    else:
        folder = StratifiedKFold(count, shuffle=True, random_state=0)
        splits = folder.split(rows, target.values)
    yield from splits


def _predict(
    inputs: Inputs, target: Target, learn: NDArray[np.int64], judge: NDArray[np.int64]
) -> Numbers:
    """[judged rows, classes] or [judged rows, 1]: what the simple model says."""
    features, model = _model(inputs, target, learn)
    if target.problem is Problem.REGRESSION:
        model.fit(features[learn], target.values[learn])
        return np.asarray(model.predict(features[judge]))[:, None]
    there, labels = np.unique(target.values[learn], return_inverse=True)
    told = np.zeros((len(judge), target.classes))
    if len(there) == 1:
        told[:, int(there[0])] = 1
        return told
    model.fit(features[learn], labels)
    told[:, there.astype(int)] = model.predict_proba(features[judge])
    return told


def _model(inputs: Inputs, target: Target, learn: NDArray[np.int64]) -> tuple[Any, Any]:
    """The features as the model takes them, and the model."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge

    regression = target.problem is Problem.REGRESSION
    if len(target.values) >= _LINEAR_BELOW and not inputs.texts:
        features = np.hstack([inputs.numbers, inputs.categories])
        kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        # Where a class is rare, a leaf of few rows would else say what is far too certain.
        held = {"l2_regularization": 5.0, "random_state": 0}
        return features, kind(max_iter=30, max_leaf_nodes=15, learning_rate=0.2, **held)
    features = _linear_features(inputs, learn)
    if regression:
        return features, Ridge(alpha=3.0)
    return features, LogisticRegression(C=0.5, max_iter=200)


def _linear_features(inputs: Inputs, learn: NDArray[np.int64]) -> Any:
    from scipy import sparse  # type: ignore[import-untyped]
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import OneHotEncoder

    parts: list[Any] = []
    if inputs.numbers.size:
        numbers, known = inputs.numbers, ~np.isnan(inputs.numbers)
        counts = np.maximum(known[learn].sum(0), 1)
        mean = np.where(known, numbers, 0)[learn].sum(0) / counts
        centred = np.where(known, numbers - mean, 0)
        spread = np.sqrt((centred[learn] ** 2).sum(0) / counts)
        scaled = centred / np.where(spread > 0, spread, 1)
        parts += [np.clip(scaled, -8, 8), np.isnan(inputs.numbers[:, ~known.all(0)])]
    if inputs.categories.size:
        encoder = OneHotEncoder(handle_unknown="ignore", max_categories=50)
        categories = np.nan_to_num(inputs.categories, nan=-1)
        parts.append(encoder.fit(categories[learn]).transform(categories))
    parts += [HashingVectorizer(n_features=1024).transform(text) for text in inputs.texts]
    return sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(part) for part in parts]))


def _spread(
    told: Numbers, actual: Numbers, target: Target, groups: NDArray[Any] | None, judging: int
) -> dict[Metric, float]:
    """Standard errors on `judging` rows, by the bootstrap (Efron, 1979) over rows or groups."""
    random = np.random.default_rng(0)
    rows = len(actual)
    _, units = np.unique(np.arange(rows) if groups is None else groups, return_inverse=True)
    members = np.split(np.argsort(units, kind="stable"), np.cumsum(np.bincount(units))[:-1])
    draws = max(1, round(len(members) * min(1.0, _DRAWN / rows)))
    found = []
    for _ in range(_REPLICATES):
        drawn = np.concatenate(
            [members[unit] for unit in random.integers(len(members), size=draws)]
        )
        found.append(_metrics(told[drawn], actual[drawn], target))
    scale = math.sqrt(min(rows, _DRAWN) / judging)
    return {m: scale * float(np.std([one[m] for one in found])) for m in found[0]}


def _by_chance(actual: Numbers, target: Target, middle: Numbers) -> dict[Metric, float]:
    """What the best guess of a metric has: of mae it is the median, not the mean.

    And exactly: guesses differ from fold to fold, which says nothing.
    """
    if target.problem is Problem.REGRESSION:
        return {Metric.R2: 0.0, Metric.MAE: float(np.mean(np.abs(actual - middle)))}
    if target.problem is not Problem.BINARY:
        return {}
    return {Metric.AUC: 0.5, Metric.PR_AUC: float(actual.mean())}


def _metrics(told: Numbers, actual: Numbers, target: Target) -> dict[Metric, float]:
    from sklearn import metrics

    if target.problem is Problem.REGRESSION:
        error = actual - told[:, 0]
        return {
            Metric.RMSE: float(np.sqrt(np.mean(error**2))),
            Metric.MAE: float(np.mean(np.abs(error))),
            Metric.R2: 1 - float(np.mean(error**2) / max(actual.var(), 1e-300)),
        }
    probabilities = told / np.maximum(told.sum(1, keepdims=True), 1e-12)
    of_class = np.take_along_axis(probabilities, actual.astype(int)[:, None], 1)
    loss = float(-np.log(np.clip(of_class, 1e-7, 1)).mean())
    if target.problem is Problem.MULTICLASS:
        f1 = metrics.f1_score(actual, told.argmax(1), average="macro", zero_division=0)
        accuracy = float(np.mean(told.argmax(1) == actual))
        return {Metric.MACRO_F1: float(f1), Metric.ACCURACY: accuracy, Metric.LOG_LOSS: loss}
    two = 0 < actual.sum() < len(actual)
    ranked = (actual, probabilities[:, 1])
    return {
        Metric.AUC: float(metrics.roc_auc_score(*ranked)) if two else 0.5,
        Metric.PR_AUC: float(metrics.average_precision_score(*ranked)) if two else 0.0,
        Metric.LOG_LOSS: loss,
    }
