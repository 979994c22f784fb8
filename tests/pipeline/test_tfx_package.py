"""What TFX's own runner for Vertex makes of the pipeline, held to a golden file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from kfp import components
from tfx.utils import import_utils

import custom_components
from custom_components import artifacts
from pipeline.cluster.remote import Package
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.runners.tfx_package import compile_package

GOLDEN = Path(__file__).parent / "golden/tfx-vertex.yaml"
"""Made by UPDATE_GOLDEN=1 and this test; read the difference before you commit it."""

SMALL = """
name = "small"
root = "gs://bucket/small"

[data]
path = "gs://bucket/data"
pattern = "span-{SPAN}/*.csv"
window = 1

[features]
label = "late"
numeric = ["distance"]

[train]
frameworks = ["sklearn"]

[tasks.defaults]
image = "registry.example.com/small:1"

[tasks.nodes."Trainer.sklearn"]
image = "registry.example.com/trainer:1"
"""


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return load(file)


def test_the_package_is_the_golden_one(config: PipelineConfig) -> None:
    text = compile_package(config)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert str(PROJECT) not in text
    assert components.load_component_from_text(text).name == "small"
    assert "Trainer.sklearn" in Package(text).tasks


def test_resolvers_ask_vertex_for_what_earlier_runs_made() -> None:
    spec = yaml.safe_load(GOLDEN.read_text())
    queries = {
        name: executor["resolver"]["outputArtifactQueries"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
        if "resolver" in executor
    }
    assert sorted(queries) == ["LiveModel_executor", "PreviousStatistics_executor"]
    assert queries["LiveModel_executor"]["live"] == {
        "filter": 'schema_title="tfx.PushedModel" AND state=LIVE'
    }
    transform = spec["root"]["dag"]["tasks"]["Transform"]
    assert {"DataGate", "Preflight"} <= set(transform["dependentTasks"])


def test_vertex_finds_our_types_of_artifacts_where_it_imports_them() -> None:
    titles = {
        yaml.safe_load(output["artifactType"]["instanceSchema"])["title"]
        for component in yaml.safe_load(GOLDEN.read_text())["components"].values()
        for output in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    }
    assert "custom_components.GateReport" in titles
    for name in custom_components.ARTIFACTS:
        found = import_utils.import_class_by_path(f"custom_components.{name}")
        assert found is getattr(artifacts, name)
    assert artifacts.GateReport.TYPE_NAME == "GateReport"
    assert artifacts.GateReport.PROPERTIES


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.window=2", r"data\.window is 2, .*node Window.*Use --pipeline nodes"),
        ("data.window=expanding", r"data\.window is expanding, .*set data\.window=1"),
        ("train.frameworks=['sklearn', 'keras']", "sklearn, keras, .*Evaluator.*: leave one"),
        ("tasks.defaults={}", r"tasks\.defaults\.image is not set"),
    ],
)
def test_what_tfx_cannot_express_is_refused_with_the_reason(
    tmp_path: Path, override: str, said: str
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    with pytest.raises(UserError, match=said):
        compile_package(load(file, [override]))
