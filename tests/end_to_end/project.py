"""A copy of the project on a small slice of the flights, to run, to edit and to break."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import ml_metadata
import pyarrow as pa
import pyarrow.parquet as pq
from ml_metadata.proto import metadata_store_pb2
from tensorflow.core.example.example_pb2 import Example
from tfx.orchestration.portable.mlmd import event_lib

from pipeline.config import PROJECT
from pipeline.store import connect

FRAMEWORKS: tuple[str, ...] = ("keras", "sklearn", "xgboost")
if importlib.util.find_spec("torch"):
    FRAMEWORKS = (*FRAMEWORKS, "pytorch")
STATES = metadata_store_pb2.Execution.State
SETTINGS = {
    "data.path": "data/small",
    "data.span": "2",
    "data.window": "2",
    "data.train_buckets": "3",
    "data.eval_buckets": "2",
    "gate.drift": "warn",
    "train.keras.max_epochs": "3",
    "train.pytorch.max_epochs": "3",
    "train.sklearn.max_trees": "30",
    "train.xgboost.max_trees": "50",
    "evaluate.thresholds.auc.min": "0.5",
    "evaluate.thresholds.log_loss": "{ max = 1.0 }",
    "evaluate.thresholds.calibration": "{ min = 0.3, max = 3.0 }",
    "evaluate.guards": "[]",
}


@dataclass(frozen=True)
class Execution:
    """What the store holds of one node of one run."""

    id: int
    state: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    error: str
    properties: dict[str, object]


@dataclass(frozen=True)
class SmallProject:
    """The copy, and what its metadata store says.

    Attributes:
      folder: where it is.
      local_root: where the runs are, and the artifacts if no other root is set; below it.
      store_url: the metadata store; empty: the sqlite file in the root.
      frameworks: what is trained.
    """

    folder: Path
    local_root: str = "output/small"
    store_url: str = ""
    frameworks: tuple[str, ...] = FRAMEWORKS

    @classmethod
    def make(cls, folder: Path) -> SmallProject:
        """Copies the code, and every eighth flight of January and February, into `folder`."""
        for package in ("pipeline", "models", "custom_components", "configs"):
            shutil.copytree(
                PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        for runner in ("local_runner.py", "kubeflow_runner.py"):
            shutil.copy(PROJECT / runner, folder)
        (folder / "data/flights").mkdir(parents=True)
        shutil.copy(PROJECT / "data/flights/schema.pbtxt", folder / "data/flights")
        project = cls(folder)
        for span in (1, 2):
            project.write_span(span, project.flights(span))
        return project

    def flights(self, span: int) -> pa.Table:
        """Every eighth flight of a month."""
        file = next((PROJECT / f"data/flights/span-{span:02}").glob("*.parquet"))
        table = pq.read_table(file)
        return table.take(list(range(0, table.num_rows, 8)))

    def write_span(self, span: int, table: pa.Table) -> None:
        """Puts `table` where the pipeline finds it as a span."""
        file = self.folder / f"data/small/span-{span:02}/rows.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)

    def command(self, *arguments: str, **settings: str) -> list[str]:
        """The command line of a run; settings are given with __ for the dot."""
        return [sys.executable, "local_runner.py", *self.overrides(**settings), *arguments]

    def overrides(self, **settings: str) -> list[str]:
        """The words of a command line that make the configuration of this project."""
        chosen = SETTINGS | {
            "root": self.local_root,
            "train.frameworks": json.dumps(self.frameworks),
        }
        chosen |= {"store.url": self.store_url} if self.store_url else {}
        chosen |= {key.replace("__", "."): value for key, value in settings.items()}
        return [word for item in chosen.items() for word in ("--set", "=".join(item))]

    def environment(self) -> dict[str, str]:
        """The environment without what would lead Python back to the original."""
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return kept | {"PYTHONDONTWRITEBYTECODE": ""}

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Runs the pipeline as a person would, and gives back what was printed."""
        return subprocess.run(
            self.command(*arguments, **settings),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def pipeline_cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m pipeline`."""
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def root(self) -> Path:
        """Where the runs are."""
        return self.folder / self.local_root

    @property
    def serving(self) -> list[str]:
        """The versions in the serving folder, hidden ones too."""
        folder = self.root / "serving"
        return sorted(f.name for f in folder.iterdir()) if folder.exists() else []

    def store(self) -> ml_metadata.MetadataStore:
        """The metadata store."""
        url = self.store_url or f"sqlite://{self.root}/metadata.sqlite"
        return connect.opened(connect.connection_to(url))

    def run_ids(self) -> list[str]:
        """The runs in the store, oldest first."""
        return sorted(c.name for c in self.store().get_contexts_by_type("pipeline_run"))

    def executions(self, run_id: str) -> dict[str, Execution]:
        """The executions of a run, by node."""
        store = self.store()
        context = store.get_context_by_type_and_name("pipeline_run", run_id)
        return {
            self._node_id(store, e.id): self._read(store, e)
            for e in store.get_executions_by_context(context.id)
        }

    @staticmethod
    def _node_id(store: ml_metadata.MetadataStore, execution_id: int) -> str:
        contexts = store.get_contexts_by_execution(execution_id)
        return next(c.name for c in contexts if c.type == "node").partition(".")[2]

    @staticmethod
    def _read(
        store: ml_metadata.MetadataStore, execution: metadata_store_pb2.Execution
    ) -> Execution:
        events = store.get_events_by_execution_ids([execution.id])
        inputs, outputs = (
            event_lib.reconstruct_artifact_id_multimap(
                [e for e in events if (e.type == metadata_store_pb2.Event.INPUT) is is_input]
            )
            for is_input in (True, False)
        )
        properties = {
            key: getattr(value, value.WhichOneof("value"))
            for key, value in execution.custom_properties.items()
        }
        return Execution(
            execution.id,
            STATES.Name(execution.last_known_state),
            inputs,
            outputs,
            str(properties.get("__execution_result__", "")),
            properties,
        )


def raw_row(example: Example, columns: Iterable[str]) -> dict[str, object]:
    """The columns of a row as a person would write them."""
    row: dict[str, object] = {}
    for column in columns:
        feature = example.features.feature[column]
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value if kind else []
        value = values[0] if values else None
        row[column] = value.decode() if isinstance(value, bytes) else value
    return row


def newest(project: SmallProject) -> str:
    """The id of the newest run."""
    return [run_id for run_id in project.run_ids() if "-span-" not in run_id][-1]
