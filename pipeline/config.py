"""Every setting of a pipeline, typed, with its default, its unit and its meaning.

This module knows no file format and imports nothing heavy: `pipeline.config_file` reads TOML into
these classes, `pipeline.pipeline` builds the graph from them, and each node is handed only the
section that it reads, so that a changed setting reruns only the nodes that depend on it.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.card_config import CardConfig
from pipeline.cluster_config import (
    ExportConfig,
    KubeflowConfig,
    ScheduleConfig,
    StoreConfig,
    TasksConfig,
    VertexConfig,
)
from pipeline.continuous_config import ContinuousConfig
from pipeline.data_config import DataConfig
from pipeline.errors import nearest
from pipeline.sections import Column, Location, Section, Share
from pipeline.train_config import TrainConfig, TuneConfig

PROJECT = Path(__file__).resolve().parents[1]
"""The project's folder: relative locations in a configuration start here."""


class Severity(StrEnum):
    """What the data gate does with a finding."""

    IGNORE = "ignore"
    INFO = "info"
    WARN = "warn"
    STOP = "stop"


class Metric(StrEnum):
    """The metrics of a binary classifier that the evaluator computes."""

    AUC = "auc"
    LOG_LOSS = "log_loss"
    CALIBRATION = "calibration"
    ACCURACY = "accuracy"
    PRECISION = "precision"
    RECALL = "recall"

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is a better model; calibration is best at 1, so neither."""
        return self not in (Metric.LOG_LOSS, Metric.CALIBRATION)


def absolute(location: str) -> str:
    """`location` as every process understands it: absolute, or a URL (gs://…) as it is."""
    return location if "://" in location else str(PROJECT / location)


class FeaturesConfig(Section):
    """The columns: the one list from which preprocessing, models and serving are made."""

    label: Column
    """The column to predict: 0 or 1."""
    numeric: tuple[Column, ...] = ()
    """Numbers: scaled to mean 0 and variance 1; missing ones set to the mean and flagged."""
    categorical: tuple[Column, ...] = ()
    """Strings or integers of few values: a vocabulary each, with a place for unseen ones."""
    cyclical: dict[Column, Annotated[float, Field(gt=0)]] = {}
    """Numbers that wrap around, with their period, as in hour = 24: sine and cosine of each."""
    bucketized: dict[Column, Annotated[int, Field(ge=2)]] = {}
    """Numbers of which the rank matters, with a number of buckets: each bucket holds as many rows
    as the next and is a category, as in latitude = 10."""
    keep: tuple[Column, ...] = ()
    """Ingested and checked, for splits and slices, but not predicted from."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The raw columns that a model needs for a prediction, in the order of the config."""
        return (*self.numeric, *self.categorical, *self.cyclical, *self.bucketized)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every raw column that is ingested."""
        return (*self.inputs, *self.keep, self.label)

    @model_validator(mode="after")
    def _each_column_has_one_role(self) -> Self:
        if self.label in self.inputs:
            raise ValueError(
                f"the label {self.label!r} is also a feature: a model that sees the label learns "
                "nothing else; take it out of the features"
            )
        seen: set[str] = set()
        for column in self.columns:
            if column in seen:
                raise ValueError(f"column {column!r} is named twice; give it one role")
            seen.add(column)
        if not self.inputs:
            raise ValueError(
                "no features: name columns in numeric, categorical, cyclical or bucketized"
            )
        return self


class GateConfig(Section):
    """What the data gate does about anomalies and drift."""

    anomalies: Severity = Severity.STOP
    """Values that break the schema: a missing column, a wrong type, a value outside its domain."""
    drift: Severity = Severity.WARN
    """A feature whose distribution moved from the previous span by more than its threshold."""
    max_js_divergence: Share = 0.3
    """Numeric features: Jensen-Shannon divergence to the previous span (0 same, 1 disjoint)."""
    max_l_infinity: Share = 0.1
    """Categorical features: largest change of one value's share (L-infinity norm)."""
    thresholds: dict[Column, Share] = {}
    """Thresholds of single features, in place of the two above."""
    min_rows: Annotated[int, Field(ge=0)] = 100
    """A span with fewer rows stops the run."""


class Threshold(Section):
    """Bounds that a metric must keep for a model to be blessed."""

    min: float | None = None
    """Lowest value allowed."""
    max: float | None = None
    """Highest value allowed."""
    max_regression: Annotated[float, Field(ge=0)] | None = None
    """How much worse than the live model it may be, in the metric's unit."""

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None and self.max_regression is None:
            raise ValueError("needs at least one of min, max, max_regression")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no value can pass")
        return self


class SliceGuard(Section):
    """A bound that every slice of some columns must keep, so that no group pays for the average."""

    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    """The slice's columns: each combination of their values is a slice."""
    metric: Metric = Metric.AUC
    """What is compared."""
    max_regression: Annotated[float, Field(ge=0)] = 0.05
    """How much worse than the live model a slice may be, in the metric's unit."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """Slices with fewer rows are reported, not judged: their metrics are mostly noise."""


class JudgedOn(StrEnum):
    """Which rows judge; none of them is one that a candidate has learned from."""

    WINDOW = "window"
    NEWEST = "newest"
    UNSEEN = "unseen"


class EvaluateConfig(Section):
    """How models are judged."""

    on: JudgedOn = JudgedOn.NEWEST
    """newest: the eval split of the newest span. window: of every span of the window. unseen: all
    of the newest span, which is left out of the window then: no candidate learns from it."""

    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = tuple(Metric)
    """What is computed, overall and for each slice."""
    thresholds: dict[Metric, Threshold] = {}
    """What must hold overall."""
    slices: tuple[Annotated[tuple[Column, ...], Field(min_length=1)], ...] = ()
    """Columns to slice by: [["carrier"], ["origin", "carrier"]]."""
    guards: tuple[SliceGuard, ...] = ()
    """What must hold for every slice."""
    decision_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The probability from which a row counts as a 1, for accuracy, precision and recall."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals that are given with the metrics."""
    replicates: Annotated[int, Field(ge=100)] = 1000
    """Samples of the bootstrap from which intervals and differences between models are told."""

    @model_validator(mode="after")
    def _judges_only_what_it_computes(self) -> Self:
        for metric in self.thresholds:
            if metric not in self.metrics:
                raise ValueError(
                    f"thresholds.{metric}: the metric is not in metrics; add it there or drop this"
                )
        for guard in self.guards:
            if guard.metric not in self.metrics:
                raise ValueError(f"a guard needs {guard.metric}, which is not in metrics; add it")
            if guard.columns not in self.slices:
                raise ValueError(
                    f"a guard watches slices by {list(guard.columns)}, which are not in slices; "
                    "add them"
                )
        return self


class SelectConfig(Section):
    """Which of the blessed models goes live."""

    metric: Metric = Metric.AUC
    """What the best is best in."""
    margin: float = 0.0
    """How much better than the live model, in the metric's unit. Below 0: how much worse will do,
    for a newer model."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Share of the bootstrap's samples in which it must be so; what falls short is a tie."""
    max_slice_loss: Annotated[float, Field(ge=0)] | None = 0.05
    """How much worse than the live model a guarded slice may be in `metric`."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Median of the milliseconds for one raw row."""
    max_size_mb: Annotated[float, Field(gt=0)] | None = None
    """Megabytes of the model's folder."""
    ensemble: Annotated[int, Field(ge=0)] = 3
    """The mean of so many of the best models is one more candidate; 0 or 1: none."""


class CanaryConfig(Section):
    """How the pushed form of a model is tried before it is live."""

    rows: Annotated[int, Field(ge=1)] = 200
    """Raw rows of the eval split that are sent."""
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    """Largest absolute difference to the evaluator's prediction."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """95th percentile of the milliseconds for one row; by default measured, not judged."""


class PushConfig(Section):
    """Where a blessed model goes."""

    directory: Location | None = None
    """The serving folder: a numbered folder per version; by default serving/ below the root."""


class RegisterConfig(Section):
    """What MLflow keeps of each run."""

    enabled: bool = True
    """Whether trainings and models are registered."""
    tracking_uri: Location | None = None
    """MLflow's server, or sqlite:///FILE; by default mlflow.db below the root. A password belongs
    in MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN."""
    artifacts: Location | None = None
    """Where artifacts go; by default the server's choice, or mlflow/ below the root."""
    name: Annotated[str, Field(pattern=r"^[\w .-]+$")] | None = None
    """The registered model; by default the pipeline's name."""
    approval: Literal["auto", "manual", "shadow"] = "auto"
    """auto: what is selected goes live. manual: it waits for `python -m pipeline registry approve`.
    shadow: it waits until `python -m pipeline continuous` has compared it with the live model on
    the next span, which neither has learned from, by the rules of [select]."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 20.0
    """How long to wait for the server; then the run goes on, and registers when asked again."""


class RunConfig(Section):
    """How nodes are run on one machine."""

    jobs: Annotated[int, Field(ge=1)] | None = None
    """Nodes at once; by default as many as there are cores, four at most."""
    cache: bool = True
    """Whether a node whose inputs, settings and code did not change is taken from the store."""
    beam_args: tuple[str, ...] = (
        "--direct_running_mode=in_memory",
        "--direct_num_workers=1",
        "--sdk_container_image=unused",
    )
    """Arguments of every Beam pipeline. By default in this process; the image, which only remote
    runners use, is named so that TFX does not build a source package of itself for each node."""


class PipelineConfig(Section):
    """One pipeline."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    """Name in the store, in Kubeflow and in the serving folder: lower case, digits, dashes."""
    root: Location | None = None
    """Folder of the store, the artifacts and the logs; by default output/NAME. With gs://… or
    s3://… only the artifacts and the served models are there: a run of this machine keeps the rest
    in output/NAME, and a cluster's needs a store of its own, store.url."""
    data: DataConfig
    features: FeaturesConfig
    gate: GateConfig = GateConfig()
    tune: TuneConfig = TuneConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    select: SelectConfig = SelectConfig()
    canary: CanaryConfig = CanaryConfig()
    push: PushConfig = PushConfig()
    registration: Annotated[RegisterConfig, Field(alias="register")] = RegisterConfig()
    card: CardConfig = CardConfig()
    run: RunConfig = RunConfig()
    store: StoreConfig = StoreConfig()
    tasks: TasksConfig = TasksConfig()
    export: ExportConfig = ExportConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()
    vertex: VertexConfig = VertexConfig()
    continuous: ContinuousConfig = ContinuousConfig()

    @property
    def pipeline_root(self) -> str:
        """Absolute location below which the artifacts lie."""
        return absolute(self.root or f"output/{self.name}")

    @property
    def local_root(self) -> Path:
        """Folder of this machine for the rest: the root, or output/NAME where that is a URL."""
        root = self.pipeline_root
        return Path(absolute(f"output/{self.name}") if "://" in root else root)

    @property
    def store_url(self) -> str:
        """Where the metadata store is; without its password."""
        return self.store.url or f"sqlite:///{self.local_root}/metadata.sqlite"

    @property
    def serving_directory(self) -> str:
        """Absolute location of the serving folder."""
        return absolute(self.push.directory or f"{self.pipeline_root}/serving")

    @property
    def tracking_uri(self) -> str:
        """MLflow's server, or the database of the project's own store."""
        return self.registration.tracking_uri or f"sqlite:///{self.local_root}/mlflow.db"

    @property
    def model_name(self) -> str:
        """The registered model."""
        return self.registration.name or self.name

    @model_validator(mode="after")
    def _locations_can_be_reached(self) -> Self:
        locations = {"root": self.root, "push.directory": self.push.directory}
        for key, location in locations.items():
            scheme, is_url, _ = (location or "").partition("://")
            if is_url and scheme not in ("gs", "s3"):
                raise ValueError(
                    f"{key} begins with {scheme}://; expected a folder, gs://BUCKET/… or s3://…"
                )
        return self

    @model_validator(mode="after")
    def _can_be_approved(self) -> Self:
        if self.registration.approval != "auto" and not self.registration.enabled:
            raise ValueError(
                f"register.approval is {self.registration.approval}, but register.enabled is "
                "false: only a registered model can be approved"
            )
        return self

    @model_validator(mode="after")
    def _unseen_leaves_something_to_learn_from(self) -> Self:
        if self.evaluate.on is JudgedOn.UNSEEN and self.data.window == 1:
            raise ValueError(
                'evaluate.on is "unseen", but data.window is 1: the newest span is left out of '
                "the window, and no other is in it; set data.window to 2 or more, or evaluate.on "
                'to "newest"'
            )
        return self

    @model_validator(mode="after")
    def _selects_by_what_it_computes(self) -> Self:
        if self.select.metric not in self.evaluate.metrics:
            raise ValueError(
                f"select.metric {self.select.metric} is not in evaluate.metrics; add it there"
            )
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        known = set(self.features.columns)
        used = [("data.split_by", self.data.split_by)] if self.data.split_by else []
        used += [("gate.thresholds", column) for column in self.gate.thresholds]
        moved = self.continuous.drift.thresholds
        used += [("continuous.drift.thresholds", column) for column in moved]
        used += [("evaluate.slices", column) for s in self.evaluate.slices for column in s]
        for key, column in used:
            if column not in known:
                raise ValueError(
                    f"{key} names the column {column!r}, which no list in [features] holds; "
                    "add it there (keep = [...] if no model should learn from it)"
                    f"{nearest(column, sorted(known))}"
                )
        return self
