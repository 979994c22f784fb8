"""The scikit-learn model: histogram gradient boosting, or a linear model.

How many trees there are is chosen on groups (days, say) held out from the train split, and the
model is then grown anew to that number on all rows (early stopping with retraining: Goodfellow,
Bengio, Courville, Deep Learning, 2016, algorithm 7.2). scikit-learn's own early stopping holds out
single rows, whose neighbours were learned from, and stops too late.

Trees on binned values: Ke et al., LightGBM: A Highly Efficient Gradient Boosting Decision Tree,
NeurIPS 2017. scikit-learn takes all rows at once, 8 bytes a value.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException
from threadpoolctl import ThreadpoolController

from models import problems, threads
from models.dataset import Rows, row_weights
from models.history import Curve, History, ignore
from pipeline import progress
from pipeline.errors import UserError
from pipeline.train_config import Framework, SklearnConfig, TrainConfig

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

FILE = "model.skops"
"""The model as skops writes it: no pickle, and made of no types but those that are trusted."""
TRUSTED = (
    "functools.partial",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)
"""What a model of ours holds besides what skops trusts: estimators, arrays, plain values."""

_Boosting: TypeAlias = HistGradientBoostingClassifier | HistGradientBoostingRegressor

_MOST_CATEGORIES = 255
_TREES_BETWEEN_LOOKS = 20
"""At the rows held out: each time scikit-learn bins all rows anew."""
_TREES_BETWEEN_REPORTS = 100


def run_fn(fn_args: FnArgs) -> None:
    """Trains the model and writes its bundle; TFX's Trainer calls this."""
    from models import training  # Whoever loads a model needs no more than this file.

    training.run(Framework.SKLEARN, training.Task.of(fn_args))


def train(
    rows: Rows, sizes: Sequence[int], settings: TrainConfig
) -> tuple[BaseEstimator, History, float | None]:
    """Finds the number of trees on held-out groups, if none is given; fits all rows.

    Args:
        rows: The train split.
        sizes: How many values each categorical column may take.
        settings: Seed, held-out share, class weights and hyper-parameters; the same ones give the
            same model.

    Returns:
        The model, the losses of both trainings, and the loss of the rows that were held out.
    """
    settings = settings.for_rows(len(rows))
    hyper = settings.sklearn
    kind: str = hyper.model
    searched = None
    if hyper.trees is None:
        kind, searched = _best(rows, sizes, settings)
    data = _Data.of(rows, np.arange(len(rows)), settings)
    learned: tuple[float, ...]
    if kind == "linear":
        step, steps = "fit", 1
        model = linear(sizes, data, hyper)
        learned = (data.loss(predictions(model, data.x)),)
    else:
        step, steps = "tree", searched.best_step if searched else hyper.trees or 1
        *_, model = grow(steps, sizes, data, settings, at_once=_TREES_BETWEEN_REPORTS)
        learned = losses_by_tree(model)
    history = History(
        framework=Framework.SKLEARN,
        step=step,
        steps=steps,
        search=searched,
        training=Curve(learned=learned),
    )
    return model, history, searched.best_loss if searched else None


def search(
    rows: Rows,
    sizes: Sequence[int],
    settings: TrainConfig,
    *,
    report: Callable[[int, float], None] = ignore,
) -> Curve:
    """The loss after each tree on held-out groups, up to some after the best one.

    `report` is told each tree's number and held-out loss, and may raise to end the search. The
    linear model has one step, and is not told of where there are trees as well.
    """
    return _best(rows, sizes, settings.for_rows(len(rows)), report)[1]


def _best(
    rows: Rows,
    sizes: Sequence[int],
    settings: TrainConfig,
    report: Callable[[int, float], None] = ignore,
) -> tuple[str, Curve]:
    """The kind of model that is best on held-out groups, and its losses."""
    hyper = settings.sklearn
    learn, stop = (
        _Data.of(rows, part, settings) for part in rows.hold_out(settings.validation_share)
    )
    found: dict[str, Curve] = {}
    if hyper.model != "boosting":
        fitted = linear(sizes, learn, hyper)
        learned, held_out = (data.loss(predictions(fitted, data.x)) for data in (learn, stop))
        found["linear"] = Curve(learned=(learned,), held_out=(held_out,))
    if hyper.model == "linear":
        report(1, held_out)
    else:
        found["boosting"] = _boosted(learn, stop, sizes, settings, report)
    return min(found.items(), key=lambda item: item[1].best_loss)


def _boosted(
    learn: _Data,
    stop: _Data,
    sizes: Sequence[int],
    settings: TrainConfig,
    report: Callable[[int, float], None],
) -> Curve:
    """The losses of more and more trees."""
    hyper = settings.sklearn
    losses: list[float] = []
    for model in grow(hyper.max_trees, sizes, learn, settings, at_once=_TREES_BETWEEN_LOOKS):
        for said in islice(staged_predictions(model, stop.x), len(losses), None):
            losses.append(stop.loss(said))
            report(len(losses), losses[-1])
        if len(losses) - 1 - int(np.argmin(losses)) >= hyper.patience:
            break
    return Curve(learned=losses_by_tree(model), held_out=tuple(losses))


