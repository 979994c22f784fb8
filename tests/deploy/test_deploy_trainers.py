"""`deploy trainers`: an image is built again if what it contains has changed, and only then."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.deploy import trainers
from pipeline.deploy.image import Request
from pipeline.errors import UserError
from pipeline.train_config import Framework
from tests.deploy import image_project, registries
from tests.deploy.image_project import commit
from tools.environment import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return image_project.make(tmp_path / "project")


@pytest.fixture
def buildah(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with registries.buildah(tmp_path, monkeypatch) as address:
        yield address


def test_a_trainer_is_built_again_only_if_its_content_changed(
    project: Path, buildah: str, tmp_path: Path
) -> None:
    request = Request(f"{buildah}/flights", push=True, builder="buildah", project=project)
    both = [Framework.SKLEARN, Framework.XGBOOST]

    def built() -> list[bool]:
        made = trainers.build(request, both, output=tmp_path / "trainers.json")
        return [each.built for each in made]

    assert built() == [True, True]
    before = json.loads((tmp_path / "trainers.json").read_text())
    commit(project, {"docs/index.md": "more\n", "README.md": "new\n"})
    assert built() == [False, False]
    assert {k: v["digest"] for k, v in before.items()} == {
        k: v["digest"] for k, v in json.loads((tmp_path / "trainers.json").read_text()).items()
    }
    commit(project, {"locks/xgboost.lock": "xgboost==4\n"})
    assert built() == [False, True]
    commit(project, {"models/a.py": "A = 3\n"})
    assert built() == [True, True]
    said = json.loads((tmp_path / "trainers.json").read_text())["xgboost"]
    assert said["repository"] == f"{buildah}/flights-trainer-xgboost"
    assert said["reference"] == f"{said['repository']}@{said['digest']}"


def test_the_content_of_each_trainer_is_all_that_its_dockerfile_copies() -> None:
    for framework in Framework:
        found = trainers.copied(ROOT, trainers.DOCKERFILE, {"FRAMEWORK": framework.value})
        names = {str(file.relative_to(ROOT)) for file in found}
        assert {"models/train.py", "pipeline/errors.py", "configs/flights.toml"} <= names
        locks = {name for name in names if name.endswith(".lock")}
        folder = "deploy/docker/trainer"
        assert locks == {f"{folder}/base.lock", f"{folder}/{framework}.lock"}


def every_copy() -> list[str]:
    text = (ROOT / trainers.DOCKERFILE).read_text().replace("\\\n", " ")
    copies = re.findall(r"^\s*(?:COPY|ADD)\s+(?!--from)(.*)$", text, re.MULTILINE)
    return [word for copy in copies for word in copy.split()[:-1]]


@pytest.mark.parametrize("copied", every_copy())
def test_whatever_the_trainers_dockerfile_copies_is_in_the_digest(
    copied: str, tmp_path: Path
) -> None:
    given = {"FRAMEWORK": "xgboost"}
    for word in (trainers.DOCKERFILE, *every_copy()):
        name = word.replace("${FRAMEWORK}", "xgboost")
        if (ROOT / name).is_dir():
            (tmp_path / name).mkdir()
            (tmp_path / name / "file.py").write_text("1")
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    before = trainers.digest(tmp_path, trainers.DOCKERFILE, given)
    target = tmp_path / copied.replace("${FRAMEWORK}", "xgboost")
    target = target / "file.py" if target.is_dir() else target
    target.write_text("2")
    assert trainers.digest(tmp_path, trainers.DOCKERFILE, given) != before


def changed_mode(project: Path) -> None:
    (project / "models/a.py").chmod(0o755)


def renamed(project: Path) -> None:
    (project / "models/a.py").rename(project / "models/b.py")


def other_recipe(project: Path) -> None:
    with (project / trainers.DOCKERFILE).open("a") as file:
        file.write("USER 1\n")


@pytest.mark.parametrize("change", [changed_mode, renamed, other_recipe])
def test_the_digest_changes_with(project: Path, change: Callable[[Path], None]) -> None:
    given = {"FRAMEWORK": "xgboost"}
    before = trainers.digest(project, trainers.DOCKERFILE, given)
    change(project)
    assert trainers.digest(project, trainers.DOCKERFILE, given) != before


def test_the_digest_heeds_the_base_image_and_not_the_commit(project: Path) -> None:
    def digest(**arguments: str) -> str:
        given = {"FRAMEWORK": "xgboost", **arguments}
        return trainers.digest(project, trainers.DOCKERFILE, given)

    assert digest(COMMIT="a", CREATED="b", SOURCE="c") == digest()
    assert digest(BASE_IMAGE="python:3.13") != digest()


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("ADD https://example.com/x /x", "use COPY"),
        ('COPY ["models", "/app"]', "expected plain names"),
        ("COPY --chown=1 models /app", "expected plain names"),
        ("COPY ${UNKNOWN} /app", "expected plain names"),
        ("COPY nowhere /app", "nowhere is copied into an image, and is not in"),
    ],
)
def test_what_the_digest_cannot_know_is_refused(project: Path, line: str, meaning: str) -> None:
    with (project / trainers.DOCKERFILE).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match=meaning):
        trainers.digest(project, trainers.DOCKERFILE, {"FRAMEWORK": "xgboost"})
