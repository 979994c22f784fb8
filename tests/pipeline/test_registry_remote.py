"""The registry's commands where artifacts and served models lie on an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from custom_components import serving_folder
from custom_components.registrar import record, tags
from custom_components.registrar.record import CHALLENGER, CHAMPION
from models import manifest
from pipeline import lineage
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.registry.live import approve, rollback
from pipeline.registry.waiting import sync
from tests import object_stores
from tests.custom_components.registrations import Project, configure, free_port

ROOT = f"s3://{object_stores.BUCKET}/registry"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Three runs; of the last one MLflow, which was away, was not told."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch, object_stores.reached(object_stores.s3):
        patch.setattr("pipeline.config.PROJECT", folder)
        settings = {"data.schema_file": "unused"}
        project = Project(configure(Path("root"), settings))
        config = project.config.model_copy(update={"root": ROOT})
        project = Project(config)
        for step in (1, 2):
            project.run(f"run-{step}", {"keras": 0.7 + step / 100}, pushes=False)
        away = config.registration.model_copy(
            update={"tracking_uri": f"http://127.0.0.1:{free_port()}", "timeout_seconds": 1.0}
        )
        Project(config.model_copy(update={"registration": away})).run(
            "run-3", {"keras": 0.75}, pushes=False
        )
        yield project


def served(project: Project) -> str | None:
    """The digest of what a server would load."""
    newest = serving_folder.newest(project.config.serving_directory)
    if newest is None:
        return None
    with storage.Copies() as copies:
        folder = copies.of(newest)
        found = manifest.read(folder)
        manifest.verify(folder, found)
    return found.digest


def digest(project: Project, version: int) -> str:
    return str(project.mlflow.get_model_version("flights", str(version)).tags[tags.DIGEST])


def test_what_mlflow_was_not_told_is_told_later(project: Project) -> None:
    (folder,) = record.waiting(ROOT)
    assert folder.startswith(f"{ROOT}/Registrar/registration/")
    (told,) = sync(project.config)
    assert told.outcome is not None
    assert told.outcome.model_version == "3"
    assert record.waiting(ROOT) == []
    assert project.mlflow.get_registered_model("flights").aliases[CHALLENGER] == 3
    uri = project.mlflow.get_model_version("flights", "3").tags[tags.MODEL_URI]
    assert uri.startswith(f"{ROOT}/ModelSelector/model/")


def test_a_version_goes_live_and_back_there(project: Project) -> None:
    approve(project.config, "1")
    move = approve(project.config, "2")
    assert served(project) == digest(project, 2)
    live = lineage.open(project.config).live_model()
    assert live.uri.startswith(f"{ROOT}/Pusher/pushed_model/")
    assert storage.exists(f"{live.uri}/{manifest.FILE}")
    assert move.push.destination.startswith(f"{ROOT}/serving/")
    rollback(project.config)
    assert served(project) == digest(project, 1)
    assert project.mlflow.get_registered_model("flights").aliases[CHAMPION] == 1


def test_what_could_not_be_done_is_undone_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> set[str]:
        found = {entry.name for entry in storage.entries(ROOT) if not entry.is_folder}
        return {name for name in found if name.startswith(("serving/", "Pusher/"))}

    def refuse(*_: object) -> None:
        raise UserError("MLflow is away")

    before = names(), served(project)
    monkeypatch.setattr("pipeline.registry.versions.Registry.note_push", refuse)
    with pytest.raises(UserError, match="MLflow is away"):
        approve(project.config, "2")
    assert (names(), served(project)) == before
