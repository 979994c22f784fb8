"""Runs that end at the Registrar: tiny models, made-up metrics, and all else as it is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from mlflow import MlflowClient
from tfx.dsl.compiler.compiler import Compiler
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.types.channel_utils import union
from tfx.types.standard_artifacts import PushedModel

from custom_components.model_selector import ModelSelector
from custom_components.pusher import Pusher
from custom_components.registrar import tracking
from custom_components.registrar.component import Registrar
from custom_components.registrar.tracking import Destination
from custom_components.resolvers import LiveModel, ever_made
from pipeline import metadata, node
from pipeline.config import PipelineConfig
from pipeline.config_file import load
from pipeline.node import NodeResult, State
from tests.custom_components.registration_nodes import Judge, Probe, Schema, Train

COMPLETE, CACHED = State.COMPLETE, State.CACHED


def configure(root: Path, settings: Mapping[str, str | float] | None = None) -> PipelineConfig:
    """The example's configuration with a root of its own, and some settings by their keys."""
    overrides = {"root": str(root), **(settings or {})}
    return load(overrides=[f"{key}={json.dumps(value)}" for key, value in overrides.items()])


@contextmanager
def server(folder: Path, port: int) -> Iterator[str]:
    """A real MLflow server, at the address that is given."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with started(command, f"http://127.0.0.1:{port}/health", folder) as address:
        yield address.removesuffix("/health")


@contextmanager
def started(command: Sequence[str], health: str, folder: Path) -> Iterator[str]:
    """A server that answers by the time that this is entered, and is gone afterwards."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while process.poll() is None and not _answers(health):
            time.sleep(0.1)
        assert process.poll() is None, (folder / "server.log").read_text()
        yield health
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Project:
    """A pipeline of a few nodes, its store and its MLflow."""

    config: PipelineConfig

    @property
    def root(self) -> Path:
        return Path(self.config.pipeline_root)

    @property
    def store(self) -> MetadataStore:
        return MetadataStore(metadata.connection(self.config))

    @property
    def mlflow(self) -> MlflowClient:
        return tracking.client(Destination.of(self.config))

    def run(
        self,
        run_id: str,
        auc: Mapping[str, float],
        *,
        pushes: bool = True,
        canary: str = "",
        only_until: str = "",
    ) -> dict[str, NodeResult]:
        """Trains a model for each name in `auc` (and "ensemble"), and lets it come to that.

        Args:
            run_id: The run's id.
            auc: The candidates' metric; another value is another model.
            pushes: Whether there is a Pusher.
            canary: Why the canary refuses the champion.
            only_until: The last node to run.
        """
        connection = metadata.connection(self.config)
        metadata.create_tables(connection)
        ir = node.bind(
            Compiler().compile(self._pipeline(auc, pushes=pushes, canary=canary)), run_id, {}
        )
        results = {}
        for entry in ir.nodes:
            node_id = entry.pipeline_node.node_info.id
            results[node_id] = node.run_node(ir, node_id, connection=connection)
            assert results[node_id].state is not State.FAILED, results[node_id].error
            if node_id == only_until:
                break
        return results

    def _pipeline(self, auc: Mapping[str, float], *, pushes: bool, canary: str) -> Pipeline:
        trained = {name: value for name, value in auc.items() if name != "ensemble"}
        trainers = [
            Train(framework=name, bias=value).with_id(f"Trainer.{name}")
            for name, value in trained.items()
        ]
        models = union([trainer.outputs["model"] for trainer in trainers])
        schema = Schema().with_id("SchemaGen")
        judge = Judge(models=models, auc=json.dumps(auc)).with_id("Evaluator")
        selector = ModelSelector(
            models=models,
            evaluation=judge.outputs["evaluation"],
            select=self.config.select.model_dump_json(),
            evaluate=self.config.evaluate.model_dump_json(),
        )
        probe = Probe(model=selector.outputs["model"], reason=canary).with_id("Canary")
        pusher = Pusher(
            selector.outputs["model"],
            selector.outputs["blessing"],
            infra_blessing=probe.outputs["blessing"],
            directory=self.config.serving_directory,
        )
        registrar = Registrar(
            models,
            union([trainer.outputs["model_run"] for trainer in trainers]),
            evaluation=judge.outputs["evaluation"],
            selection=selector.outputs["selection"],
            model=selector.outputs["model"],
            schema=schema.outputs["schema"],
            infra_blessing=probe.outputs["blessing"],
            pushed_model=pusher.outputs["pushed_model"] if pushes else None,
            destination=Destination.of(self.config),
            model_name=self.config.model_name,
            root=self.config.pipeline_root,
            train=self.config.train,
        )
        pushing = [pusher] if pushes else []
        return Pipeline(
            self.config.name,
            self.config.pipeline_root,
            components=[*trainers, schema, judge, selector, probe, *pushing, registrar],
            enable_cache=True,
        )

    def live_in_a_run(self, run_id: str) -> list[int]:
        """The ids of the models that a run's resolver takes for live."""
        train = Train(framework="keras", bias=9.0).with_id("Trainer.keras")
        resolver = Resolver(
            strategy_class=LiveModel,
            candidate=union([train.outputs["model"]]),
            live=ever_made(PushedModel, "Pusher"),
        ).with_id("LiveModel")
        connection = metadata.connection(self.config)
        pipeline = Pipeline(
            self.config.name, self.config.pipeline_root, components=[train, resolver]
        )
        ir = node.bind(Compiler().compile(pipeline), run_id, {})
        for node_id in ("Trainer.keras", "LiveModel"):
            assert node.run_node(ir, node_id, connection=connection).state is State.COMPLETE
        outputs = metadata.run_outputs(connection, run_id)["LiveModel"]
        return [artifact.id for artifact in outputs.get("live", [])]

    def artifacts(self, kind: str) -> list[metadata_store_pb2.Artifact]:
        """The artifacts of a type, oldest first."""
        return sorted(self.store.get_artifacts_by_type(kind), key=lambda artifact: artifact.id)

    def registration(self) -> dict[str, object]:
        """What the newest Registration says."""
        newest = self.artifacts("Registration")[-1]
        return {
            key: getattr(value, value.WhichOneof("value"))
            for key, value in newest.custom_properties.items()
        }
