"""Seconds from the start of a node's process to its executor's first line, beside TFX's own.

python -m benchmarks.node_start [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import project
from benchmarks.measure import CommandFailed, measure
from benchmarks.report_node_start import node_start

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

FOLDER = project.OUTPUT / "node_start"
CONFIG = "configs/flights.toml"
ENTRY_POINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
REFERENCES = ("tfx.v1", "tensorflow")
"""What a process that imports nothing else is timed with."""
_FAILED = 4
_REOPEN = """UPDATE Execution SET last_known_state = ? WHERE id IN (
SELECT execution_id FROM Association JOIN Context ON Context.id = context_id WHERE name = ?)"""


def make_store(root: Path) -> None:
    """Runs the flights pipeline in `root` on one span, unless a run there came to its end."""
    with contextlib.suppress(FileNotFoundError):
        if json.loads((project.newest_run(root) / "run.json").read_text())["finished"]:
            return
    frameworks = ["keras", "sklearn", "xgboost"]
    if importlib.util.find_spec("torch"):
        frameworks.append("pytorch")
    settings = {
        "root": root,
        "data.span": 1,
        "data.window": 1,
        "train.frameworks": json.dumps(frameworks),
        "train.keras.max_epochs": 2,
        "train.pytorch.max_epochs": 2,
        "evaluate.thresholds.auc.min": 0.5,
        "evaluate.guards": "[]",
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    project.run(project.PROJECT, CONFIG, *words, log=FOLDER / "run.log")


class Nodes:
    """The nodes of the newest run below `root`, and how to start them."""

    def __init__(self, root: Path) -> None:
        """Reads the compiled pipeline of that run."""
        from tfx.proto.orchestration import pipeline_pb2
        from tfx.utils import name_utils

        from pipeline.cluster import packed
        from pipeline.node import executor_class

        self._run = project.newest_run(root)
        self._store = root / "metadata.sqlite"
        self._ir = pipeline_pb2.Pipeline.FromString((self._run / "pipeline.pb").read_bytes())
        self._text = packed.pack(self._ir)
        self.classes: dict[str, str] = {}
        for entry in self._ir.nodes:
            node_id = entry.pipeline_node.node_info.id
            executor = executor_class(self._ir, node_id)
            self.classes[node_id] = name_utils.get_full_name(executor) if executor else ""

    def groups(self) -> dict[str, list[str]]:
        """Nodes by the name of the first that has the same executor: they start the same way."""
        first: dict[str, str] = {}
        found: dict[str, list[str]] = {}
        for node_id, class_path in self.classes.items():
            leader = first.setdefault(class_path, node_id) if class_path else node_id
            found.setdefault(leader, []).append(node_id)
        return found

    def ours(self, node_id: str, scratch: Path) -> list[str | Path]:
        """The command of this project's container, on a store where the node is still to run."""
        store = scratch / "metadata.sqlite"
        shutil.copy(self._store, store)
        with contextlib.closing(sqlite3.connect(store)) as opened, opened:
            opened.execute(_REOPEN, (_FAILED, f"{self._ir.pipeline_info.id}.{node_id}"))
        job = ["--ir-gzip", self._text, "--node-id", node_id, "--run-id", self._run.name]
        return [
            "pipeline.node",
            *job,
            "--store",
            f"sqlite://{store}",
            "--span",
            "1",
            "--force=true",
        ]

    def theirs(self, node_id: str, scratch: Path) -> list[str | Path]:
        """The command of TFX's container for the same executor, inputs and outputs."""
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2
        from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as utils
        from tfx.types import artifact_utils
        from tfx.utils import name_utils

        given = pipeline_spec_pb2.ExecutorInput()
        given.outputs.output_file = str(scratch / "task" / "output.json")
        for (side, key), artifacts in self._artifacts(node_id).items():
            for mlmd_type, mlmd_artifact in artifacts:
                artifact = artifact_utils.deserialize_artifact(mlmd_type, mlmd_artifact)
                message = utils.to_runtime_artifact(artifact, {artifact.id: str(artifact.id)})
                class_path = name_utils.get_full_name(type(artifact))
                message.type.instance_schema = f"title: {class_path}"
                getattr(given, side).artifacts[key].artifacts.append(message)
        for key, value in self._node(node_id).parameters.parameters.items():
            if kind := value.field_value.WhichOneof("value"):
                setattr(given.inputs.parameters[key], kind, getattr(value.field_value, kind))
        arguments = ["--executor_class_path", self.classes[node_id]]
        text = json_format.MessageToJson(given, indent=None)
        return [ENTRY_POINT, *arguments, "--json_serialized_invocation_args", text]

    def _node(self, node_id: str) -> pipeline_pb2.PipelineNode:
        return next(
            entry.pipeline_node
            for entry in self._ir.nodes
            if entry.pipeline_node.node_info.id == node_id
        )

    def _artifacts(self, node_id: str) -> dict[tuple[str, str], list[Any]]:
        """Types and artifacts of the node's last execution, by side and key."""
        import ml_metadata
        from ml_metadata.proto import metadata_store_pb2
        from tfx.orchestration.portable.mlmd import event_lib

        from pipeline.store.connect import connection_to

        store = ml_metadata.MetadataStore(connection_to(f"sqlite://{self._store}"))
        name = f"{self._ir.pipeline_info.id}.{node_id}"
        context = store.get_context_by_type_and_name("node", name)
        execution = max(e.id for e in store.get_executions_by_context(context.id))
        events = store.get_events_by_execution_ids([execution])
        found = {}
        for side, kind in (("inputs", "INPUT"), ("outputs", "OUTPUT")):
            wanted = metadata_store_pb2.Event.Type.Value(kind)
            of_kind = [event for event in events if event.type == wanted]
            for key, ids in event_lib.reconstruct_artifact_id_multimap(of_kind).items():
                artifacts = store.get_artifacts_by_id(ids)
                found[side, key] = [
                    (store.get_artifact_types_by_id([a.type_id])[0], a) for a in artifacts
                ]
        return found


