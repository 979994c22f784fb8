from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.proto.orchestration import pipeline_pb2

from pipeline import config_file
from pipeline.cluster import packed
from pipeline.cluster.kfp_settings import Target
from pipeline.cluster.reach import problems
from pipeline.cluster_config import Retries, TaskSettings, Toleration
from pipeline.compiler import compile_pipeline
from pipeline.config import PROJECT, PipelineConfig
from pipeline.errors import UserError
from pipeline.runners import kubeflow
from pipeline.runners.kubeflow import compile_package
from tests.pipeline.toy import compile_toy

CONFIG = PROJECT / "configs/flights-kubeflow.toml"
GOLDEN = Path(__file__).parent / "golden"
UPDATE = "UPDATE_GOLDEN=1 python -m pytest tests/pipeline/test_kubeflow_package.py"
BUCKET = ["root=gs://bucket/flights", "register.tracking_uri=https://mlflow.example.com"]
ON_VERTEX = [*BUCKET, "tasks.defaults.volumes={}"]


def config_of(*overrides: str) -> PipelineConfig:
    return config_file.load(CONFIG, overrides)


def with_tasks(config: PipelineConfig, **sections: Any) -> PipelineConfig:
    return config.model_copy(update={"tasks": config.tasks.model_copy(update=sections)})


def with_task(
    task_id: str, config: PipelineConfig | None = None, **settings: Any
) -> PipelineConfig:
    return with_tasks(config or config_of(), nodes={task_id: TaskSettings(**settings)})


class Compiled:
    """A package, and what a test asks of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spec, *platform = yaml.safe_load_all(text)
        self.platform = platform[0]["platforms"]["kubernetes"] if platform else {}

    @property
    def nodes(self) -> dict[str, Any]:
        tasks: dict[str, Any] = self.spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
        return tasks

    @property
    def finish(self) -> dict[str, Any]:
        task: dict[str, Any] = self.spec["root"]["dag"]["tasks"]["finish"]
        return task

    def container(self, task: str) -> dict[str, Any]:
        executor: dict[str, Any] = self.spec["deploymentSpec"]["executors"][f"exec-{task}"]
        return executor["container"]

    def on_kubernetes(self, task: str) -> dict[str, Any]:
        executor: dict[str, Any] = self.platform["deploymentSpec"]["executors"][f"exec-{task}"]
        return executor

    def argument(self, task: str, name: str) -> str:
        arguments = self.container(task)["args"]
        value: str = arguments[arguments.index(name) + 1]
        return value


@pytest.fixture(scope="module")
def ir() -> pipeline_pb2.Pipeline:
    return compile_pipeline(config_of())


@pytest.fixture(scope="module")
def package() -> Compiled:
    return Compiled(compile_package(config_of()))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes a graph of four nodes, to try settings on."""
    toy = compile_toy("/pipeline/toy")
    monkeypatch.setattr(kubeflow, "compile_pipeline", lambda config: toy)


@pytest.mark.parametrize(("target", "overrides"), [("kfp", []), ("vertex", ON_VERTEX)])
def test_the_example_s_package_is_the_golden_one(target: Target, overrides: list[str]) -> None:
    text = compile_package(config_of(*overrides), target=target)
    first = Compiled(text)
    text = text.replace(first.argument("init", "--ir-gzip"), "THE COMPILED PIPELINE")
    text = text.replace(first.argument("init", "--config-gzip"), "THE CONFIGURATION")
    text = re.sub(r"(?m)^sdkVersion: .*$", "sdkVersion: kfp", text)
    file = GOLDEN / f"flights-{target}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"if that is what you want: {UPDATE}"


def test_a_clone_in_another_folder_compiles_the_same_bytes(
    package: Compiled, tmp_path: Path
) -> None:
    for folder in ("pipeline", "models", "custom_components", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=ignored)
    schema = "data/flights/schema.pbtxt"
    (tmp_path / schema).parent.mkdir(parents=True)
    shutil.copy(PROJECT / schema, tmp_path / schema)
    script = (
        "import pathlib, sys\n"
        "from pipeline import config_file\n"
        "from pipeline.runners.kubeflow import compile_package\n"
        "config = config_file.load(pathlib.Path('configs/flights-kubeflow.toml'))\n"
        "pathlib.Path('package.yaml').write_text(compile_package(config))"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "17"},
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "package.yaml").read_text() == package.text


