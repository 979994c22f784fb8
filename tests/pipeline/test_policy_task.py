"""The package of the policy: what is in it, and that servers start it by the clock."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format
from kfp import components

import kubeflow_runner
from pipeline.__main__ import parser
from pipeline.cluster.kfp_connection import IN_CLUSTER_HOST
from pipeline.cluster.kfp_settings import Target
from pipeline.cluster.remote import Package
from pipeline.config import PROJECT
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.runners import policy_task
from tests.pipeline.kfp_server import KfpServer
from tests.pipeline.test_kfp_client import api  # noqa: F401  # a fixture
from tests.pipeline.test_vertex import Vertex
from tests.pipeline.test_vertex import api as vertex  # noqa: F401  # a fixture

CONFIG = PROJECT / "configs/flights-kubeflow.toml"
GOLDEN = Path(__file__).parent / "golden"
"""Made by UPDATE_GOLDEN=1 and this test; read the difference before you commit it."""
ON_VERTEX = [
    *("root='gs://bucket/flights'", "register.tracking_uri='https://mlflow.example.com'"),
    *("tasks.defaults.volumes={}", "vertex.project='my-project'", "vertex.location='us-east1'"),
]


def compiled(*overrides: str, target: Target = "kfp", file: Path = CONFIG) -> str:
    return policy_task.compile_package(load(CONFIG, overrides), file, overrides, target=target)


def words(package: str) -> list[str]:
    spec = next(yaml.safe_load_all(package))
    (executor,) = spec["deploymentSpec"]["executors"].values()
    container = executor["container"]
    return [*container["command"], *container["args"]]


@pytest.mark.parametrize(("target", "overrides"), [("kfp", []), ("vertex", ON_VERTEX)])
def test_the_example_s_package_is_the_golden_one_and_kfp_loads_it(
    target: Target, overrides: list[str]
) -> None:
    text = compiled(*overrides, target=target)
    assert components.load_component_from_text(text).component_spec.inputs is None
    said = re.sub(r"(?m)^sdkVersion: .*$", "sdkVersion: kfp", text)
    file = GOLDEN / f"continuous-{target}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(said)
    assert said == file.read_text()


def test_the_task_calls_the_policy_with_the_settings_it_was_compiled_with() -> None:
    given = ("data.window=2", 'kubeflow.host="http://localhost:8080"', 'kubeflow.auth="token"')
    said = words(compiled(*given))
    assert said[:3] == ["python", "-m", "pipeline"]
    arguments = parser().parse_args(said[3:])
    assert arguments.once and str(arguments.config) == "configs/flights-kubeflow.toml"
    # From within the cluster its server is reached in another way, whatever the file says.
    assert arguments.set[:2] == ["data.window=2", 'continuous.runner="kubeflow"']
    inside = load(CONFIG, ['kubeflow.auth="token"', *arguments.set]).kubeflow
    assert (inside.host, inside.auth) == (IN_CLUSTER_HOST, "none")
    assert not any("localhost" in word for word in said)


def test_on_vertex_it_starts_runs_there_and_its_time_is_limited() -> None:
    said = words(compiled(*ON_VERTEX, target="vertex"))
    assert said[:3] == ["timeout", "--kill-after=30", "43200"]
    assert said[-1] == 'continuous.runner="vertex"'


def test_where_a_token_of_the_pod_is_asked_for_the_cronjob_is_named() -> None:
    with pytest.raises(UserError, match="have the CronJob of deploy/kubernetes/continuous call"):
        compiled('kubeflow.auth="in-cluster"')
    compiled('kubeflow.auth="in-cluster"', *ON_VERTEX, target="vertex")


def test_a_configuration_that_the_image_does_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="put it into configs/"):
        compiled(file=tmp_path / "mine.toml")


def test_kubeflow_starts_it_by_the_clock_beside_the_schedule_of_the_runs(
    api: KfpServer,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--pipeline", "continuous", "--set", f"kubeflow.host={json.dumps(api.url)}"]
    options += ["--set", "continuous.look_cron='30 * * * *'"]
    assert kubeflow_runner.main(["schedule", *options]) == 0
    assert kubeflow_runner.main(["schedule", *options]) == 0
    assert "Nothing to do: this is already the schedule flights-continuous" in (
        capsys.readouterr().out
    )
    (made,) = api.things["recurringruns"]
    assert made["display_name"] == "flights-continuous"
    assert made["trigger"]["cron_schedule"] == {"cron": "0 30 * * * *"}
    assert (made["max_concurrency"], made["mode"]) == ("1", "ENABLE")
    (version,) = api.things["versions"]
    assert Package(version["package"]).tasks == ["continuous"]


def test_vertex_starts_it_by_the_clock(
    vertex: Vertex,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [word for text in ON_VERTEX for word in ("--set", text)]
    options += ["--target", "vertex", "--pipeline", "continuous"]
    options += ["--set", "store.url='postgresql://pipeline@10.0.0.3:5432/metadata'"]
    assert kubeflow_runner.main(["schedule", *options]) == 0
    (schedule,) = vertex.schedules
    assert schedule.display_name == "flights-continuous"
    assert schedule.max_concurrent_run_count == 1
    assert schedule.cron == "TZ=UTC 0 * * * *"
    job = types.PipelineJob.pb(schedule.create_pipeline_job_request.pipeline_job)
    spec = json_format.MessageToDict(job.pipeline_spec)
    assert list(spec["root"]["dag"]["tasks"]) == ["continuous"]