def timed(command: Sequence[str | Path], figures: Path) -> dict[str, Any]:
    """Runs `command`, which writes `figures`, and says how long it took until then."""
    figures.unlink(missing_ok=True)
    begin = time.monotonic()
    measure(command, cwd=project.PROJECT, log=FOLDER / "last.log")
    facts = json.loads(figures.read_text())
    return {"seconds": facts.pop("at") - begin, **facts}


def least(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The least of each figure: what disturbs a measurement only ever adds to it.

    TensorFlow's part is that of the run that took the least.
    """
    fastest = min(runs, key=lambda run: float(run["seconds"]))
    return fastest | {
        "seconds": round(fastest["seconds"], 2),
        "tensorflow_seconds": round(fastest["tensorflow_seconds"], 2),
        "cpu": round(min(run["cpu"] for run in runs), 2),
    }


Side = tuple[str, str]
"""`import` and a module; or `ours` or `tfx` and a node."""


def measured(nodes: Nodes, rounds: int) -> tuple[dict[Side, dict[str, Any]], dict[Side, str]]:
    """The least of what the references and both sides' nodes took, in turn; and what failed."""
    file = FOLDER / "first_line.json"
    write = f"from benchmarks import first_line as f; f.write(f.Path({str(file)!r}))"
    runs: dict[Side, list[dict[str, Any]]] = {}
    errors: dict[Side, str] = {}
    sides = [("import", module) for module in REFERENCES]
    for leader in nodes.groups():
        sides.append(("ours", leader))
        if nodes.classes[leader]:
            sides.append(("tfx", leader))
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for side, name in sides:
            if (side, name) in errors:
                continue
            if side == "import":
                command = [sys.executable, "-c", f"import {name}; {write}"]
            else:
                job = (nodes.ours if side == "ours" else nodes.theirs)(name, FOLDER)
                until = [sys.executable, "-m", "benchmarks.first_line", file]
                command = [*until, nodes.classes[name] or "none", *job]
            try:
                runs.setdefault((side, name), []).append(timed(command, file))
            except CommandFailed as failure:
                errors[side, name] = project.reason(failure)
    return {key: least(found) for key, found in runs.items() if found}, errors


def main() -> int:
    """Times the nodes and their references and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    root = FOLDER / "root"
    make_store(root)
    nodes = Nodes(root)
    took, errors = measured(nodes, arguments.rounds)
    rows: list[dict[str, Any]] = []
    for leader, group in nodes.groups().items():
        rows.append({"nodes": group, "executor": bool(nodes.classes[leader])})
        for side in ("ours", "tfx"):
            if (side, leader) in errors:
                rows[-1][f"{side}_error"] = errors[side, leader]
            elif (side, leader) in took:
                rows[-1][side] = took[side, leader]
    figures = {
        "rounds": arguments.rounds,
        "imports": {module: took["import", module] for module in REFERENCES},
        "nodes": rows,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(node_start(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
