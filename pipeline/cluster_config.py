"""Settings of a cluster: the store that its tasks share, what each task needs, who starts runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pipeline.sections import Location, Section
from pipeline.train_config import Framework

Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|[kMGTP]i?)?$")]
"""An amount as Kubernetes writes it: 500m, 2, 4Gi."""
Variable = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")]
SecretKey = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[\w.-]+$")]
"""A key of a Kubernetes secret, or of a secret of Secret Manager and its version: NAME/KEY."""

STORES = ("sqlite", "postgresql", "mysql")


class StoreConfig(Section):
    """Where the metadata store is."""

    url: Location | None = None
    """sqlite:///FILE, postgresql://USER@HOST:PORT/DATABASE or mysql://USER@HOST:PORT/DATABASE; by
    default metadata.sqlite below the root. The password is taken from PIPELINE_STORE_PASSWORD."""
    password_file: Location | None = None
    """File that holds the password, such as a mounted secret, in place of the variable."""

    @field_validator("url")
    @classmethod
    def _names_a_store(cls, url: str | None) -> str | None:
        if url is None:
            return url
        scheme = url.partition("://")[0]
        if scheme not in STORES:
            raise ValueError(f"begins with {scheme!r}; expected one of {', '.join(STORES)}")
        if scheme == "sqlite":
            if not url.startswith("sqlite:////"):
                raise ValueError("names a file by an absolute path, as in sqlite:////data/store.db")
            return url
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.password is not None:
            # The message of an error repeats nothing of the value.
            raise ValueError(
                "holds a password; put it in PIPELINE_STORE_PASSWORD or in store.password_file"
            )
        if not (parts.username and parts.hostname and parts.path.strip("/")) or port == 0:
            raise ValueError(f"expected {scheme}://USER@HOST:PORT/DATABASE")
        return url


class Toleration(Section):
    """A taint of nodes that a task may run on all the same."""

    key: Annotated[str, Field(min_length=1)]
    """The taint's key."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """Whether the key is enough or the value has to be equal."""
    value: str = ""
    """The taint's value, for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Which effect; by default every one."""


class Retries(Section):
    """How often a failed task is tried again, and how long it waits before."""

    count: Annotated[int, Field(ge=0, le=20)] = 2
    """Tries after the first."""
    backoff_seconds: Annotated[int, Field(ge=0)] = 30
    """Before the second try."""
    backoff_factor: Annotated[float, Field(ge=1)] = 2.0
    """How much longer each wait is than the one before."""
    backoff_max_seconds: Annotated[int, Field(ge=0, le=3600)] = 600
    """The longest wait."""


class TaskSettings(Section):
    """What one task gets of the cluster; what is not set for a node is the default's."""

    image: Annotated[str, Field(min_length=1)] | None = None
    """The container image, best with its digest."""
    cpu: Quantity | None = None
    """Processors that are kept for it: 500m is half of one."""
    cpu_limit: Quantity | None = None
    """Processors that it may use."""
    memory: Quantity | None = None
    """Memory that is kept for it, as in 4Gi."""
    memory_limit: Quantity | None = None
    """Memory above which it is ended."""
    accelerator: Annotated[str, Field(min_length=1)] | None = None
    """Kind of accelerator: nvidia.com/gpu on Kubernetes, NVIDIA_TESLA_T4 on Vertex."""
    accelerator_count: Annotated[int, Field(ge=1)] = 1
    """How many of them."""
    node_selector: dict[str, str] = {}
    """Labels that the machine must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that it may have all the same."""
    retries: Retries | None = None
    """What happens after a failure."""
    timeout_seconds: Annotated[int, Field(ge=1)] | None = None
    """Longest time that one try may take."""
    secrets: dict[Variable, SecretKey] = {}
    """Environment variables, each with the secret and key that holds its value."""
    environment: dict[Variable, str] = {}
    """Environment variables that are no secret."""
    volumes: dict[str, str] = {}
    """Volume claims, each with the path at which it is mounted."""

    def over(self, default: TaskSettings) -> TaskSettings:
        """These settings, and `default`'s where they say nothing; tables are merged."""
        merged = {name: getattr(default, name) for name in default.model_fields_set}
        for name in self.model_fields_set:
            value = getattr(self, name)
            merged[name] = merged.get(name, {}) | value if isinstance(value, dict) else value
        return TaskSettings(**merged)