def grow(
    trees: int, sizes: Sequence[int], data: _Data, settings: TrainConfig, *, at_once: int
) -> Iterator[_Boosting]:
    """One model, each time with `at_once` trees more, until it has as many as asked for."""
    hyper = settings.sklearn
    boosting = HistGradientBoostingClassifier if data.classes else HistGradientBoostingRegressor
    model = boosting(
        learning_rate=hyper.learning_rate,
        max_leaf_nodes=hyper.max_leaf_nodes,
        min_samples_leaf=hyper.min_samples_leaf,
        l2_regularization=hyper.l2_regularization,
        max_features=hyper.max_features,
        categorical_features=native(sizes, data) if hyper.categories == "native" else None,
        random_state=settings.seed % 2**32,
        warm_start=True,
        # It never stops by itself: but so it keeps the loss of each tree.
        early_stopping=True,
        validation_fraction=None,
        n_iter_no_change=trees + 1,
    )
    pool, most = ThreadpoolController(), threads.worth(len(data.y))
    for grown in (*range(at_once, trees, at_once), trees):
        with pool.limit(limits=most, user_api="openmp"):
            model.set_params(max_iter=grown).fit(data.x, data.y, data.weight)
        progress.report(grown, trees, "trees")
        yield model


def native(sizes: Sequence[int], data: _Data) -> list[int]:
    """The columns that may be split by sets of categories; those with too many are numbers."""
    first = data.x.shape[1] - len(sizes)
    return [first + place for place, size in enumerate(sizes) if size <= _MOST_CATEGORIES]


def losses_by_tree(model: _Boosting) -> tuple[float, ...]:
    """The loss of the rows that were learned from after each tree."""
    # Of squared errors scikit-learn counts the half.
    whole = 2 if isinstance(model, HistGradientBoostingRegressor) else 1
    return tuple((-whole * np.asarray(model.train_score_)[1:]).tolist())


def linear(sizes: Sequence[int], data: _Data, hyper: SklearnConfig) -> Pipeline:
    """A linear model of numbers and one-hot categories; an unknown category is all zeros.

    Logistic regression for classes, ridge regression for values.
    """
    first = data.x.shape[1] - len(sizes)
    one_hot = OneHotEncoder(
        categories=[np.arange(size, dtype=np.float64) for size in sizes], handle_unknown="ignore"
    )
    columns = ColumnTransformer(
        [("categories", one_hot, list(range(first, data.x.shape[1])))], remainder="passthrough"
    )
    model = (
        LogisticRegression(C=hyper.C, max_iter=hyper.max_iter)
        if data.classes
        else Ridge(alpha=1 / hyper.C)
    )
    steps = Pipeline([("columns", columns), ("model", model)])
    return steps.fit(data.x, data.y, model__sample_weight=data.weight)


def matrix(numbers: NDArray[np.float32], categories: NDArray[np.int32]) -> NDArray[np.float64]:
    """Numbers [rows, n] and categories [rows, k] as [rows, n + k], the type that is computed in."""
    return np.hstack([numbers, categories], dtype=np.float64)


def predictions(model: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a model says of each row: [rows], or [rows, classes] of several classes."""
    return _second_of_two(model.predict_proba(x) if is_classifier(model) else model.predict(x))


def staged_predictions(model: _Boosting, x: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """The same after each tree."""
    regression = isinstance(model, HistGradientBoostingRegressor)
    staged = model.staged_predict(x) if regression else model.staged_predict_proba(x)
    return map(_second_of_two, staged)


def _second_of_two(said: NDArray[np.float64]) -> NDArray[np.float64]:
    return said[:, 1] if said.ndim == 2 and said.shape[1] == 2 else said


@dataclass(frozen=True)
class _Data:
    """Rows as scikit-learn takes them."""

    x: NDArray[np.float64]
    y: NDArray[np.float32]
    weight: NDArray[np.float32]
    classes: int

    @classmethod
    def of(cls, rows: Rows, among: NDArray[np.int64], settings: TrainConfig) -> Self:
        """The rows at the positions `among`.

        scikit-learn knows no class but those that it meets: of each other one there is one row, of
        no weight.
        """
        some = rows.take(among)
        x, weight = matrix(some.numbers, some.categories), row_weights(rows, settings)[among]
        others = np.setdiff1d(np.arange(rows.classes), some.labels)
        return cls(
            np.concatenate([x, np.repeat(x[:1], len(others), axis=0)]),
            np.concatenate([some.labels, others.astype(np.float32)]),
            np.concatenate([weight, np.zeros(len(others), np.float32)]),
            rows.classes,
        )

    def loss(self, said: NDArray[np.float64]) -> float:
        """The mean loss of `predictions`."""
        return problems.mean_loss(said, self.y, self.weight, self.classes)


def save(model: BaseEstimator, folder: Path) -> None:
    """Writes the model."""
    skops.io.dump(model, folder / FILE)


def load(folder: Path) -> Callable[[NDArray[np.float32], NDArray[np.int32]], NDArray[np.float32]]:
    """The model in a folder: gives `bundle.Predictions` for numbers and categories [rows, …].

    Raises:
        UserError: If its file is none of skops', or is made of types that are not trusted.
    """
    model = _read(folder / FILE)
    # Found once: to look for the libraries takes longer than to predict.
    pool = ThreadpoolController()

    def predict(numbers: NDArray[np.float32], categories: NDArray[np.int32]) -> NDArray[np.float32]:
        with pool.limit(limits=threads.worth(len(numbers)), user_api="openmp"):
            said = predictions(model, matrix(numbers, categories))
        return np.asarray(said, np.float32)

    return predict


def _read(file: Path) -> Any:
    try:
        model = skops.io.load(file, trusted=TRUSTED)
    except UntrustedTypesFoundException as error:
        raise UserError(f"{file} is not loaded: {str(error).splitlines()[0]}") from None
    except (zipfile.BadZipFile, KeyError, ValueError, UnsupportedTypeException):
        raise UserError(f"{file} holds no scikit-learn model that skops has written.") from None
    if not hasattr(model, "predict"):
        raise UserError(f"{file} holds nothing that predicts, but a {type(model).__name__}.")
    return model
