"""The XGBoost model: boosted trees over scaled numbers and categories.

How many trees there are is chosen on groups (days, say) held out from the train split, and the
model is then grown anew to that number on all rows (early stopping with retraining: Goodfellow,
Bengio, Courville, Deep Learning, 2016, algorithm 7.2). The eval split has no part in it: trees that
were counted on the rows that judge a model would be judged too well.

Chen, Guestrin, XGBoost: A Scalable Tree Boosting System, KDD 2016. Splits between sets of
categories (`categories = "native"`): Fisher, On Grouping for Maximum Homogeneity, JASA 1958.

A warm start grows trees on top of those that are there. As they were grown from other rows, whose
bins are not these rows' bins, they are asked by the values themselves, and what they say is where
the new ones begin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from models import problems, threads
from models.dataset import Rows, row_weights
from models.history import Curve, History, ignore
from models.warm import Unfit
from pipeline import progress
from pipeline.errors import UserError
from pipeline.train_config import Framework, TrainConfig

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

FILE = "model.ubj"
"""The trees, in XGBoost's own binary JSON."""

_BINARY = {"objective": "binary:logistic", "eval_metric": "logloss"}
_MULTICLASS = {"objective": "multi:softprob", "eval_metric": "mlogloss"}
_REGRESSION = {"objective": "reg:squarederror", "eval_metric": "rmse"}
_ROWS_AT_ONCE = 65536
_MARGIN = 1e-5
"""XGBoost cuts at values themselves, and a served value may differ from them in its last bits: cuts
are made so far below, relative to the value where that is above 1."""


def run_fn(fn_args: FnArgs) -> None:
    """Trains the model and writes its bundle; TFX's Trainer calls this."""
    from models import training  # Whoever loads a model needs no more than this file.

    training.run(Framework.XGBOOST, training.Task.of(fn_args))


def train(
    rows: Rows, sizes: Sequence[int], settings: TrainConfig, base: Path | None = None
) -> tuple[xgb.Booster, History, float | None]:
    """Finds the number of trees on held-out groups, if none is given; grows them on all rows.

    Args:
        rows: The train split.
        sizes: How many values each categorical column may take.
        settings: Seed, held-out share, class weights and hyper-parameters; the same ones give the
            same trees.
        base: The bundle whose trees stay, and are grown on; by default there are none.

    Returns:
        The model, the losses of both trainings, and the loss of the rows that were held out.

    Raises:
        Unfit: If the base takes other inputs, or has so many trees that it has no room for more.
    """
    settings = settings.for_rows(len(rows))
    hyper = settings.xgboost
    grown = _grown(base, rows, settings) if base else None
    searched = search(rows, sizes, settings, base=grown) if hyper.trees is None else None
    trees = searched.best_step if searched else hyper.trees or 1
    data = quantized(rows, np.arange(len(rows)), settings, base=grown)
    losses = _Losses(rows.classes, trees)
    model = xgb.train(
        parameters(settings, len(rows), rows.classes),
        data,
        trees,
        evals=[(data, "learned")],
        verbose_eval=False,
        callbacks=[losses],
    )
    history = History(
        framework=Framework.XGBOOST,
        step="tree",
        steps=trees,
        search=searched,
        training=Curve(learned=losses.of("learned")),
    )
    if grown:
        model = joined(grown, model)
    return model, history, searched.best_loss if searched else None


