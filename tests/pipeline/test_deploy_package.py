"""Compiling what is deployed: images by their digest, the same bytes wherever it is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.cluster.remote import Package
from pipeline.config import PROJECT
from pipeline.deploy import repository
from pipeline.deploy.package import Built
from pipeline.errors import UserError
from tests.pipeline.deploying import Project

DIGEST = f"sha256:{'ab' * 32}"
IMAGE = f"registry.example.com/flights@{DIGEST}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path / "project", monkeypatch)
    made.options = []
    return made


def test_all_tasks_get_the_image_and_what_was_made_is_kept(project: Project) -> None:
    commit = project.commit()
    Path("build").mkdir()
    Path("build/image.json").write_text(json.dumps({"reference": IMAGE, "commit": commit}))
    assert project.deploy("compile", "--image", "build/image.json") == 0
    built, package = Built.read("kfp")
    assert package.images == [IMAGE]
    assert (built.name, built.commit, built.image) == ("flights", commit, IMAGE)
    assert (built.file, built.digest) == ("build/flights.yaml", package.digest)


def test_the_same_bytes_come_of_it_with_another_image_in_between(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.commit()
    assert project.deploy("compile", "--image", IMAGE) == 0
    golden = Path("build/flights.yaml").rename("golden.yaml")
    other = IMAGE.replace("ab", "cd")
    assert project.deploy("compile", "--image", other) == 0
    written = Path("build/package.json").read_text()
    assert project.deploy("compile", "--compare", str(golden)) == 0
    assert "the same bytes" in capsys.readouterr().out
    assert Path("build/package.json").read_text() == written
    golden.write_text(golden.read_text().replace("pipeline.tasks.init", "pipeline.tasks.other"))
    assert project.deploy("compile", "--compare", str(golden)) == 2
    error = capsys.readouterr().err
    assert "golden.yaml: the package compiled here is another one. Line" in error
    assert "pipeline.tasks.other\nand here:\n" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image", "registry.example.com/flights:latest"], "named by a tag"),
        (["--image", f"flights@{DIGEST[:-1]}"], "named by a tag"),
        (["--image", "nowhere.json"], "nowhere.json: there is no built image"),
        ([], "tasks have images that are named by a tag: registry.example.com/flights:latest"),
        (["--image", IMAGE, "--set", "store.url='sqlite:////data/a.db'"], "the runs would fail"),
        (["--image", IMAGE, "--set", "tasks.nodes.Pusher.image='own:1'"], "by a tag: own:1;"),
        (["--compare", "nowhere.yaml"], "nowhere.yaml: there is no package to compare with"),
    ],
)
def test_what_cannot_be_deployed_is_not_compiled(
    project: Project, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.build(project.commit())
    assert project.deploy("compile", *words) == 2
    assert said in capsys.readouterr().err
    assert Path("build/package.json").exists() == ("--compare" in words)


def test_an_image_of_another_commit_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = project.commit(), project.commit()
    Path("image.json").write_text(json.dumps({"reference": IMAGE, "commit": old}))
    assert project.deploy("compile", "--image", "image.json") == 2
    error = capsys.readouterr().err
    assert f"the image is of commit {old[:9]}, but the code here is of {new[:9]}" in error


def test_a_package_that_was_changed_since_is_refused(project: Project) -> None:
    project.build(project.commit())
    file = Path("build/flights.yaml")
    file.write_text(file.read_text().replace("init", "other"))
    with pytest.raises(UserError, match="it has been changed since"):
        Built.read("kfp")
    file.unlink()
    with pytest.raises(UserError, match="No such file"):
        Built.read("kfp")
    Path("build/package.json").write_text("{")
    with pytest.raises(UserError, match="it is damaged"):
        Built.read("kfp")


def test_a_version_is_named_by_the_commit_and_is_one_of_the_content(project: Project) -> None:
    commit = project.commit()
    package, other = project.build(commit), project.build(commit, note="other")
    assert package.version.startswith(f"flights-{commit[:9]}-")
    assert package.version != other.version
    unlabelled = Package(package.text)
    assert unlabelled.version == package.version.replace(f"{commit[:9]}-", "")


def test_outside_a_repository_nothing_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repository, "PROJECT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["deploy", "compile", "--image", IMAGE]) == 2
    assert "git knows no commit here" in capsys.readouterr().err


def test_the_default_configuration_is_there() -> None:
    from pipeline.deploy.commands import CONFIG

    assert (PROJECT / CONFIG).is_file()
