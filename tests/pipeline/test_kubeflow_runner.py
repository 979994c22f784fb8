"""kubeflow_runner.py: what is typed, what it does, and what it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kubeflow_runner
from kubeflow_runner import main
from pipeline.cluster.remote import Package
from pipeline.config import PROJECT
from tests.pipeline.kfp_server import KfpServer, kfp_server
from tests.pipeline.test_kfp_client import PACKAGE

HEAVY = (
    "tensorflow",
    "tfx",
    "kfp",
    "kfp_server_api",
    "google.cloud.aiplatform_v1",
    "pydantic",
    "rich",
)
LOCAL = """
pipelineInfo: {name: small}
schemaVersion: 2.1.0
components:
  comp-say:
    executorLabel: exec-say
    inputDefinitions: {parameters: {word: {parameterType: STRING}}}
deploymentSpec:
  executors:
    exec-say:
      container:
        image: any
        command: [python, -c, "import sys; sys.exit(sys.argv[1] == 'bad')"]
        args: ["{{$.inputs.parameters['word']}}"]
root:
  inputDefinitions:
    parameters: {note: {parameterType: STRING, defaultValue: "", isOptional: true}}
  dag:
    tasks:
      say:
        componentRef: {name: comp-say}
        inputs: {parameters: {word: {componentInputParameter: note}}}
        taskInfo: {name: say}
"""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    monkeypatch.chdir(tmp_path)
    with kfp_server() as server:
        yield server
        assert server.refused == []


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of the compiler; the problems that it is to find."""
    problems: list[str] = []
    monkeypatch.setattr(kubeflow_runner, "_compiled", lambda *_: (PACKAGE, problems))
    return problems


def there(api: KfpServer) -> list[str]:
    return ["--set", f"kubeflow.host='{api.url}'", "--set", "schedule.cron='0 6 2 * *'"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "run-local"),
        (["submit", "--help"], 0, "--dry-run"),
        (["compile", "--pipeline", "tfx"], 2, "--pipeline tfx is for --target vertex"),
        (["schedule", "--pause", "--dry-run"], 2, "--pause sends no package"),
        (["schedule", "--pause", "--resume"], 2, "not allowed with"),
        (["run-local", "nope.yaml", "--jobs", "0"], 2, "--jobs must be 1 or more"),
    ],
)
def test_help_and_mistakes_import_nothing_heavy(arguments: list[str], code: int, said: str) -> None:
    script = (
        "import sys\nfrom kubeflow_runner import main\n"
        f"try:\n    code = main({arguments!r})\nexcept SystemExit as end:\n    code = end.code\n"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{code} []"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "--config", "nope.toml"], "no such configuration file"),
        (["status", "--set", "kubeflow.hots='x'"], "did you mean host?"),
        (["status", "--target", "vertex", "--set", "root='/data'"], "set it to gs://BUCKET/FOLDER"),
        (["run-local", "nope.yaml"], "there is no package nope.yaml"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("kubeflow_runner.py: ")


def test_a_package_is_compiled_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frameworks = ["--set", "train.frameworks=['sklearn']"]
    assert main(["compile", *frameworks, "--set", "root='/nowhere'"]) == 0
    said = capsys.readouterr().out
    package = Package.read(Path("build/flights.yaml"))
    assert {"init", "finish"} <= set(package.tasks)
    assert f"Compiled flights to build/flights.yaml: {len(package.tasks)} tasks, " in said
    assert "Warning: root is /nowhere, which no volume holds" in said
    assert "kubeflow_runner.py submit --set 'train.frameworks=['" in said
    assert "kubeflow_runner.py run-local build/flights.yaml" in said


def test_a_run_is_started_and_followed(
    api: KfpServer, compiled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sent = ["--output", "flights.yaml", "--param", "span=3", "--param", "force=true"]
    assert main(["submit", *there(api), *sent]) == 0
    said = capsys.readouterr().out
    (run,) = api.things["runs"]
    assert run["runtime_config"]["parameters"] == {"span": "3", "force": True}
    assert f"Started run {run['run_id']}: {api.url}/#/runs/details/{run['run_id']}" in said
    assert f"kubeflow_runner.py status {run['run_id']} --set" in said
    assert Path("flights.yaml").read_text() == PACKAGE.text

    assert main(["status", *there(api)]) == 0
    assert f"{run['run_id']}  PENDING  2026-01-01 00:00" in capsys.readouterr().out
    details = [{"display_name": "Trainer", "state": "FAILED", "error": {"message": "no memory"}}]
    run |= {"state": "FAILED", "run_details": {"task_details": details}}
    assert main(["status", run["run_id"], *there(api)]) == 1
    said = capsys.readouterr().out
    assert "Trainer failed: no memory" in said
    run["state"] = "RUNNING"
    assert main(["cancel", run["run_id"], *there(api)]) == 0
    assert run["state"] == "CANCELING"


def test_where_there_is_no_run_yet_it_says_how_to_start_one(
    api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", *there(api)]) == 0
    assert "kubeflow_runner.py submit" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["submit", "schedule"])
def test_a_dry_run_says_what_would_be_sent_and_contacts_nothing(
    command: str, api: KfpServer, compiled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *there(api), "--dry-run", "--param", "span=3"]) == 0
    said = capsys.readouterr().out
    assert f"version          {PACKAGE.version}" in said
    assert ("cron" in said) == (command == "schedule")
    assert api.requests == []


@pytest.mark.parametrize("command", ["submit", "schedule"])
def test_what_would_fail_is_not_sent(
    command: str, api: KfpServer, compiled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    compiled.append("store.url is sqlite:///x: name a server")
    assert main([command, *there(api)]) == 2
    assert "the run would fail: store.url is sqlite:///x" in capsys.readouterr().err
    compiled.clear()
    assert main([command, *there(api), "--param", "spna=3"]) == 2
    assert "there is no parameter 'spna'" in capsys.readouterr().err
    assert api.requests == []


def test_a_schedule_is_made_paused_resumed_and_deleted(
    api: KfpServer, compiled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", *there(api)]) == 0
    (made,) = api.things["recurringruns"]
    for option, mode in (("--pause", "DISABLE"), ("--resume", "ENABLE")):
        assert main(["schedule", *there(api), option]) == 0
        assert made["mode"] == mode
    assert main(["schedule", *there(api), "--delete"]) == 0
    assert api.things["recurringruns"] == []
    assert main(["schedule", *there(api), "--delete"]) == 2
    assert "There is no schedule flights" in capsys.readouterr().err


def test_the_train_only_pipeline_has_a_name_of_its_own(api: KfpServer, compiled: list[str]) -> None:
    assert main(["schedule", *there(api)]) == 0
    assert main(["schedule", *there(api), "--pipeline", "train-only"]) == 0
    names = [run["display_name"] for run in api.things["recurringruns"]]
    assert names == ["flights", "flights-train-only"]


def test_a_package_runs_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(LOCAL)
    assert main(["run-local", "small.yaml"]) == 0
    assert "say                            succeeded" in capsys.readouterr().out
    assert main(["run-local", "small.yaml", "--param", "note=bad", "--run-id", "this"]) == 1
    said = capsys.readouterr().out
    assert "say                            failed" in said
    assert "run-local small.yaml --run-id this --param note=bad" in said
    assert main(["run-local", "small.yaml", "--param", "nota=bad"]) == 2