def search(
    rows: Rows,
    sizes: Sequence[int],
    settings: TrainConfig,
    *,
    report: Callable[[int, float], None] = ignore,
    base: xgb.Booster | None = None,
) -> Curve:
    """The loss after each tree on held-out groups, up to some after the best one.

    `report` is told each tree's number and held-out loss, and may raise to end the search.
    """
    settings = settings.for_rows(len(rows))
    hyper = settings.xgboost
    learn, stop = rows.hold_out(settings.validation_share)
    learned = quantized(rows, learn, settings, base=base)
    held_out = quantized(rows, stop, settings, as_in=learned, base=base)
    trees = hyper.max_trees - (base.num_boosted_rounds() if base else 0)
    losses = _Losses(rows.classes, trees, report)
    xgb.train(
        parameters(settings, len(learn), rows.classes),
        learned,
        trees,
        evals=[(learned, "learned"), (held_out, "held_out")],
        verbose_eval=False,
        callbacks=[
            losses,
            xgb.callback.EarlyStopping(rounds=hyper.patience, data_name="held_out"),
        ],
    )
    return Curve(
        learned=losses.of("learned"),
        held_out=losses.of("held_out"),
        before=_loss_before(base, rows, stop, settings) if base else None,
    )


def _grown(folder: Path, rows: Rows, settings: TrainConfig) -> xgb.Booster:
    """The trees of a bundle, if more can be grown on them from these rows."""
    hyper = settings.xgboost
    base = _read(folder)
    if base.feature_types != _types(rows, hyper.categories):
        raise Unfit("the model before takes other inputs")
    trees = base.num_boosted_rounds()
    if trees + (hyper.trees or hyper.patience) > hyper.max_trees:
        raise Unfit(
            f"the model before has {trees} trees, and train.xgboost.max_trees is {hyper.max_trees}"
        )
    return base


def joined(base: xgb.Booster, grown: xgb.Booster) -> xgb.Booster:
    """The trees of both as one model, where the latter's begin at what the former says.

    By XGBoost's own JSON, since its own way to go on asks the former by bins, not by values.
    """
    both = json.loads(base.save_raw("json"))
    model, new = (
        content["learner"]["gradient_booster"]["model"]
        for content in (both, json.loads(grown.save_raw("json")))
    )
    first = len(model["trees"])
    model["trees"] += [{**tree, "id": first + tree["id"]} for tree in new["trees"]]
    model["tree_info"] += new["tree_info"]
    model["iteration_indptr"] += [first + place for place in new["iteration_indptr"][1:]]
    model["gbtree_model_param"]["num_trees"] = str(len(model["trees"]))
    return xgb.Booster(model_file=bytearray(json.dumps(both).encode()))


def _loss_before(
    model: xgb.Booster, rows: Rows, among: NDArray[np.int64], settings: TrainConfig
) -> float:
    """The mean loss of the rows at the positions `among`, by what a model says of them."""
    said = said_of(model, rows, among, "value")
    weights = row_weights(rows, settings)[among]
    return problems.mean_loss(said, rows.labels[among], weights, rows.classes)


def parameters(settings: TrainConfig, rows: int, classes: int = 2) -> dict[str, Any]:
    """What `xgb.train` takes to learn to tell so many classes, or a value, from so many rows."""
    ours = {"categories", "trees", "max_trees", "patience"}
    problem = {0: _REGRESSION, 2: _BINARY}.get(classes, {**_MULTICLASS, "num_class": classes})
    return {
        **problem,
        "tree_method": "hist",
        "seed": settings.seed,
        "nthread": threads.worth(rows),
        **settings.xgboost.model_dump(exclude=ours),
    }


def quantized(
    rows: Rows,
    among: NDArray[np.int64],
    settings: TrainConfig,
    *,
    as_in: xgb.DMatrix | None = None,
    base: xgb.Booster | None = None,
) -> xgb.QuantileDMatrix:
    """The rows at the positions `among`, a byte or two for each value; binned like `as_in`.

    With what `base` says of them, for trees that go on from there.
    """
    weighted = replace(rows, weights=row_weights(rows, settings))
    data = xgb.QuantileDMatrix(
        _Batches(weighted, among, settings.xgboost.categories),
        ref=as_in,
        max_bin=settings.xgboost.max_bin,
        enable_categorical=True,
    )
    if base:
        data.set_base_margin(said_of(base, rows, among, "margin"))
    return data


