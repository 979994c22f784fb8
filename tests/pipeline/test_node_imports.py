"""What a process that runs one node has imported when its executor begins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tfx.proto.orchestration import pipeline_pb2

from pipeline import config_file
from pipeline.compiler import compile_pipeline
from pipeline.config import PROJECT
from tests.pipeline.toy import compile_toy

FRUGAL = {
    *("SchemaGen", "PreviousStatistics", "Window", "AnalyzerCache", "LiveModel"),
    *("ModelSelector", "Canary", "Pusher", "Registrar", "Report"),
}
"""Nodes of the flights pipeline that begin, and mostly end, without TensorFlow."""
BEGIN = """
import json, sys
from pathlib import Path
from tfx.proto.orchestration import pipeline_pb2
from pipeline import node
ir = pipeline_pb2.Pipeline.FromString(Path(sys.argv[1]).read_bytes())
node._import_launcher()
for node_id in sys.argv[2:]:
    node.executor_class(ir, node_id)
print(json.dumps(sorted(sys.modules)))
"""
RUN = """
import json, sys
from pipeline import node
code = node.main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)))
sys.exit(code)
"""


def modules_after(code: str, *arguments: str | Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> tuple[pipeline_pb2.Pipeline, Path]:
    """The flights pipeline, and the file that holds it."""
    overrides = ["tune.trials=1", 'train.frameworks=["keras", "sklearn", "xgboost"]']
    config = config_file.load(PROJECT / "configs/flights.toml", overrides)
    ir = compile_pipeline(config)
    file = tmp_path_factory.mktemp("compiled") / "pipeline.pb"
    file.write_bytes(ir.SerializeToString())
    return ir, file


def test_nodes_that_need_no_tensorflow_begin_without_it(
    flights: tuple[pipeline_pb2.Pipeline, Path],
) -> None:
    ir, file = flights
    assert {e.pipeline_node.node_info.id for e in ir.nodes} >= FRUGAL
    assert not modules_after(BEGIN, file, *FRUGAL) & {"tensorflow", "tensorflow_data_validation"}
    without_functions = FRUGAL - {"ModelSelector"}  # TFX's function components name Beam's class.
    assert "apache_beam" not in modules_after(BEGIN, file, *without_functions)


def test_no_node_imports_what_only_defines_or_submits_pipelines(
    flights: tuple[pipeline_pb2.Pipeline, Path],
) -> None:
    ir, file = flights
    imported = modules_after(BEGIN, file, *(e.pipeline_node.node_info.id for e in ir.nodes))
    assert "tensorflow" in imported
    assert not imported & {"tfx.v1", "google.cloud.aiplatform", "kfp", "kfp.dsl"}


def test_a_whole_node_runs_without_tensorflow(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.pb"
    file.write_bytes(compile_toy(str(tmp_path)).SerializeToString())
    store = f"sqlite://{tmp_path}/metadata.sqlite"
    for node_id in ("Source", "Left"):
        words = ["--ir", file, "--node-id", node_id, "--run-id", "one", "--store", store]
        assert not modules_after(RUN, *words) & {"tensorflow", "tfx.v1", "kfp"}
