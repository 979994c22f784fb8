"""The DAG in Airflow 2.11 and 3, each in an environment of its own, which `make airflow` makes."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tfx.proto.orchestration import pipeline_pb2 as pb

from pipeline.cluster import kfp_package
from pipeline.config import PROJECT
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.runners import airflow as compiler
from pipeline.runners import kubeflow
from tests.deploy.airflows import BEGUN, CLUSTER, DAG_FILE, TOY, WAITS, Airflow, started
from tools import airflow

KUBEFLOW = PROJECT / "configs/flights-kubeflow.toml"
CHOSEN = {"pool": "few", "owner": "a-team", "deadline_minutes": 90, "tasks_at_once": 3}
CRON = ['schedule.cron="0 6 2 * *"']


@pytest.fixture(scope="module", params=["3", "2"])
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """One Airflow after the other."""
    return started(request.param, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the plan of the flights on a cluster."""
    folder = tmp_path_factory.mktemp("plans")
    text = compiler.compile_plan(load(KUBEFLOW, CRON), ["span=newest"])
    for path, content in compiler.files("flights.airflow.json", text).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_dag_files_import_only_airflow_and_what_comes_with_it() -> None:
    names = set()
    for file in DAG_FILE.parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").partition(".")[0])
    assert names - set(sys.stdlib_module_names) == {"airflow", "pipeline_dag_tasks"}