def test_kfp_s_own_loader_and_messages_take_it(package: Compiled) -> None:
    assert components.load_component_from_text(package.text).name == "flights"
    spec = json_format.ParseDict(package.spec, pipeline_spec_pb2.PipelineSpec())
    assert spec.schema_version == "2.1.0"
    for executor in package.platform["deploymentSpec"]["executors"].values():
        json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def test_every_node_is_a_container_that_waits_for_what_it_waits_for_in_the_graph(
    package: Compiled, ir: pipeline_pb2.Pipeline
) -> None:
    nodes = [entry.pipeline_node for entry in ir.nodes]
    task_of = {node.node_info.id: node.node_info.id.lower().replace(".", "-") for node in nodes}
    assert set(package.nodes) == {"init", "backfill", *task_of.values()}
    for node in nodes:
        task = package.nodes[task_of[node.node_info.id]]
        upstream = {task_of[needed] for needed in node.upstream_nodes} or {"backfill"}
        assert set(task["dependentTasks"]) == upstream | {"init"}
        assert task["taskInfo"]["name"] == node.node_info.id
        name = task_of[node.node_info.id]
        assert package.container(name)["command"] == ["python", "-m", "pipeline.node"]
        assert package.argument(name, "--node-id") == node.node_info.id
    assert package.nodes["backfill"]["dependentTasks"] == ["init"]
    assert package.finish["dependentTasks"] == ["exit-handler-1"]


@pytest.mark.usefixtures("quick")
def test_without_a_window_nothing_is_made_up_for() -> None:
    package = Compiled(compile_package(config_of("data.window=1")))
    assert "backfill" not in package.nodes
    assert package.nodes["source"]["dependentTasks"] == ["init"]


def test_kfp_s_cache_is_off_for_every_task(package: Compiled) -> None:
    for task in [*package.nodes.values(), package.finish]:
        assert task["cachingOptions"] == {}


def test_containers_are_told_run_span_note_and_force(package: Compiled) -> None:
    for task in package.nodes.values():
        inputs = task["inputs"]["parameters"]
        assert inputs["run_id"] == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
        assert inputs["note"] == {"componentInputParameter": "pipelinechannel--note"}
        assert inputs["force"] == {"componentInputParameter": "pipelinechannel--force"}
    chosen = {"outputParameterKey": "chosen_span", "producerTask": "init"}
    assert package.nodes["transform"]["inputs"]["parameters"]["span"] == {
        "taskOutputParameter": chosen
    }
    defaults = package.spec["root"]["inputDefinitions"]["parameters"]
    assert {name: entry["defaultValue"] for name, entry in defaults.items()} == {
        "span": "",
        "note": "",
        "force": False,
    }


def test_no_argument_is_longer_than_linux_takes(package: Compiled) -> None:
    assert max(len(argument.encode()) for argument in _arguments(package)) < packed.MAX_BYTES


def test_the_packed_pipeline_and_configuration_are_those_of_the_package(
    package: Compiled, ir: pipeline_pb2.Pipeline
) -> None:
    for task in ("init", "backfill", "finish", "trainer-keras"):
        assert packed.unpack(package.argument(task, "--ir-gzip")) == ir
    text = packed.unpack_text(package.argument("init", "--config-gzip"))
    assert PipelineConfig.model_validate_json(text, strict=True) == config_of()


