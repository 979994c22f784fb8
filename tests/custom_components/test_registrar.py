"""What MLflow is told of a run: by real runs, on MLflow's own database and on a real server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from custom_components.registrar import record, tags, tracking
from custom_components.registrar.record import CHALLENGER, CHAMPION
from custom_components.registrar.tell import tell
from custom_components.registrar.tracking import Destination
from models.bundle import Bundle
from pipeline.config import PROJECT
from pipeline.errors import UserError
from tests.custom_components.registration_nodes import BASE
from tests.custom_components.registrations import (
    CACHED,
    COMPLETE,
    Project,
    configure,
    free_port,
    server,
)
from tests.models.tiny import RAW

TWO = {"keras": 0.70, "xgboost": 0.75}


def runs(client: MlflowClient) -> list[Run]:
    """All runs of the experiment, by their names."""
    experiment = client.get_experiment_by_name("flights")
    return sorted(client.search_runs([experiment.experiment_id]), key=lambda r: r.info.run_name)


def aliases(client: MlflowClient) -> dict[str, int]:
    return {a: int(v) for a, v in client.get_registered_model("flights").aliases.items()}


def everything(client: MlflowClient) -> object:
    """All that was told, but for ids and times that MLflow gives itself."""
    experiment = client.get_experiment_by_name("flights").experiment_id
    told = []
    for run in client.search_runs([experiment]):
        curves = [
            (name, [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)])
            for name in sorted(run.data.metrics)
        ]
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id, "history"))
        outputs = len(run.outputs.model_outputs)
        facts = (run.info.status, run.info.start_time, run.info.end_time, outputs, files)
        told.append((run.info.run_name, facts, run.data.params, run.data.tags, curves))
    models = [
        (model.name, str(model.status), model.tags)
        for model in client.search_logged_models([experiment])
    ]
    versions = [
        (version.version, version.tags, version.description)
        for version in client.search_model_versions("name = 'flights'")
    ]
    return sorted(told, key=str), sorted(models, key=str), versions, aliases(client)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run of two frameworks, whose XGBoost was pushed."""
    project = Project(configure(tmp_path_factory.mktemp("registrar")))
    project.run("run-1", TWO)
    return project


def test_every_training_is_a_run_with_its_parameters_metrics_and_history(project: Project) -> None:
    client = project.mlflow
    _, made = runs(client)
    assert (made.info.run_name, made.info.status) == ("xgboost run-1", "FINISHED")
    assert made.info.end_time - made.info.start_time == 1500
    assert made.data.params["learning_rate"] == "0.125"  # of hyperparameters.json
    assert made.data.params["seed"] == "20130101"
    assert made.data.params["trees"] == "2"
    assert made.data.metrics["auc"] == 0.75
    assert (made.data.metrics["auc_low"], made.data.metrics["auc_high"]) == (0.74, 0.76)
    assert made.data.metrics["latency_ms"] == 1.0
    history = client.get_metric_history(made.info.run_id, "search.held_out")
    assert [(m.step, m.value) for m in history] == [(1, 0.62), (2, 0.55), (3, 0.56)]


def test_a_run_has_the_history_the_evaluation_and_the_selection(project: Project) -> None:
    client = project.mlflow
    evaluation = project.artifacts("ModelEvaluation")[-1].id
    for run in runs(client):
        files = [
            file.path
            for folder in ("history", f"evaluation/{evaluation}")
            for file in client.list_artifacts(run.info.run_id, folder)
        ]
        names = {Path(file).name for file in files}
        assert {"history.json", "history.svg", "verdict.json", "selection.json"} <= names


def test_the_champion_answers_by_its_alias_as_its_bundle_does(project: Project) -> None:
    assert aliases(project.mlflow) == {CHAMPION: 1}
    rows = pd.DataFrame(RAW).astype({"temp": float})
    said = mlflow.pyfunc.load_model("models:/flights@champion").predict(rows)
    served = Bundle.load(next(Path(project.config.serving_directory).iterdir()))
    np.testing.assert_allclose(said, served.predict(rows), atol=1e-6)


def test_the_store_and_mlflow_point_at_each_other(project: Project) -> None:
    client = project.mlflow
    version = client.get_model_version("flights", "1")
    champion, pushed = project.artifacts("Model")[-1], project.artifacts("PushedModel")[-1]
    assert version.tags[tags.MODEL] == str(champion.id)
    assert version.tags[tags.MODEL_URI] == champion.uri
    assert version.tags[tags.PUSHED_MODEL] == str(pushed.id)
    assert version.tags[tags.RUN] == "run-1"
    assert version.tags[tags.SPANS] == "1, 2"
    assert version.tags[tags.METRIC] == "auc 0.7500"
    _, xgboost = runs(client)
    assert version.run_id == xgboost.info.run_id
    assert version.tags[tags.BASE] == xgboost.data.tags[tags.BASE] == BASE
    said = project.registration()
    assert (said["registered"], said["model_name"], said["model_version"]) == (1, "flights", "1")
    assert said["mlflow_run"] == xgboost.info.run_id
    assert said["tracking_uri"] == f"sqlite:///{project.root}/mlflow.db"
    assert set(json.loads(str(said["mlflow_runs"]))) == {"keras", "xgboost"}


