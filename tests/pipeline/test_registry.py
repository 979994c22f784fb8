"""The registry's commands on real runs: what is live is the same in MLflow, store and folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from tfx.types.standard_artifacts import PushedModel

from custom_components.registrar import record, tags
from custom_components.registrar.record import CHALLENGER, CHAMPION
from custom_components.resolvers import LiveModel
from custom_components.serving_folder import newest_version
from models import manifest
from models.bundle import Bundle
from pipeline import lineage, runs
from pipeline.__main__ import main
from pipeline.config import PROJECT
from pipeline.continuous.challengers import Registered
from pipeline.errors import UserError
from pipeline.registry.live import approve, rollback
from pipeline.registry.versions import Registry
from pipeline.registry.waiting import sync
from tests.custom_components.registrations import (
    Project,
    configure,
    free_port,
    server,
    started,
)
from tests.models.tiny import RAW

AUCS = [{"keras": 0.70, "xgboost": 0.75 + step / 100} for step in range(3)]


@pytest.fixture(scope="module")
def approved_by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of three runs that pushed nothing."""
    project = Project(configure(tmp_path_factory.mktemp("registry") / "root"))
    for step, auc in enumerate(AUCS):
        project.run(f"run-{step}", auc, pushes=False)
    return project.root


@pytest.fixture
def project(approved_by_hand: Path) -> Iterator[Project]:
    """The same, as it was left by the runs: folders are named in the stores, so they stay."""
    kept = approved_by_hand.with_name("kept")
    shutil.copytree(approved_by_hand, kept)
    yield Project(configure(approved_by_hand))
    for store in (TrackingStore, RegistryStore):
        for engine in store._engine_map.values():
            engine.dispose()  # or it goes on with the file that is taken away
    shutil.rmtree(approved_by_hand)
    kept.rename(approved_by_hand)


def aliases(project: Project) -> dict[str, int]:
    found = project.mlflow.get_registered_model("flights").aliases
    return {alias: int(version) for alias, version in found.items()}


def served(project: Project) -> str | None:
    """The digest of what a server would load."""
    newest = newest_version(Path(project.config.serving_directory))
    return manifest.read(newest).digest if newest else None


def digest(project: Project, version: int) -> str:
    return str(project.mlflow.get_model_version("flights", str(version)).tags[tags.DIGEST])


def live(project: Project) -> str | None:
    """The digest of what the store says is live, by the lineage and by the runs' resolver."""
    found = []
    for proto in project.artifacts("PushedModel"):
        artifact = PushedModel()
        artifact.set_mlmd_artifact(proto)
        found.append(artifact)
    candidate = PushedModel()
    candidate.uri = "/another/model"
    resolved = LiveModel().resolve_artifacts(
        project.store, {"candidate": [candidate], "live": found}
    )
    assert resolved is not None
    by_runs = [a.get_string_custom_property("digest") for a in resolved["live"]]
    try:
        by_lineage = [lineage.open(project.config).live_model().properties["digest"]]
    except UserError:
        by_lineage = []
    assert by_runs == by_lineage
    return by_runs[0] if by_runs else None


def state(project: Project) -> object:
    return aliases(project), served(project), live(project)


def test_approve_makes_the_challenger_live_everywhere(project: Project) -> None:
    assert state(project) == ({CHALLENGER: 3}, None, None)
    move = approve(project.config)
    assert (move.version.number, move.before) == (3, None)
    assert aliases(project) == {CHAMPION: 3}
    assert served(project) == live(project) == digest(project, 3)
    version = project.mlflow.get_model_version("flights", "3")
    assert version.tags[tags.SERVED_FROM] == move.push.destination
    assert version.tags[tags.PUSHED_MODEL] == str(move.push.pushed_model)


def test_what_was_approved_has_its_lineage(project: Project) -> None:
    move = approve(project.config, "2")
    pushed = lineage.open(project.config).artifact(move.push.pushed_model)
    assert pushed.producer
    assert (pushed.producer.name, pushed.producer.state) == ("Pusher", "complete")
    champion, *_ = pushed.parents()
    assert champion.uri == project.mlflow.get_model_version("flights", "2").tags[tags.MODEL_URI]
    assert {"Model", "ModelEvaluation"} <= {artifact.type for artifact in pushed.ancestors()}
    assert (pushed.properties["model_name"], pushed.properties["model_version"]) == ("flights", "2")
    assert manifest.read(Path(pushed.uri)).digest == digest(project, 2)


def test_the_next_run_compares_with_what_was_approved(project: Project) -> None:
    """Through a compiled pipeline's own query of the store."""
    approve(project.config, "1")
    found = project.live_in_a_run("run-live")
    assert found == [lineage.open(project.config).live_model().id]


