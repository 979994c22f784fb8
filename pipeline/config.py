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
from pipeline.continuous_config import ContinuousConfig, PerformanceConfig
from pipeline.data_config import DataConfig
from pipeline.errors import nearest
from pipeline.evaluate_config import EvaluateConfig, JudgedOn, Metric, SelectConfig
from pipeline.features_config import FeaturesConfig, Problem
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


def absolute(location: str) -> str:
    """`location` as every process understands it: absolute, or a URL (gs://…) as it is."""
    return location if "://" in location else str(PROJECT / location)


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


class CanaryConfig(Section):
    """How the pushed form of a model is tried before it is live."""

    rows: Annotated[int, Field(ge=1)] = 200
    """Raw rows of the eval split that are sent."""
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    """Largest absolute difference to the evaluator's prediction; in a regression as a share of the
    largest prediction."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """95th percentile of the milliseconds for one row; by default measured, not judged."""


class PushConfig(Section):
    """Where a blessed model goes."""

    directory: Location | None = None
    """The serving folder: a numbered folder per version; by default serving/ below the root."""


class PredictConfig(Section):
    """What the live model predicts at the end of each run."""

    files: tuple[Location, ...] = ()
    """Raw rows, without the label or with it: each a file, a folder or a glob of CSV or Parquet,
    relative to the project folder, absolute, or gs://… or s3://…; none: nothing is predicted."""


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
    predict: PredictConfig = PredictConfig()
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
    def data_folder(self) -> str:
        """Absolute location of the data's files; a query's rows are kept below the root."""
        if self.data.path is None:
            return f"{self.pipeline_root}/queries"
        return absolute(self.data.path).rstrip("/")

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
        if self.evaluate.on is JudgedOn.UNSEEN and not self.data.has_spans:
            raise ValueError(
                'evaluate.on is "unseen", but there is one span alone, and a model that has seen '
                'nothing of it has seen nothing; set evaluate.on to "newest", or put {SPAN} into '
                "data.pattern or data.query"
            )
        if self.evaluate.on is JudgedOn.UNSEEN and self.data.window == 1:
            raise ValueError(
                'evaluate.on is "unseen", but data.window is 1: the newest span is left out of '
                "the window, and no other is in it; set data.window to 2 or more, or evaluate.on "
                'to "newest"'
            )
        return self

    @model_validator(mode="after")
    def _few_rows_are_learned_anew(self) -> Self:
        if self.evaluate.cross_validation and self.train.warm_start:
            raise ValueError(
                "train.warm_start is true and [evaluate.cross_validation] is set: the model to go "
                "on from has learned the rows that are to judge; take one of the two away"
            )
        if self.evaluate.cross_validation and self.data.split_time:
            raise ValueError(
                "data.split_time is set and [evaluate.cross_validation] too: the newest rows are "
                "to judge, and in a cross-validation all do, by models that know what came later; "
                "take one of the two away"
            )
        return self

    @model_validator(mode="after")
    def _weighs_classes_where_there_are_some(self) -> Self:
        if self.train.class_weight != "none" and self.features.problem is Problem.REGRESSION:
            raise ValueError(
                f'train.class_weight is "{self.train.class_weight}", and features.problem is '
                'regression, which has no classes; expected "none"'
            )
        return self

    @model_validator(mode="after")
    def _metrics_are_of_the_problem(self) -> Self:
        ours = Metric.of(self.features.problem)
        evaluate, select = self.evaluate, self.select
        if "metrics" not in evaluate.model_fields_set:
            evaluate = evaluate.model_copy(update={"metrics": ours})
        guards = tuple(
            guard
            if "metric" in guard.model_fields_set
            else guard.model_copy(update={"metric": ours[0]})
            for guard in evaluate.guards
        )
        evaluate = evaluate.model_copy(update={"guards": guards})
        if "metric" not in select.model_fields_set:
            select = select.model_copy(update={"metric": ours[0]})
        continuous = self.continuous
        if "performance" not in continuous.model_fields_set:
            looked_at = PerformanceConfig.of(self.features.problem)
            continuous = continuous.model_copy(update={"performance": looked_at})
        used = {
            "evaluate.metrics": evaluate.metrics,
            "evaluate.thresholds": evaluate.thresholds,
            "evaluate.guards": [guard.metric for guard in guards],
            "select.metric": [select.metric],
            "continuous.performance": [metric for metric, _ in continuous.performance.rules()],
        }
        for key, metrics in used.items():
            for metric in metrics:
                if metric not in ours:
                    raise ValueError(
                        f"{key} names {metric}, and features.problem is {self.features.problem}; "
                        f"expected one of {', '.join(ours)}"
                    )
        object.__setattr__(self, "continuous", continuous)
        object.__setattr__(self, "evaluate", evaluate)
        object.__setattr__(self, "select", select)
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
        used += [("data.split_time", self.data.split_time)] if self.data.split_time else []
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