def test_artifacts_lie_below_the_root(project: Project) -> None:
    for run in runs(project.mlflow):
        assert run.info.artifact_uri.startswith(f"{project.root}/mlflow/")


def test_what_is_in_the_cache_is_told_once(tmp_path: Path) -> None:
    project = Project(configure(tmp_path))
    project.run("run-1", TWO)
    assert project.run("run-2", TWO)["Registrar"].state is CACHED
    project.run("run-3", TWO | {"xgboost": 0.76})
    client = project.mlflow
    keras, *xgboosts = runs(client)
    assert len(xgboosts) == 2
    # It was judged twice, though trained once.
    assert [m.value for m in client.get_metric_history(keras.info.run_id, "auc")] == [0.7, 0.7]
    assert len(client.search_logged_models([keras.info.experiment_id])) == 3
    assert aliases(client) == {CHAMPION: 2}


def test_without_a_pusher_the_champion_is_a_challenger(tmp_path: Path) -> None:
    project = Project(configure(tmp_path))
    project.run("run-1", TWO, pushes=False)
    assert aliases(project.mlflow) == {CHALLENGER: 1}
    assert tags.SERVED_AS not in project.mlflow.get_model_version("flights", "1").tags


def test_what_the_canary_refused_is_no_challenger_and_says_why(tmp_path: Path) -> None:
    project = Project(configure(tmp_path))
    project.run("run-1", TWO, canary="the model answers otherwise")
    assert aliases(project.mlflow) == {}
    version = project.mlflow.get_model_version("flights", "1")
    assert version.tags[tags.CANARY] == "the model answers otherwise"


def test_where_none_is_selected_there_are_runs_and_no_version(tmp_path: Path) -> None:
    project = Project(configure(tmp_path, {"select.max_latency_ms": 0.5}))
    project.run("run-1", TWO)
    assert len(runs(project.mlflow)) == 2
    assert project.mlflow.search_registered_models() == []
    said = project.registration()
    assert (said["registered"], said["model_version"]) == (1, "")


def test_an_ensemble_that_is_the_champion_has_a_run_of_its_own(tmp_path: Path) -> None:
    project = Project(configure(tmp_path))
    project.run("run-1", TWO | {"ensemble": 0.80})
    ensemble, *_ = made = runs(project.mlflow)
    assert len(made) == 3
    assert ensemble.data.params == {"members": "keras, xgboost"}
    assert ensemble.data.metrics["auc"] == 0.80
    assert project.mlflow.get_model_version("flights", "1").run_id == ensemble.info.run_id


def test_what_a_server_could_not_be_told_is_told_by_the_next_run_in_order(tmp_path: Path) -> None:
    port = free_port()
    project = Project(
        configure(tmp_path / "root", {"register.tracking_uri": f"http://127.0.0.1:{port}"})
    )
    assert project.run("run-1", TWO)["Registrar"].state is COMPLETE
    said = project.registration()
    assert said["registered"] == 0
    assert "cannot be reached" in str(said["reason"])
    project.run("run-2", TWO | {"xgboost": 0.76})
    assert len(record.waiting(project.root)) == 2

    with server(tmp_path / "server", port):
        # Nothing has changed since, but something waits: the node is not taken from the cache.
        assert project.run("run-3", TWO | {"xgboost": 0.76})["Registrar"].state is COMPLETE
        client = project.mlflow
        assert [run.info.run_name for run in runs(client)] == [
            "keras run-1",
            *["xgboost run-1"] * 2,
        ]
        metrics = {int(v.version): v.tags[tags.METRIC] for v in client.search_model_versions()}
        assert metrics == {1: "auc 0.7500", 2: "auc 0.7600"}
        assert aliases(client) == {CHAMPION: 2}
        said = mlflow.pyfunc.load_model("models:/flights@champion").predict(
            pd.DataFrame(RAW).astype({"temp": float})
        )
        assert len(said) == len(RAW)
        assert record.waiting(project.root) == []
        # The next run says so in the store of those that had waited.
        project.run("run-4", TWO | {"xgboost": 0.76})
    told = [a.custom_properties for a in project.artifacts("Registration")]
    assert [t["registered"].int_value for t in told] == [1, 1, 1, 1]
    assert [t["model_version"].string_value for t in told] == ["1", "2", "2", "2"]


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of a server that takes calls and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_does_not_answer_is_not_waited_for(deaf: str, tmp_path: Path) -> None:
    settings = {"register.tracking_uri": deaf, "register.timeout_seconds": 1}
    project = Project(configure(tmp_path, settings))
    assert project.run("run-1", TWO)["Registrar"].state is COMPLETE
    assert "did not answer within 1 s" in str(project.registration()["reason"])


