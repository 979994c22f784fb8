"""The DAG and its plan in the folder of a Cloud Composer environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import fs

from pipeline.deploy.composer import DAG
from pipeline.deploy.repository import label
from pipeline.files import storage
from tests.pipeline.deploying import Project

IMAGE = f"registry.example.com/flights@sha256:{'ab' * 32}"
FOLDER = "gs://airflow/dags"
PLAN = "flights.airflow.json"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path / "project", monkeypatch)
    made.options = ["--folder", FOLDER]
    return made


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bucket, a folder; as on an object store, a name brings its folders."""

    def at(uri: str) -> tuple[fs.FileSystem, str]:
        path = tmp_path / uri.removeprefix("gs://")
        path.parent.mkdir(parents=True, exist_ok=True)
        return fs.LocalFileSystem(), str(path)

    monkeypatch.setattr(storage, "at", at)
    return tmp_path / "airflow"


def test_plan_of_a_commit_has_its_image_and_can_be_put_back(
    project: Project, bucket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = project.commit()
    assert project.deploy("composer", "--image", IMAGE) == 0
    plan = (bucket / "dags" / PLAN).read_text()
    assert {t["pod"]["spec"]["containers"][0]["image"] for t in json.loads(plan)["tasks"]} == {
        IMAGE
    }
    assert (bucket / "dags" / DAG.name).read_bytes() == DAG.read_bytes()
    project.commit()
    assert project.deploy("composer", "--image", IMAGE.replace("ab", "cd")) == 0
    assert (bucket / "dags" / PLAN).read_text() != plan
    assert project.deploy("composer", "--commit", first) == 0
    assert f"of {label(first)} again" in capsys.readouterr().out
    assert (bucket / "dags" / PLAN).read_text() == plan
    assert project.deploy("composer", "--commit", "0" * 40) == 2
    assert "nothing of that commit" in capsys.readouterr().err


def test_nothing_is_put_anywhere_without_an_environment(
    project: Project, bucket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.commit()
    project.options = ["--folder="]
    assert project.deploy("composer", "--image", IMAGE) == 0
    assert "No Composer environment" in capsys.readouterr().out
    assert not bucket.exists()


def test_image_by_its_tag_is_refused(
    project: Project, bucket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.commit()
    assert project.deploy("composer", "--image", "registry.example.com/flights:1") == 2
    assert "by its digest" in capsys.readouterr().err
    assert not bucket.exists()