class TasksConfig(Section):
    """What the tasks of a run get on Kubeflow, on Vertex and in Airflow's pods."""

    defaults: TaskSettings = TaskSettings(retries=Retries())
    """For every task."""
    nodes: dict[str, TaskSettings] = {}
    """For single ones, by the node's id: init, backfill and finish are tasks as well."""
    trainers: dict[Framework, TaskSettings] = {}
    """For the trainings of the train-only pipeline, each in its framework's own image."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets by which the cluster may pull the images."""
    one_machine: bool = False
    """Whether all run on one machine, as in minikube: then an sqlite file can be the store."""

    def of(self, node_id: str) -> TaskSettings:
        """What the task of `node_id` gets."""
        return self.nodes.get(node_id, TaskSettings()).over(self.defaults)

    def of_trainer(self, framework: Framework) -> TaskSettings:
        """What a framework's training gets in the train-only pipeline."""
        return self.trainers.get(framework, TaskSettings()).over(self.defaults)


class ExportConfig(Section):
    """A container component that sends the evaluation on; there when `url` is set."""

    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Where the evaluation is posted as JSON. A token belongs in EXPORT_TOKEN."""
    image: Annotated[str, Field(min_length=1)] = "python:3.12-slim"
    """Any image with Python: the program needs nothing else."""

    @field_validator("url")
    @classmethod
    def _has_no_password(cls, url: str | None) -> str | None:
        if url and "@" in urlsplit(url).netloc:
            # The message of an error repeats nothing of the value.
            raise ValueError("holds a user or a password; put a token into EXPORT_TOKEN")
        return url


class ScheduleConfig(Section):
    """When runs start by themselves, once `kubeflow_runner.py schedule` has been called."""

    cron: str | None = None
    """Minute, hour, day, month, weekday, as in "0 6 2 * *"; a sixth field in front is seconds."""
    interval_seconds: Annotated[int, Field(ge=60)] | None = None
    """Seconds from one run's start to the next one's, in place of cron; not on Vertex."""
    timezone: str = "UTC"
    """In which cron is meant, as in Europe/Berlin."""
    start: str | None = None
    """No run before this time (2026-12-01T00:00:00Z)."""
    end: str | None = None
    """No run after this time."""
    catch_up: bool = False
    """Whether runs that were missed are made up for."""
    concurrency: Annotated[int, Field(ge=1, le=10)] = 1
    """How many of its runs may be at work at once."""
    paused: bool = False
    """Whether it is there, but starts nothing."""

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.cron and self.interval_seconds:
            raise ValueError("names both cron and interval_seconds; leave one out")
        if self.cron and len(self.cron.split()) not in (5, 6):
            raise ValueError(f"cron is {self.cron!r}; expected five fields, as in '0 6 * * 1'")
        return self


class KubeflowConfig(Section):
    """The Kubeflow Pipelines server, and who runs there."""

    host: Location | None = None
    """The API's address, as in https://kubeflow.example.com/pipeline; by default the one inside
    the cluster."""
    ui_host: Location | None = None
    """The address of the pages that links lead to, where it is another."""
    auth: Literal["none", "token", "iap", "in-cluster"] = "none"
    """token: KUBEFLOW_TOKEN; iap: Google's application default credentials for `iap_client_id`;
    in-cluster: the pod's service account token."""
    iap_client_id: str | None = None
    """The OAuth client of Identity-Aware Proxy."""
    ca_certificate: Location | None = None
    """File of the authority that signed the server's certificate."""
    namespace: str = "kubeflow"
    """The namespace (the profile) that runs belong to."""
    experiment: str | None = None
    """Groups runs; by default the pipeline's name."""
    service_account: str | None = None
    """Whose rights a run's tasks have. KFP has one for a run, not one for a task."""
    webhook: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Told of each run's end, as JSON. One that is secret belongs in PIPELINE_WEBHOOK."""

    @model_validator(mode="after")
    def _can_sign_in(self) -> Self:
        if self.auth == "iap" and not self.iap_client_id:
            raise ValueError("auth is iap, which needs iap_client_id")
        return self


class VertexConfig(Section):
    """Vertex AI Pipelines."""

    project: str | None = None
    """The Google Cloud project."""
    location: str = "europe-west1"
    """The region."""
    service_account: str | None = None
    """Whose rights a run's tasks have."""
    network: str | None = None
    """A VPC network to peer with: projects/NUMBER/global/networks/NAME."""
    encryption_key: str | None = None
    """Cloud KMS key: projects/…/locations/…/keyRings/…/cryptoKeys/…"""
    labels: dict[str, str] = {}
    """Labels of the runs."""
