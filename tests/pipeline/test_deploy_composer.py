"""The DAG and its plan in the folder of a Cloud Composer environment."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pyarrow import fs

from pipeline.deploy.composer import DAGS
from pipeline.deploy.repository import label
from pipeline.files import storage
from pipeline.store import deployments
from tests.pipeline.deploying import Project

IMAGE = f"registry.example.com/flights@sha256:{'ab' * 32}"
FOLDER = "gs://airflow/dags"
PLAN = "flights.airflow.json"
OPTIONS = ["--set", "root=gs://bucket/flights", "--set", "tasks.defaults.volumes={}"]
OPTIONS += ["--set", "register.enabled=false"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path / "project", monkeypatch)
    made.options = ["--folder", FOLDER, *OPTIONS]
    monkeypatch.setattr(deployments, "alone", lambda config: nullcontext(Kept()))
    return made


class Kept:
    """The deployments in the store."""

    records: ClassVar[list[Any]] = []

    def all(self, target: str) -> list[Any]:
        """Those of the target of the tests."""
        assert target == "kfp"
        return self.records


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
    for file in DAGS.glob("*.py"):
        assert (bucket / "dags" / file.name).read_bytes() == file.read_bytes()
    project.commit()
    assert project.deploy("composer", "--image", IMAGE.replace("ab", "cd")) == 0
    assert (bucket / "dags" / PLAN).read_text() != plan
    digest = hashlib.sha256(plan.encode()).hexdigest()[:12]  # Runs that began with it go on.
    assert (bucket / "dags" / "kept" / f"{digest}.json").read_text() == plan
    assert project.deploy("composer", "--commit", first) == 0
    assert f"of {label(first)} again" in capsys.readouterr().out
    assert (bucket / "dags" / PLAN).read_text() == plan
    assert project.deploy("composer", "--commit", "0" * 40) == 2
    assert "nothing of that commit" in capsys.readouterr().err


def test_nothing_is_put_anywhere_without_an_environment(
    project: Project, bucket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.commit()
    project.options = ["--folder=", *OPTIONS]
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


def test_nothing_is_put_there_where_another_commit_is_deployed(
    project: Project,
    bucket: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    older = project.commit()
    fields = dict.fromkeys(deployments.Facts.__dataclass_fields__, "")
    newer = deployments.Record(
        **{**fields, "commit": "1" * 40, "action": deployments.RELEASE},
        id=1,
        when=datetime.now(UTC),
        outcome=deployments.COMPLETE,
        reason="",
    )
    monkeypatch.setattr(Kept, "records", [newer])
    assert project.deploy("composer", "--image", IMAGE) == 0
    assert "Nothing to do: 1111111" in capsys.readouterr().out
    assert not bucket.exists()
    monkeypatch.setattr(Kept, "records", [replace(newer, commit=older)])
    assert project.deploy("composer", "--image", IMAGE) == 0
    assert (bucket / "dags" / PLAN).exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("root=/pipeline/flights", "Composer's tasks share a bucket"),
        ("store.url=sqlite:////tmp/store.sqlite", "name a PostgreSQL or MySQL server"),
        ("tasks.defaults.volumes={pipeline-root='/pipeline'}", "Composer has no claims"),
        ("tasks.nodes.Pusher.volumes={models='/models'}", "volumes models"),
    ],
)
def test_configuration_that_no_pod_of_composer_could_work_with_is_refused(
    project: Project, bucket: Path, capsys: pytest.CaptureFixture[str], setting: str, said: str
) -> None:
    project.commit()
    project.options += ["--set", setting, "--set", "tasks.one_machine=true"]
    assert project.deploy("composer", "--image", IMAGE) == 2
    assert said in capsys.readouterr().err
    assert not bucket.exists()
