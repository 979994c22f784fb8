"""The DAG in Airflow 2.11 and 3, each in an environment of its own, which `make airflow` makes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster import kfp_package
from pipeline.config import PROJECT
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.runners import airflow as compiler
from pipeline.runners import kubeflow
from pipeline.store import decisions, record
from tests.deploy.airflows import CLUSTER, DAG_FILE, TOY, Airflow, started
from tests.end_to_end.project import SmallProject
from tools import airflow

KUBEFLOW = PROJECT / "configs/flights-kubeflow.toml"
ONE = {"train__frameworks": '["sklearn"]'}
"""The settings of the pipeline that is run whole."""


@pytest.fixture(scope="module", params=["3", "2"])
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """One Airflow after the other."""
    return started(request.param, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the plan of the flights on a cluster."""
    folder = tmp_path_factory.mktemp("plans")
    text = compiler.compile_plan(load(KUBEFLOW), ["span=newest"])
    (folder / "flights.airflow.json").write_text(text)
    return folder


def test_dag_file_imports_only_airflow_and_what_comes_with_it() -> None:
    names = set()
    for node in ast.walk(ast.parse(DAG_FILE.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert names - set(sys.stdlib_module_names) == {"airflow"}


def test_plan_has_the_tasks_of_the_kubeflow_package(plans: Path, tmp_path: Path) -> None:
    plan = json.loads((plans / "flights.airflow.json").read_text())
    (tmp_path / "flights.yaml").write_text(kubeflow.compile_package(load(KUBEFLOW)))
    package = kfp_package.read(tmp_path / "flights.yaml", {})
    packed = {"{config}": plan["config"], "{pipeline}": plan["pipeline"]}

    def options(words: list[str]) -> dict[str, str | None]:
        """The options, with those values that are known before a run."""
        values = dict(zip(words[::2], words[1::2], strict=True))
        del values["--store"]
        values.pop("--runner", None), values.pop("--image", None)
        return {key: None if "{" in value else value for key, value in values.items()}

    theirs = {task.name: task for task in package.tasks}
    assert {task["id"] for task in plan["tasks"]} == set(theirs)
    for task in plan["tasks"]:
        command = [str(word) for word in theirs[task["id"]].command]
        assert command[:3] == ["python", "-m", task["module"]]
        mine = [packed.get(word, word) for word in task["arguments"]]
        assert options(mine) == options(command[3:])
        assert task["timeout_seconds"] == theirs[task["id"]].timeout
        assert task["retries"]["count"] == theirs[task["id"]].retries


@pytest.mark.parametrize(
    ("setting", "parameters", "said"),
    [
        ('schedule.cron="30 0 6 2 * *"', [], "schedule.cron"),
        ("schedule.catch_up=true", [], "schedule.start"),
        ("schedule.paused=true", ["span=latest"], "span=newest"),
        ("schedule.paused=true", ["spam=1"], "one of span, note, force"),
        ("schedule.paused=true", ["force=yes"], "force=true"),
    ],
)
def test_plan_is_refused_when_airflow_could_not_do_it(
    setting: str, parameters: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.compiler.compile_pipeline", lambda config: None)
    monkeypatch.setattr("pipeline.cluster.packed.pack", lambda ir: "")
    monkeypatch.setattr(compiler, "_tasks", lambda config, ir: [])
    with pytest.raises(UserError, match=said):
        compiler.compile_plan(load(KUBEFLOW, [setting]), parameters)


def test_each_airflow_makes_a_task_of_each_node(each: Airflow, plans: Path) -> None:
    plan = json.loads((plans / "flights.airflow.json").read_text())
    told = each.told(plans=str(plans), pool="few", owner="a-team", deadline_minutes=90)
    assert told["needs"] == {task["id"]: task["needs"] for task in plan["tasks"]}
    assert told["needs"]["init"] == [] and "Transform" in told["needs"]["Trainer.keras"]
    assert told["teardown"] == ["finish"]
    assert told["type"] == "ProcessTask"
    assert told["retries"] == [2, 30.0] and told["timeout"] == 3600
    assert told["places"] == ["few", "a-team", 1] and told["deadline"] == 5400
    assert "flights.airflow.json was replaced after this run began" in told["replaced"]
    assert told["params"] == {"span": "newest", "note": "", "force": False}
    assert told["timetable"] == "CronTriggerTimetable"
    heavy = {"tfx", "tensorflow", "ml_metadata", "kfp", "pipeline", "models"}
    assert heavy.isdisjoint(told["modules"])


def test_each_airflow_makes_pods_of_what_the_configuration_says(each: Airflow, plans: Path) -> None:
    (cluster := each.home / "kube.json").write_text(json.dumps(CLUSTER))
    chosen = {"namespace": "composer-user-workloads", "config_file": str(cluster)}
    told = each.told(plans=str(plans), tasks="pods", pods=chosen, deadline_minutes=90)
    assert told["type"] == "KubernetesPodOperator"
    assert told["pod"]["metadata"]["namespace"] == "composer-user-workloads"
    spec = told["pod"]["spec"]
    (container,) = spec["containers"]
    assert spec["serviceAccountName"] == "pipeline-tasks"
    claims = [v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"]]
    assert claims == ["pipeline-root"]
    assert container["volumeMounts"][0]["mountPath"] == "/pipeline"
    assert container["image"] == "registry.example.com/flights:latest"
    assert container["command"] == ["python", "-m", "pipeline.node"]
    wanted = {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "6Gi"}}
    assert container["resources"] == wanted
    (secret,) = (e["valueFrom"]["secretKeyRef"] for e in container["env"])
    assert secret == {"name": "metadata-store", "key": "password"}


def test_pod_of_init_hands_on_what_it_has_settled(each: Airflow, plans: Path) -> None:
    code = (
        "import json, runpy, sys; dag = runpy.run_path(sys.argv[1])['flights'];"
        "print(json.dumps(dag.get_task('init').cmds))"
    )
    done = each.python("-c", code, str(DAG_FILE), plans=str(plans), tasks="pods")
    command = json.loads(done.stdout.splitlines()[-1])
    # In place of the container: sh runs the very line, with a program that is no Python.
    assert command[:2] == ["sh", "-c"] and command[3:] == ["python", "-m", "pipeline.tasks.init"]
    folder = each.home / "pod"
    folder.mkdir()
    line = command[2].replace("/tmp/", f"{folder}/").replace("/airflow/xcom", f"{folder}/xcom")
    writes = f"printf 3 > {folder}/span; printf '[1, 2]' > {folder}/earlier"
    subprocess.run(["sh", "-c", line, "sh", "-c", writes], check=True)
    handed = json.loads((folder / "xcom/return.json").read_text())
    assert (handed["span"], handed["earlier"]) == (3, [1, 2]) and handed["plan"]
    (folder / "xcom/return.json").unlink()
    assert subprocess.run(["sh", "-c", line, "sh", "-c", "exit 2"], check=False).returncode == 2
    assert not (folder / "xcom/return.json").exists()


def test_options_that_are_not_of_make_airflow_go_to_the_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[object] = []
    monkeypatch.setattr(airflow, "set_up", lambda *versions: started.append(versions))
    monkeypatch.setattr(airflow, "start", lambda *words, **more: started.append(words) or 0)
    words = [
        "--config",
        "c.toml",
        "--port",
        "8081",
        "--set",
        "data.span=4",
        "--param",
        "force=true",
    ]
    assert airflow.main(words) == 0
    given = ["--config", "c.toml", "--set", "data.span=4", "--param", "force=true"]
    assert started == [("3",), (given, 8081)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"python3": "x"}, "the Variable pipeline has python3; it may have plans, tasks"),
        ({"tasks": "pod"}, "expected processes or pods"),
    ],
)
def test_wrong_setting_is_refused_by_name(
    each: Airflow, settings: dict[str, str], said: str
) -> None:
    done = each.python(str(DAG_FILE), **settings)
    assert done.returncode != 0
    assert said in done.stderr