@pytest.mark.usefixtures("quick")
def test_settings_of_a_task_reach_its_pod() -> None:
    config = with_task(
        "Left",
        image="registry.example.com/gpu:1",
        cpu_limit="4",
        accelerator="nvidia.com/gpu",
        accelerator_count=2,
        node_selector={"pool": "gpu"},
        tolerations=(Toleration(key="gpu", operator="Equal", value="yes", effect="NoSchedule"),),
        retries=Retries(count=5, backoff_seconds=7, backoff_factor=3.0, backoff_max_seconds=60),
        timeout_seconds=90,
        secrets={"TOKEN": "tokens/one"},
        environment={"COLOUR": "blue"},
        volumes={"scratch": "/scratch"},
    )
    package = Compiled(compile_package(config))

    container, pod = package.container("left"), package.on_kubernetes("left")
    assert container["image"] == "registry.example.com/gpu:1"
    assert container["env"] == [{"name": "COLOUR", "value": "blue"}]
    assert container["resources"]["resourceCpuLimit"] == "4"
    assert container["resources"]["resourceCpuRequest"] == "500m"
    assert container["resources"]["resourceMemoryLimit"] == "4Gi"
    assert container["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert container["resources"]["accelerator"]["resourceCount"] == "2"
    assert package.nodes["left"]["retryPolicy"] == {
        "maxRetryCount": 5,
        "backoffDuration": "7s",
        "backoffFactor": 3.0,
        "backoffMaxDuration": "60s",
    }
    assert pod["activeDeadlineSeconds"] == "90"
    assert pod["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert pod["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    ]
    variables = {
        key["envVar"]: (secret["secretName"], key["secretKey"])
        for secret in pod["secretAsEnv"]
        for key in secret["keyToEnv"]
    }
    assert variables == {
        "PIPELINE_STORE_PASSWORD": ("metadata-store", "password"),
        "TOKEN": ("tokens", "one"),
    }
    mounts = {mount["constant"]: mount["mountPath"] for mount in pod["pvcMount"]}
    assert mounts == {"pipeline-root": "/pipeline", "scratch": "/scratch"}
    assert package.container("right")["image"].endswith("/flights:latest")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("task", ["init", "backfill", "finish"])
def test_tasks_that_are_no_nodes_have_settings_too(task: str) -> None:
    package = Compiled(compile_package(with_task(task, memory_limit="512Mi", timeout_seconds=7)))
    assert package.container(task)["resources"]["resourceMemoryLimit"] == "512Mi"
    assert package.on_kubernetes(task)["activeDeadlineSeconds"] == "7"


@pytest.mark.usefixtures("quick")
def test_secrets_by_which_images_are_pulled_are_every_pod_s() -> None:
    package = Compiled(compile_package(config_of('tasks.image_pull_secrets=["registry"]')))
    for pod in package.platform["deploymentSpec"]["executors"].values():
        assert [secret["secretName"] for secret in pod["imagePullSecret"]] == ["registry"]


@pytest.mark.usefixtures("quick")
def test_every_task_is_told_the_file_of_the_store_s_password() -> None:
    package = Compiled(compile_package(config_of("store.password_file=/secrets/password")))
    variable = {"name": "PIPELINE_STORE_PASSWORD_FILE", "value": "/secrets/password"}
    for executor in package.spec["deploymentSpec"]["executors"].values():
        assert variable in executor["container"]["env"]


@pytest.mark.usefixtures("quick")
def test_finish_is_told_the_webhook() -> None:
    package = Compiled(compile_package(config_of("kubeflow.webhook=https://chat.example.com")))
    assert package.argument("finish", "--webhook") == "https://chat.example.com"


@pytest.mark.usefixtures("quick")
def test_a_setting_for_a_task_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no task 'Trainer\.kreas'; did you mean Trainer\.keras\?"):
        compile_package(with_task("Trainer.kreas", cpu="1"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("task_id", ["Tuner.keras", "ExportEvaluation", "compare"])
def test_a_setting_for_a_task_that_another_setting_brings_is_no_mistake(task_id: str) -> None:
    compile_package(with_task(task_id, cpu="1"))


@pytest.mark.usefixtures("quick")
def test_an_image_has_to_be_named() -> None:
    config = config_of()
    defaults = config.tasks.defaults.model_copy(update={"image": None})
    with pytest.raises(UserError, match=r"no container image: set tasks\.defaults\.image"):
        compile_package(with_tasks(config, defaults=defaults))


@pytest.mark.usefixtures("quick")
def test_an_amount_that_kfp_does_not_take_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"tasks: memory of Left is '0\.5Gi'"):
        compile_package(with_task("Left", memory="0.5Gi"))


@pytest.mark.usefixtures("quick")
def test_vertex_gets_no_kubernetes_and_the_names_of_secrets_alone() -> None:
    package = Compiled(compile_package(config_of(*ON_VERTEX), target="vertex"))
    assert package.platform == {}
    container = package.container("left")
    (variable,) = container["env"]
    assert variable["name"] == "PIPELINE_SECRETS"
    assert json.loads(variable["value"]) == {
        "PIPELINE_STORE_PASSWORD": "projects/my-project/secrets/metadata-store/versions/password"
    }
    assert container["command"][:3] == ["timeout", "--kill-after=30", "3600"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"volumes": {"data": "/data"}}, "volumes of Left: Vertex has no such thing; put"),
        ({"node_selector": {"pool": "gpu"}}, "node_selector of Left: .*; choose the machine"),
        ({"tolerations": (Toleration(key="gpu"),)}, "tolerations of Left: .*; choose"),
    ],
)
def test_vertex_refuses_what_only_kubernetes_has(settings: dict[str, Any], message: str) -> None:
    config = with_task("Left", config=config_of(*ON_VERTEX), **settings)
    with pytest.raises(UserError, match=message):
        compile_package(config, target="vertex")


@pytest.mark.parametrize(
    ("target", "overrides", "expected"),
    [
        ("kfp", [], []),
        ("kfp", BUCKET, []),
        ("vertex", BUCKET, []),
        ("vertex", [], ["root is /pipeline/flights: Vertex"]),
        ("kfp", ["root=output/flights"], [r"root is .*output/flights, which no volume holds"]),
        ("kfp", ["root=/pipelines"], ["root is /pipelines, which no volume holds"]),
        ("kfp", ["store.url=sqlite:////pipeline/a.db"], ["the locks of an sqlite file do not"]),
        ("kfp", ["store.url=sqlite:////pipeline/a.db", "tasks.one_machine=true"], []),
        (
            "vertex",
            [*BUCKET, "store.url=sqlite:////pipeline/a.db", "tasks.one_machine=true"],
            ["the locks of an sqlite file do not"],
        ),
        ("kfp", ["root=s3://bucket/flights"], ["register.tracking_uri is sqlite:"]),
        ("kfp", ["root=s3://bucket/flights", "register.enabled=false"], []),
    ],
)
def test_what_a_cluster_cannot_reach_is_told(
    target: Target, overrides: list[str], expected: list[str]
) -> None:
    found = problems(config_of(*overrides), target)
    assert len(found) == len(expected)
    for sentence, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, sentence)


def _arguments(package: Compiled) -> Iterator[str]:
    for executor in package.spec["deploymentSpec"]["executors"].values():
        yield from executor["container"]["args"]