def test_rollback_goes_back_one_live_version_at_a_time(project: Project) -> None:
    for number in ("1", "2", "3"):
        approve(project.config, number)
    assert rollback(project.config).version.number == 2
    assert served(project) == live(project) == digest(project, 2)
    assert rollback(project.config).version.number == 1
    assert state(project) == ({CHAMPION: 1}, digest(project, 1), digest(project, 1))
    with pytest.raises(UserError, match=r"was live before version 1 \(xgboost\)"):
        rollback(project.config)


def test_rollback_takes_any_version_by_its_number(project: Project) -> None:
    approve(project.config)
    assert rollback(project.config, "1").version.number == 1
    assert served(project) == live(project) == digest(project, 1)


def test_what_was_never_live_is_not_rolled_back_to(project: Project) -> None:
    approve(project.config, "3")
    with pytest.raises(UserError, match="nothing to roll back to"):
        rollback(project.config)


@pytest.mark.parametrize(
    "method",
    ["set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag"],
)
def test_if_mlflow_fails_all_is_as_before(
    method: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(project.config, "1")
    project.mlflow.set_registered_model_alias("flights", CHALLENGER, "3")
    before = state(project)
    calls = []
    real = getattr(MlflowClient, method)

    def fail_once(self: MlflowClient, *given: object) -> None:
        calls.append(given)
        if len(calls) == 1:
            raise MlflowException("no space is left")
        real(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, method, fail_once)
        with pytest.raises(UserError, match="no space is left"):
            approve(project.config)
    assert state(project) == before
    assert approve(project.config).version.number == 3


def test_if_publishing_fails_all_is_as_before(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(project.config, "1")
    before = state(project)

    def fail(*_: object) -> Path:
        raise OSError("no space is left")

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.registry.store.push", fail)
        with pytest.raises(OSError, match="no space"):
            approve(project.config, "2")
    assert state(project) == before
    states = [e.last_known_state for e in project.store.get_executions_by_type("pipeline.registry")]
    assert states == [pb.Execution.COMPLETE, pb.Execution.FAILED]


def test_an_approval_that_was_killed_on_its_way_is_ended_by_the_next_and_done_once(
    project: Project,
) -> None:
    approve(project.config, "1")
    approve(project.config, "3")
    # As it is where the process is killed before MLflow is told.
    project.mlflow.set_registered_model_alias("flights", CHAMPION, "1")
    project.mlflow.set_registered_model_alias("flights", CHALLENGER, "3")
    before = len(project.artifacts("PushedModel"))
    challengers = Registered(project.config)
    assert challengers.promote("3") == challengers.promote("3")
    assert aliases(project) == {CHAMPION: 3}
    assert served(project) == live(project) == digest(project, 3)
    assert len(project.artifacts("PushedModel")) == before


def test_a_challenger_that_is_dropped_waits_no_longer_and_stays_registered(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    challengers = Registered(project.config)
    challengers.drop("2")
    assert aliases(project) == {CHALLENGER: 3}
    challengers.drop("3")
    challengers.drop("3")
    assert state(project) == ({}, None, None)
    assert len(Registry.open(project.config).versions()) == 3
    project.mlflow.set_registered_model_alias("flights", CHALLENGER, "2")
    assert command(project, "reject") == 0
    assert "Rejected: version 2 (xgboost)" in capsys.readouterr().out
    assert command(project, "reject") == 2
    assert "has no challenger" in capsys.readouterr().err


def test_a_challenger_is_unopposed_until_a_model_is_live(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage.Artifact, "data_spans", lambda _: (1, 2))
    shadow = project.config.registration.model_copy(update={"approval": "shadow"})
    challengers = Registered(project.config.model_copy(update={"registration": shadow}))
    assert challengers.unopposed() == 2
    assert Registered(project.config).unopposed() is None  # a person decides
    challengers.promote("3")
    assert challengers.unopposed() is None


def test_a_changed_bundle_does_not_go_live(project: Project) -> None:
    uri = project.mlflow.get_model_version("flights", "3").tags[tags.MODEL_URI]
    file = Path(uri) / "Format-Serving" / "saved_model.pb"
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(UserError, match="was changed after it was written"):
        approve(project.config)
    assert state(project) == ({CHALLENGER: 3}, None, None)


def test_another_bundle_in_its_place_does_not_go_live(project: Project) -> None:
    folders = [
        Path(project.mlflow.get_model_version("flights", number).tags[tags.MODEL_URI])
        for number in ("2", "3")
    ]
    shutil.rmtree(folders[1])
    shutil.copytree(*folders)
    with pytest.raises(UserError, match="is not the model that was registered as version 3"):
        approve(project.config)


def test_a_bundle_whose_folder_is_gone_comes_from_mlflow(project: Project) -> None:
    shutil.rmtree(project.mlflow.get_model_version("flights", "3").tags[tags.MODEL_URI])
    approve(project.config)
    assert served(project) == live(project) == digest(project, 3)


def test_a_version_that_the_canary_refused_does_not_go_live(project: Project) -> None:
    project.mlflow.set_model_version_tag("flights", "2", tags.CANARY, "it answers otherwise")
    with pytest.raises(UserError, match="may not go live: it answers otherwise"):
        approve(project.config, "2")


def test_while_a_run_or_another_command_is_at_work_nothing_goes_live(project: Project) -> None:
    with runs.only_one(project.root), pytest.raises(UserError, match="another registry command"):
        approve(project.config)
    assert state(project) == ({CHALLENGER: 3}, None, None)


def test_without_a_challenger_a_version_has_to_be_named(project: Project) -> None:
    approve(project.config)
    with pytest.raises(UserError, match="no version waits for approval"):
        approve(project.config)
    with pytest.raises(UserError, match="is the champion already"):
        approve(project.config, "3")
    with pytest.raises(UserError, match=r"has no version '9'; there is: 3, 2, 1"):
        approve(project.config, "9")


def test_sync_tells_what_waits_once_the_server_is_back(tmp_path: Path) -> None:
    port = free_port()
    settings = {"register.tracking_uri": f"http://127.0.0.1:{port}"}
    project = Project(configure(tmp_path / "root", settings))
    for step, auc in enumerate(AUCS[:2]):
        project.run(f"run-{step}", auc)
    with pytest.raises(UserError, match=r"MLflow at http://127.0.0.1:\d+ cannot be reached"):
        sync(project.config)
    with server(tmp_path / "server", port):
        told = sync(project.config)
        assert [(t.run, t.outcome and t.outcome.model_version) for t in told] == [
            ("run-0", "1"),
            ("run-1", "2"),
        ]
        assert sync(project.config) == []
        assert aliases(project) == {CHAMPION: 2}
        approve(project.config, "1")
        assert served(project) == live(project) == digest(project, 1)
        shutil.rmtree(project.mlflow.get_model_version("flights", "2").tags[tags.MODEL_URI])
        assert approve(project.config, "2").version.number == 2
    assert project.registration()["registered"] == 1


def test_a_damaged_record_keeps_no_other_waiting(project: Project) -> None:
    below = project.root / record.NODE / record.KEY
    folders = sorted(below.iterdir(), key=lambda folder: int(folder.name))
    for folder in folders:
        (folder / record.OUTCOME_FILE).unlink()
    (folders[0] / record.FILE).write_text("{}")
    damaged, *others = sync(project.config)
    assert "is damaged" in damaged.error
    assert all(told.outcome for told in others)


def command(project: Project, *words: str) -> int:
    return main(["registry", *words, "--set", f"root={json.dumps(str(project.root))}"])


def test_the_commands_say_what_there_is_and_what_they_did(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(project, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["version", "3", "2", "1"]
    assert "challenger" in lines[1] and "xgboost" in lines[1] and "auc 0.7700" in lines[1]
    assert command(project, "approve") == 0
    assert "Live: version 3 (xgboost)" in capsys.readouterr().out
    assert command(project, "show", "champion") == 0
    told = capsys.readouterr().out
    pushed = project.artifacts("PushedModel")[-1].id
    assert told.splitlines()[-1].endswith(f" {pushed}")
    assert "python -m pipeline lineage --set" in told
    assert command(project, "sync") == 0
    assert "Nothing waits" in capsys.readouterr().out
    assert command(project, "rollback") == 2
    assert "nothing to roll back to" in capsys.readouterr().err


def test_the_list_says_if_what_is_served_is_not_the_champion(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    approve(project.config, "1")
    project.mlflow.set_registered_model_alias("flights", CHAMPION, "2")
    assert command(project, "list") == 0
    assert "serves another model than the champion, version 2" in capsys.readouterr().out


def test_a_command_imports_no_tensorflow(project: Project) -> None:
    script = (
        "import sys\nfrom pipeline.__main__ import main\n"
        f"main(['registry', 'approve', '--set', {f'root={json.dumps(str(project.root))}'!r}])\n"
        "print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_mlflow_serves_the_champion_as_its_bundle_answers(project: Project, tmp_path: Path) -> None:
    move = approve(project.config)
    port = free_port()
    serve = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/flights@champion"]
    serve += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{project.root}/mlflow.db"
    with started(serve, f"http://127.0.0.1:{port}/ping", tmp_path):
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"dataframe_records": RAW}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            said = json.load(answer)["predictions"]
    expected = Bundle.load(move.push.destination).predict(RAW)
    np.testing.assert_allclose(said, expected, atol=1e-6)