def test_plan_has_the_tasks_of_the_kubeflow_package(plans: Path, tmp_path: Path) -> None:
    plan = json.loads((plans / "flights.airflow.json").read_text())
    (tmp_path / "flights.yaml").write_text(kubeflow.compile_package(load(KUBEFLOW, CRON)))
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
        ('tasks.nodes.Trainr.cpu="2"', [], "no task 'Trainr'"),
        ("schedule.paused=true", ["span=latest"], "span=newest"),
        ("schedule.paused=true", ["spam=1"], "one of span, note, force"),
        ("schedule.paused=true", ["force=yes"], "force=true"),
    ],
)
def test_plan_is_refused_when_airflow_could_not_do_it(
    setting: str, parameters: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.compiler.compile_pipeline", lambda config: pb.Pipeline())
    monkeypatch.setattr("pipeline.cluster.packed.pack", lambda ir: "")
    monkeypatch.setattr(compiler, "_tasks", lambda config, ir: [])
    with pytest.raises(UserError, match=said):
        compiler.compile_plan(load(KUBEFLOW, [setting]), parameters)


@pytest.fixture(scope="module")
def told(each: Airflow, plans: Path) -> dict[str, Any]:
    """What each Airflow makes of the plan, without the policy."""
    return each.told(plans=str(plans), **CHOSEN)


def test_each_airflow_makes_a_task_of_each_node(told: dict[str, Any], plans: Path) -> None:
    plan = json.loads((plans / "flights.airflow.json").read_text())
    assert told["needs"] == {task["id"]: task["needs"] for task in plan["tasks"]}
    assert told["needs"]["init"] == [] and "Transform" in told["needs"]["Trainer.keras"]
    assert told["teardown"] == ["finish"]
    assert told["type"] == "ProcessTask"
    assert told["retries"] == [2, 30.0] and told["timeout"] == 3600
    assert told["params"] == {"span": "newest", "note": "", "force": False}
    heavy = {"tfx", "tensorflow", "ml_metadata", "kfp", "pipeline", "models"}
    assert heavy.isdisjoint(told["modules"])


def test_each_airflow_has_tags_docs_owners_pools_and_deadlines_of_both_dags(
    each: Airflow, plans: Path, told: dict[str, Any]
) -> None:
    alike = {"documented": True, "owners": ["a-team"], "pools": ["few"], "catchup": False}
    alike |= {"paused": False}
    runs = {"tags": ["processes", "tfx"], "deadline": 5400, "runs": 1, "at_once": 3}
    decides = {"tags": ["policy", "tfx"], "deadline": None, "runs": 1}
    with_policy = each.told(plans=str(plans), policy=True, **CHOSEN)["dags"]
    assert with_policy["flights"] == alike | runs | {"timetable": "NullTimetable"}
    del with_policy["flights-policy"]["at_once"]
    assert with_policy["flights-policy"] == alike | decides | {"timetable": "ContinuousTimetable"}
    assert told["dags"] == {"flights": alike | runs | {"timetable": "CronTriggerTimetable"}}


@pytest.mark.parametrize("tasks", ["processes", "pods"])
def test_run_goes_on_with_the_plan_that_it_began_with(
    each: Airflow, plans: Path, tmp_path: Path, tasks: str
) -> None:
    text = (plans / "flights.airflow.json").read_text()
    (old,) = (plans / "kept").iterdir()
    newer = text.replace("registry.example.com/flights:latest", "registry.example.com/flights:2")
    newer = newer.replace(pipeline := json.loads(text)["pipeline"], "another")
    (tmp_path / "flights.airflow.json").write_text(newer)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / old.name).write_bytes(old.read_bytes())
    newest = hashlib.sha256(newer.encode()).hexdigest()[:12]
    settings = {"plans": str(tmp_path), "tasks": tasks}
    done = each.python("-c", BEGUN, str(DAG_FILE), old.stem, newest, "gone", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, gone = json.loads(done.stdout.splitlines()[-1])
    assert pipeline in first and "another" in second and "3" in first
    if tasks == "pods":
        assert (first[-1][-15:], second[-1][-10:]) == ("/flights:latest", "/flights:2")
    assert "clear init and what comes after it" in gone


def test_each_airflow_makes_pods_of_what_the_configuration_says(each: Airflow, plans: Path) -> None:
    (cluster := each.home / "kube.json").write_text(json.dumps(CLUSTER))
    chosen = {"namespace": "composer-user-workloads", "config_file": str(cluster)}
    chosen["deferrable"] = True
    told = each.told(plans=str(plans), tasks="pods", pods=chosen, policy=True)
    kind, (mode, seconds, command, deferrable) = told["look"]
    assert (kind, mode, seconds) == ("NewSpan", "reschedule", 300)
    assert command[:2] == ["sh", "-c"] and command[-1] == "pipeline.tasks.decide"
    assert deferrable is False  # It would come back past the sensor, without a decision.
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


def _toy_plan(folder: Path, name: str, retrain: str) -> dict[str, object]:
    """Writes the plan and its program; the settings of the DAGs."""
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
    plan = {"format": compiler.FORMAT, "name": name, "root": "r", "store": "s"}
    plan |= {"config": "c", "pipeline": "p", "schedule": none, "tasks": tasks}
    plan |= {"parameters": {"span": "newest", "note": "as always", "force": False}}
    look = _toy_task("new_span", "{outputs}", retrain, "{run_id}", outputs=["decision"])
    (folder / f"{name}.airflow.json").write_text(json.dumps(plan | {"policy": look}))
    chosen: dict[str, object] = {"plans": str(folder), "project": str(folder)}
    return chosen | {"python": sys.executable, "policy": True, "look_minutes": 0.001}


@pytest.fixture(scope="module")
def toy(each: Airflow, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("toy")
    settings = _toy_plan(folder, "toy", "yes")
    given = json.dumps({"span": "4", "note": "a 'note'", "force": True})
    return Toy(folder, each.test("toy", "--conf", given, **settings))


def test_run_is_started_once_by_the_decision_for_it(each: Airflow, tmp_path: Path) -> None:
    settings = _toy_plan(tmp_path, "started", "yes")
    done = each.run(airflow.program(each.version), "dags", "reserialize", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    done = each.test("started-policy", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(file.name for file in tmp_path.glob("look-*")) == ["look-0", "look-1", "look-2"]
    assert "new_span ended with exit code 1: the store is away" in done.stdout + done.stderr
    (run,) = each.runs("started")
    assert run[0].startswith("decision-9-manual__") and run[2] == "queued"
    assert run[1] == {"span": "4", "note": "a 'note'"}
    # While it is at work, nothing looks: not even whoever clears the task that did.
    done = each.python("-c", WAITS, str(DAG_FILE), each.version, **settings)
    assert json.loads(done.stdout.splitlines()[-1]) == [False, True], done.stdout + done.stderr
    assert not (tmp_path / "look-3").exists()


def test_decision_against_a_run_starts_none(each: Airflow, tmp_path: Path) -> None:
    done = each.test("against-policy", **_toy_plan(tmp_path, "against", "no"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "so it is" in done.stdout + done.stderr
    assert (tmp_path / "look-2").exists() and each.runs("against") == []


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