@pytest.mark.parametrize("uri", ["http://me:secret@host:5000", "postgresql://me:secret@host/db"])
def test_a_password_in_the_address_is_refused_and_not_repeated(uri: str, tmp_path: Path) -> None:
    config = configure(tmp_path, {"register.tracking_uri": uri})
    with pytest.raises(UserError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        Destination.of(config)
    assert "secret" not in str(refused.value)


def test_a_relative_database_lies_in_the_project(tmp_path: Path) -> None:
    config = configure(tmp_path, {"register.tracking_uri": "sqlite:///output/mlflow.db"})
    assert Destination.of(config).database == PROJECT / "output/mlflow.db"


class Telling:
    """A record, told to one new database after the other."""

    def __init__(self, project: Project, folder: Path) -> None:
        (folder_of_record,) = (project.root / "Registrar/registration").iterdir()
        self.record = record.read(folder_of_record)
        self._folder = folder
        self._empty = folder / "empty.db"
        tracking.create_database(self._empty, artifacts=str(folder / "artifacts"))
        self._count = 0

    def destination(self) -> Destination:
        self._count += 1
        file = self._folder / f"{self._count}.db"
        shutil.copyfile(self._empty, file)
        return Destination(
            tracking_uri=f"sqlite:///{file}",
            artifacts=str(self._folder / f"artifacts-{self._count}"),
            timeout_seconds=5,
        )


class Killed(BaseException):
    """What no handler catches."""


WRITES = (
    *("create_experiment", "create_run", "log_batch", "log_artifacts", "create_logged_model"),
    *("log_model_artifacts", "finalize_logged_model", "log_outputs", "set_terminated"),
    *("log_artifact", "set_tag", "create_registered_model", "create_model_version"),
    *("set_model_version_tag", "set_registered_model_alias"),
)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", WRITES)
def test_telling_that_is_cut_off_anywhere_is_made_whole_when_told_again(
    method: str,
    when: str,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    telling = Telling(project, tmp_path)
    whole = telling.destination()
    tell(telling.record, tracking.client(whole), whole)
    expected = everything(tracking.client(whole))

    destination = telling.destination()
    client = tracking.client(destination)
    write = getattr(MlflowClient, method)

    def die(self: MlflowClient, *given: object, **named: object) -> None:
        if when == "after":
            write(self, *given, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, method, die)
        with pytest.raises(Killed):
            tell(telling.record, client, destination)
    tell(telling.record, client, destination)
    assert everything(client) == expected
    tell(telling.record, client, destination)
    assert everything(client) == expected


def test_after_kill_9_the_record_still_waits_and_is_told_whole(
    project: Project, tmp_path: Path
) -> None:
    telling = Telling(project, tmp_path)
    destination = telling.destination()
    (tmp_path / "record").mkdir()
    record.write(tmp_path / "record", telling.record)
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom mlflow import MlflowClient\n"
        "from custom_components.registrar import record, tracking\n"
        "from custom_components.registrar.tell import tell\n"
        "MlflowClient.finalize_logged_model = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "destination = tracking.Destination.model_validate_json(sys.argv[1])\n"
        "told = record.read(Path(sys.argv[2]))\n"
        "tell(told, tracking.client(destination), destination)\n"
    )
    command = [
        sys.executable,
        "-c",
        script,
        destination.model_dump_json(),
        str(tmp_path / "record"),
    ]
    killed = subprocess.run(command, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)})
    assert killed.returncode == -signal.SIGKILL
    assert record.read_outcome(tmp_path / "record") is None
    client = tracking.client(destination)
    assert [run.info.status for run in runs(client)] == ["RUNNING"]
    tell(telling.record, client, destination)
    whole = telling.destination()
    tell(telling.record, tracking.client(whole), whole)
    assert everything(tracking.client(destination)) == everything(tracking.client(whole))


def test_the_database_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "below" / "mlflow.db"

    def fail(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("mlflow.store.db.utils._upgrade_db", fail)
        with pytest.raises(Killed):
            tracking.create_database(file, artifacts=str(tmp_path))
    assert list(file.parent.iterdir()) == []
    tracking.create_database(file, artifacts=str(tmp_path))
    assert [f.name for f in file.parent.iterdir()] == ["mlflow.db"]
