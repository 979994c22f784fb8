"""What is trained, and how: the sections [train] and [tune] of the configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from pipeline.sections import Section


class Framework(StrEnum):
    """What a model is made with."""

    KERAS = "keras"
    PYTORCH = "pytorch"
    SKLEARN = "sklearn"
    XGBOOST = "xgboost"


_Hyper = TypeVar("_Hyper", bound=Section)

GOES_ON = (Framework.KERAS, Framework.PYTORCH, Framework.XGBOOST)
"""Those whose training can go on from a model that is there."""


FEW_ROWS, MORE_ROWS, SOME_ROWS = 2_000, 5_000, 10_000
"""With fewer, what is left to the number of rows is set for a small table, or for middling ones."""


class Passes(NamedTuple):
    """How a network goes over the rows."""

    batch_size: int
    max_epochs: int
    patience: int


class KerasConfig(Section):
    """Hyper-parameters of the Keras model."""

    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = (64, 32)
    """Units of each hidden layer."""
    members: Annotated[int, Field(ge=1)] = 4
    """Networks whose predictions are averaged."""
    embedding_dim: Annotated[int, Field(ge=1)] = 8
    """Largest size of a categorical feature's embedding."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of units left out at each training step; by default 0.1 with fewer than 10,000 rows,
    else 0.2. Far more where rows of one group tell little of those of another."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Step size of Adam at the start."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Decoupled weight decay of AdamW."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Rows per training step; by default about a 64th of all, from 16 to 512."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training rows, after a warm start so many more; by default as many as were
    best for rows held out."""
    max_epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes in search of the best number, at most; by default as many as come to 600,000 rows,
    from 20 to 100."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Epochs without a better loss of the rows held out before the search stops; by default a tenth
    of `max_epochs`, but 3 at least."""

    def passes(self, rows: int) -> Passes:
        """How a network goes over so many rows."""
        batch_size = self.batch_size or min(512, max(16, 2 ** int(math.log2(max(1, rows / 64)))))
        max_epochs = self.max_epochs or min(100, max(20, 600_000 // rows))
        return Passes(batch_size, max_epochs, self.patience or max(3, max_epochs // 10))

    def for_rows(self, rows: int) -> Self:
        """With a value in place of each that is left to the number of rows."""
        dropout = 0.1 if rows < SOME_ROWS else 0.2
        return _filled(self, {"dropout": dropout, **self.passes(rows)._asdict()})


class PytorchConfig(KerasConfig):
    """Hyper-parameters of the PyTorch model: a network as the Keras model's."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is trained; auto: on a GPU where there is one."""


class SklearnConfig(Section):
    """Hyper-parameters of the scikit-learn model."""

    model: Literal["auto", "boosting", "linear"] = "auto"
    """boosting: gradient-boosted trees. linear: logistic regression, or ridge regression, of scaled
    numbers and one-hot categories. auto: with fewer than 10,000 rows the one that is better for
    rows held out; with more, and where `trees` is set, boosting."""
    categories: Literal["ordinal", "native"] = "ordinal"
    """Trees: split by rank, the most frequent first (ordinal), or between any two sets (native)."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Trees: how much each one adds."""
    max_leaf_nodes: Annotated[int, Field(ge=2)] | None = None
    """Trees: leaves of each one, at most; by default 8 with fewer than 2,000 rows, 15 with fewer
    than 5,000, else 31."""
    min_samples_leaf: Annotated[int, Field(ge=1)] | None = None
    """Trees: rows of a leaf, at least; by default a 200th of all, from 5 to 100."""
    l2_regularization: Annotated[float, Field(ge=0)] | None = None
    """Trees: how strongly a leaf's value is drawn to 0; by default a 2,000th of the rows, from 1 to
    10."""
    max_features: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Trees: share of the features that each split chooses from."""
    trees: Annotated[int, Field(ge=1)] | None = None
    """How many; by default as many as were best for rows held out."""
    max_trees: Annotated[int, Field(ge=1)] = 300
    """Trees in search of the best number, at most."""
    patience: Annotated[int, Field(ge=1)] = 20
    """Trees without a better loss of the rows held out before the search stops."""
    C: Annotated[float, Field(gt=0)] = 1.0
    """Linear model: inverse of the strength of its regularization."""
    max_iter: Annotated[int, Field(ge=1)] = 500
    """Linear model: steps of its solver, at most."""

    def for_rows(self, rows: int) -> Self:
        """With a value in place of each that is left to the number of rows."""
        values = {
            "max_leaf_nodes": 8 if rows < FEW_ROWS else 15 if rows < MORE_ROWS else 31,
            "min_samples_leaf": min(100, max(5, rows // 200)),
            "l2_regularization": min(10.0, max(1.0, rows / 2000)),
        }
        model = "boosting" if self.trees or rows >= SOME_ROWS else "auto"
        chosen = self if self.model != "auto" else self.model_copy(update={"model": model})
        return _filled(chosen, values)


class XgboostConfig(Section):
    """Hyper-parameters of the XGBoost model, under XGBoost's names."""

    categories: Literal["ordinal", "native"] = "ordinal"
    """Split by rank, the most frequent first (ordinal), or between any two sets (native)."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """How much each tree adds."""
    max_depth: Annotated[int, Field(ge=1)] | None = None
    """Levels of each tree, at most; by default 3 with fewer than 2,000 rows, 4 with fewer than
    5,000, else 6."""
    min_child_weight: Annotated[float, Field(ge=0)] | None = None
    """Weight (Hessian) of a leaf, at least; by default a thousandth of the rows, from 1 to 50."""
    subsample: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the rows that each tree sees."""
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the features that each tree sees."""
    reg_lambda: Annotated[float, Field(ge=0)] | None = None
    """L2 regularization of the leaves' values; by default a 2,000th of the rows, from 1 to 10."""
    gamma: Annotated[float, Field(ge=0)] = 0.0
    """How much the loss must fall for a split to be made."""
    max_bin: Annotated[int, Field(ge=2)] = 256
    """Bins of a number's histogram."""
    trees: Annotated[int, Field(ge=1)] | None = None
    """How many, after a warm start so many more; by default as many as were best for rows held
    out."""
    max_trees: Annotated[int, Field(ge=1)] = 1000
    """Trees in search of the best number, at most. After a warm start those of the model before
    count too; where they leave no room for `patience` more, or for `trees`, it begins anew."""
    patience: Annotated[int, Field(ge=1)] = 30
    """Trees without a better loss of the rows held out before the search stops."""

    def for_rows(self, rows: int) -> Self:
        """With a value in place of each that is left to the number of rows."""
        values = {
            "max_depth": 3 if rows < FEW_ROWS else 4 if rows < MORE_ROWS else 6,
            "min_child_weight": min(50.0, max(1.0, rows / 1000)),
            "reg_lambda": min(10.0, max(1.0, rows / 2000)),
        }
        return _filled(self, values)


def _filled(section: _Hyper, values: Mapping[str, Any]) -> _Hyper:
    """With some values where it has None."""
    unset = {name: value for name, value in values.items() if getattr(section, name) is None}
    return section.model_copy(update=unset)


class TrainConfig(Section):
    """What is trained."""

    frameworks: Annotated[tuple[Framework, ...], Field(min_length=1)] = tuple(Framework)
    """One model each, trained in parallel. pytorch is left out where it is not installed; make run
    EXTRAS=pytorch installs it."""
    seed: int = 20130101
    """Of every random choice, so that a run can be repeated."""
    class_weight: Literal["none", "balanced"] = "none"
    """balanced: rows weigh by the inverse of their class's share. Probabilities shift with it."""
    warm_start: bool = False
    """Keras, PyTorch and XGBoost models go on from the live model, if it is of the same framework
    (or holds one that is), and on its transform graph. The length of every training is then chosen
    on groups of the newest span alone, which no model has learned from."""
    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Share of the train split's groups on which the length of the training is chosen. Never the
    eval split: a model may not choose anything by the rows that judge it."""
    keras: KerasConfig = KerasConfig()
    """Hyper-parameters of the Keras model."""
    pytorch: PytorchConfig = PytorchConfig()
    """Hyper-parameters of the PyTorch model."""
    sklearn: SklearnConfig = SklearnConfig()
    """Hyper-parameters of the scikit-learn model."""
    xgboost: XgboostConfig = XgboostConfig()
    """Hyper-parameters of the XGBoost model."""

    def of(self, framework: Framework) -> Section:
        """The hyper-parameters of a framework."""
        section: Section = getattr(self, framework)
        return section

    def for_rows(self, rows: int) -> Self:
        """With a value in place of each hyper-parameter that is left to the number of rows.

        Args:
            rows: How many there are to learn from, those that are held out for a time included.
        """
        sections = {
            Framework.KERAS: self.keras.for_rows(rows),
            Framework.PYTORCH: self.pytorch.for_rows(rows),
            Framework.SKLEARN: self.sklearn.for_rows(rows),
            Framework.XGBOOST: self.xgboost.for_rows(rows),
        }
        return self.model_copy(update={name.value: values for name, values in sections.items()})

    def only(self, framework: Framework) -> Self:
        """With the defaults for all others: a model is not touched by what they are set to."""
        defaults = {
            other.value: type(self.of(other))() for other in Framework if other is not framework
        }
        return self.model_copy(update={**defaults, "frameworks": (framework,)})

    def with_parameters(self, framework: Framework, parameters: Mapping[str, Any]) -> Self:
        """With other values of some hyper-parameters.

        Raises:
            ValidationError: One is unknown, or does not fit.
        """
        section = self.of(framework)
        changed = type(section).model_validate({**section.model_dump(), **parameters})
        return self.model_copy(update={framework.value: changed})

    @field_validator("frameworks")
    @classmethod
    def _each_once(cls, frameworks: tuple[Framework, ...]) -> tuple[Framework, ...]:
        if len(set(frameworks)) < len(frameworks):
            raise ValueError("names a framework twice; each one trains one model")
        return frameworks


class Range(Section):
    """The values that a hyper-parameter may take: an interval, or a list."""

    low: float | None = None
    """Lowest value."""
    high: float | None = None
    """Highest value."""
    log: bool = False
    """Whether the interval is searched by orders of magnitude."""
    choices: tuple[bool | int | float | str | tuple[int, ...], ...] = ()
    """The values, in place of an interval."""

    @model_validator(mode="after")
    def _is_one_of_the_two(self) -> Self:
        if self.choices and (self.low is not None or self.high is not None):
            raise ValueError("give low and high, or choices, not both")
        if not self.choices:
            if self.low is None or self.high is None:
                raise ValueError("give both low and high, or choices")
            if self.low >= self.high:
                raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
            if self.log and self.low <= 0:
                raise ValueError("log = true needs a low above 0")
        return self


class TuneConfig(Section):
    """The search for hyper-parameters before the training, by Optuna."""

    trials: Annotated[int, Field(ge=0)] = 0
    """Trials for each framework; 0: no search."""
    frameworks: tuple[Framework, ...] = ()
    """Whose are searched; by default those of all that are trained."""
    minutes: Annotated[float, Field(gt=0)] = 10.0
    """After so many minutes no further trial of a framework starts."""
    jobs: Annotated[int, Field(ge=1)] = 1
    """Trials of a framework at once, each in a process of its own."""
    prune: bool = True
    """Whether a trial that falls behind the others is given up (median of those before it)."""
    space: dict[Framework, dict[str, Range]] = {}
    """What is searched, by framework and hyper-parameter; by default `models.tuning.SPACES`."""