def said_of(
    model: xgb.Booster, rows: Rows, among: NDArray[np.int64], kind: Literal["value", "margin"]
) -> NDArray[np.float32]:
    """What a model says of the rows at the positions `among`, or the margins that it is made of."""
    model.set_param({"nthread": threads.worth(len(among))})
    said = [
        model.inplace_predict(
            matrix(some.numbers, some.categories), predict_type=kind, validate_features=False
        )
        for some in rows.batches(_ROWS_AT_ONCE, among=among)
    ]
    return np.concatenate(said)


def matrix(numbers: NDArray[np.float32], categories: NDArray[np.int32]) -> NDArray[np.float32]:
    """Numbers [rows, n] and categories [rows, k] as [rows, n + k]."""
    return np.hstack([numbers, categories], dtype=np.float32, casting="same_kind")


def save(model: xgb.Booster, folder: Path) -> None:
    """Writes the trees."""
    model.save_model(folder / FILE)


def load(folder: Path) -> Callable[[NDArray[np.float32], NDArray[np.int32]], NDArray[np.float32]]:
    """The model in a folder: gives `bundle.Predictions` for numbers and categories [rows, …].

    Raises:
        UserError: If its file is none of XGBoost's.
    """
    model = _read(folder)

    @cache
    def with_threads(count: int) -> xgb.Booster:
        # A copy for each number: one must not change while another thread asks it.
        copy = model.copy()
        copy.set_param({"nthread": count})
        return copy

    def predict(numbers: NDArray[np.float32], categories: NDArray[np.int32]) -> NDArray[np.float32]:
        model = with_threads(threads.worth(len(numbers)))
        said: NDArray[np.float32] = model.inplace_predict(
            matrix(numbers, categories), validate_features=False
        )
        return said

    return predict


def _read(folder: Path) -> xgb.Booster:
    try:
        return xgb.Booster(model_file=folder / FILE)
    except (xgb.core.XGBoostError, UnicodeDecodeError):  # It fails to quote what is no text.
        raise UserError(f"{folder / FILE} holds no XGBoost model in its binary JSON.") from None


def _types(rows: Rows, categories: str) -> list[str]:
    """XGBoost's type of each column of `matrix`: a quantity, or a category."""
    kind = "c" if categories == "native" else "q"
    return ["q"] * rows.numbers.shape[1] + [kind] * rows.categories.shape[1]


class _Batches(xgb.DataIter):
    """Rows, some at a time, so that they need not all be in memory."""

    def __init__(self, rows: Rows, among: NDArray[np.int64], categories: str) -> None:
        super().__init__()
        self._types = _types(rows, categories)
        self._start = partial(rows.batches, _ROWS_AT_ONCE, among=among)
        self.reset()

    def reset(self) -> None:
        self._batches = self._start()

    def next(self, input_data: Callable[..., None]) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            return False
        margin = _MARGIN * np.maximum(1, np.abs(batch.numbers))
        below = np.asarray(batch.numbers - margin, np.float32)
        input_data(
            data=matrix(below, batch.categories),
            label=batch.labels,
            weight=batch.weights,
            feature_types=self._types,
        )
        return True


class _Losses(xgb.callback.TrainingCallback):
    """Keeps and reports the losses after each tree of each class, and says how far it is."""

    def __init__(
        self, classes: int, trees: int, report: Callable[[int, float], None] = ignore
    ) -> None:
        super().__init__()
        self._classes = classes
        self._trees = trees
        self._report = report
        self._losses: dict[str, list[float]] = {}

    def of(self, rows: str) -> tuple[float, ...]:
        """The loss of some of the rows after each tree."""
        return tuple(self._losses.get(rows, ()))

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        progress.report(epoch + 1, self._trees, "trees")
        for rows, metrics in evals_log.items():
            (found,) = metrics.values()
            loss = found[-1] if self._classes else found[-1] ** 2
            self._losses.setdefault(rows, []).append(loss)
        if "held_out" in evals_log:
            self._report(epoch + 1, self._losses["held_out"][-1])
        return False