@dataclass(frozen=True)
class Toy:
    """A run of a small plan of which two tasks fail."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    def task(self, name: str) -> dict[str, Any] | None:
        """What a task was given; None if it did not run."""
        file = self.folder / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else None


def _toy_task(name: str, *words: str, **others: object) -> dict[str, object]:
    fixed: dict[str, object] = {"needs": [], "retries": None, "timeout_seconds": None}
    fixed |= {"outputs": []}
    fixed |= {"id": name, "module": "toy", "arguments": [name, *words], "environment": {}}
    return fixed | others


def _toy_run(each: Airflow, folder: Path, retrain: str) -> Toy:
    """A run by a policy that says so of a span that comes between two looks."""
    (folder / "toy.py").write_text(TOY)
    run = ["{run_id}", "{span}", "{earlier}", "{note}", "{force}"]
    tasks = [
        _toy_task("init", "{outputs}", "{asked_span}", outputs=["span", "earlier"]),
        _toy_task("good", *run, needs=["init"], environment={"GIVEN": "yes"}),
        _toy_task("bad", needs=["init"]),
        _toy_task("after", needs=["bad"]),
        _toy_task("slow", needs=["after"]),
        _toy_task("finish", "{run_id}", needs=["init", "good", "bad", "slow", "after"]),
    ]
    none = compiler._schedule(load(KUBEFLOW).schedule) | {"cron": None}
    plan = {"format": 2, "name": "toy", "root": "r", "store": "s", "config": "c", "pipeline": "p"}
    plan |= {"parameters": {"span": "", "note": "", "force": False}, "schedule": none}
    plan |= {"policy": _toy_task("new_span", "{outputs}", retrain, outputs=["decision"])}
    (folder / "toy.airflow.json").write_text(json.dumps(plan | {"tasks": tasks}))
    done = each.test(
        "toy",
        "--conf",
        json.dumps({"force": True}),
        plans=str(folder),
        project=str(folder),
        python=sys.executable,
        policy=True,
        look_minutes=0.001,
    )
    return Toy(folder, done)


@pytest.fixture(scope="module")
def toy(each: Airflow, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return _toy_run(each, tmp_path_factory.mktemp("toy"), "yes")


def test_run_waits_for_a_decision_and_ends_where_that_is_against_it(
    each: Airflow, tmp_path: Path
) -> None:
    run = _toy_run(each, tmp_path, "no")
    assert run.done.returncode == 0, run.done.stdout + run.done.stderr
    assert sorted(file.name for file in tmp_path.glob("look-*")) == ["look-0", "look-1"]
    assert "so it is" in run.done.stdout + run.done.stderr
    assert [name for name in ("init", "good", "finish") if run.task(name)] == []


def test_tasks_are_given_what_the_run_knows(toy: Toy) -> None:
    given = toy.task("good")
    assert given is not None, toy.done.stdout + toy.done.stderr
    run_id, *others = given["words"][1:]
    assert others == ["4", "[2, 3]", "a 'note'", "true"]
    assert (begun := toy.task("init")) is not None and begun["words"][2] == "4"
    assert run_id.startswith("manual__") and run_id.replace("-", "").replace("_", "").isalnum()
    assert given["environment"]["GIVEN"] == "yes"
    assert not [name for name in given["environment"] if "AIRFLOW_" in name]


def test_run_fails_and_still_finishes_when_a_task_fails(toy: Toy) -> None:
    printed = toy.done.stdout + toy.done.stderr
    assert "bad ended with exit code 3: bad was here" in printed
    assert toy.task("after") is None
    finish = toy.task("finish")
    assert finish is not None and finish["words"][1].startswith("manual__")
    assert "state=failed" in printed


def test_task_that_is_interrupted_ends_what_it_started(each: Airflow, toy: Toy) -> None:
    code = (
        "import runpy, signal, sys; dag = runpy.run_path(sys.argv[1])['toy'];"
        "signal.signal(signal.SIGALRM, lambda *a: sys.exit('too long')); signal.alarm(3);"
        "dag.get_task('slow').execute({})"
    )
    folder = str(toy.folder)
    settings = {"plans": folder, "project": folder, "python": sys.executable}
    done = each.python("-c", code, str(DAG_FILE), **settings)
    assert "too long" in done.stderr
    child = int((toy.folder / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    return SmallProject.make(tmp_path_factory.mktemp("airflow"))


@pytest.fixture(scope="module")
def by_policy(project: SmallProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the plan by which Airflow 3 has run what the policy said of the first span."""
    third = started("3", tmp_path_factory.getbasetemp())
    words = ["--config", "configs/flights.toml", "--output", "plans/flights.airflow.json"]
    chosen = project.overrides(**ONE, continuous__rest_seconds="0")
    subprocess.run(
        [sys.executable, "-m", "pipeline.runners.airflow", *words, *chosen],
        cwd=project.folder,
        env=project.environment(),
        check=True,
    )
    plans = project.folder / "plans"
    settings = {"plans": str(plans), "project": str(project.folder), "python": sys.executable}
    done = third.test("flights", **settings, policy=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return plans


def _newest(project: SmallProject, plans: Path) -> tuple[str, set[str]]:
    """The run that has come last, and the nodes that it took from the cache."""
    tasks = json.loads((plans / "flights.airflow.json").read_text())["tasks"]
    nodes = {task["id"] for task in tasks} - {"init", "backfill", "finish"}
    runs = project.store().get_contexts_by_type(record.RUN)
    run_id = max((run for run in runs if "-look-" not in run.name), key=lambda run: run.id).name
    states = {name: e.state for name, e in project.executions(run_id).items()}
    assert set(states) == nodes and set(states.values()) <= {"CACHED", "COMPLETE"}
    return run_id, {name for name, state in states.items() if state == "CACHED"}


@pytest.mark.e2e
def test_airflow_runs_what_the_policy_says_and_shares_its_cache(
    project: SmallProject, by_policy: Path
) -> None:
    run_id, cached = _newest(project, by_policy)
    # What looked at the span before has left that much.
    assert cached == {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataGate"}
    facts = record.read(project.store(), run_id)
    assert (facts["runner"], facts["outcome"]) == ("airflow", record.SUCCEEDED)
    (decision,) = decisions.read(project.store())
    assert (decision.verdict, decision.state) == (decisions.RETRAIN, decisions.COMPLETE)
    assert (decision.span, decision.run_id, facts["span"]) == (1, run_id, "1")
    assert facts["note"] == f"Decision {decision.id}: {decision.reason}"
    local = project.run("--span", "1", **ONE)
    assert local.returncode == 0, local.stdout + local.stderr
    _, again = _newest(project, by_policy)
    assert again >= cached | {"Transform", "Trainer.sklearn", "Evaluator", "Pusher"}


@pytest.mark.e2e
def test_the_older_airflow_takes_the_same_run_from_the_cache(
    project: SmallProject, by_policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    second = started("2", tmp_path_factory.getbasetemp())
    settings = {"plans": str(by_policy), "project": str(project.folder), "python": sys.executable}
    done = second.test("flights", "--conf", '{"span": "1"}', **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    run_id, cached = _newest(project, by_policy)
    assert {"Transform", "Trainer.sklearn", "Evaluator", "Pusher"} <= cached
    facts = record.read(project.store(), run_id)
    assert (facts["runner"], facts["outcome"]) == ("airflow", record.SUCCEEDED)
