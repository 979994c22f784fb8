"""`deploy image` and `deploy trainers`: what is built, what is not built again, what is refused."""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy import image, image_commands, image_programs, sbom
from pipeline.deploy.image import Request
from pipeline.deploy.image_builders import choose
from pipeline.deploy.image_source import source
from pipeline.errors import UserError
from tests.deploy import image_project, registries
from tests.deploy.image_project import git


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return image_project.make(tmp_path / "project")


@pytest.fixture
def buildah(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with registries.buildah(tmp_path, monkeypatch) as address:
        yield address


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in of Docker notes what it was told."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(registries.DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_STATE", str(tmp_path / "docker.json"))
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    return tmp_path / "docker.json"


def calls(docker: Path, verb: str) -> list[list[str]]:
    said = json.loads(docker.read_text())["calls"]
    return [words for words in said if words[:2] == ["buildx", verb]]


# what is built from


def test_an_image_is_built_of_the_files_of_the_commit_and_no_others(project: Path) -> None:
    (project / "models" / "secret.py").write_text("not committed")
    with source(project=project) as found:
        assert (found.folder / "models" / "a.py").read_text() == "A = 1\n"
        assert not (found.folder / "models" / "secret.py").exists()
        assert not (found.folder / ".git").exists()
    assert not found.folder.exists()


def test_changed_files_are_refused_by_their_names(project: Path) -> None:
    (project / "models" / "a.py").write_text("A = 2\n")
    with (
        pytest.raises(UserError, match=r"(?s)M models/a\.py.*--allow-dirty"),
        source(project=project),
    ):
        pass


def test_a_changed_tree_is_built_as_it_is_if_asked_and_says_so(project: Path) -> None:
    (project / "models" / "a.py").write_text("A = 2\n")
    with source(allow_dirty=True, project=project) as found:
        assert found.folder == project
        assert found.arguments["COMMIT"].endswith("+")
        assert re.fullmatch(r"[0-9a-f]{40}-dirty-\d{14}", found.tag)


def test_the_label_of_the_repository_holds_no_password(project: Path) -> None:
    with source(project=project) as found:
        assert found.arguments["SOURCE"] == "https://git.example.com/flights.git"


def test_the_same_commit_is_built_with_the_same_arguments(project: Path) -> None:
    with source(project=project) as first, source(project=project) as second:
        assert first.arguments == second.arguments
        assert first.arguments["CREATED"].endswith("Z")


@pytest.mark.parametrize("repository", ["host/Flights", "host/flights:1", "host/flights@sha256:1"])
def test_a_repository_with_a_tag_or_capitals_is_refused(repository: str) -> None:
    with pytest.raises(UserError, match="without a tag"):
        Request(repository=repository)


def test_a_registry_may_have_a_port() -> None:
    assert Request(repository="host:5000/flights", push=True).push


def test_a_push_needs_a_place() -> None:
    with pytest.raises(UserError, match="--push needs --repository"):
        Request(push=True)


# with buildah, and a registry


def test_buildah_pushes_an_image_and_tells_its_digest(
    project: Path, buildah: str, tmp_path: Path
) -> None:
    request = Request(f"{buildah}/team/flights", push=True, builder="buildah", project=project)
    output, bill = tmp_path / "build" / "image.json", tmp_path / "build" / "sbom.json"
    made = image.build(request, output=output, sbom=bill)
    head = git(project, "rev-parse", "HEAD")
    facts = json.loads(output.read_text())
    assert facts == {
        "repository": f"{buildah}/team/flights",
        "commit": head,
        "tag": head,
        "digest": made.digest,
        "pushed": True,
        "sbom": str(bill),
        "reference": f"{buildah}/team/flights@{made.digest}",
    }
    inspect = ["skopeo", "inspect", f"docker://{made.reference}"]
    said = json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)
    assert said["Digest"] == made.digest and said["RepoTags"] == [head]
    assert said["Labels"]["revision"] == head
    assert "hidden" not in json.dumps(said)


def test_the_same_commit_is_not_built_again(
    project: Path, buildah: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(f"{buildah}/flights", push=True, builder="buildah", project=project)
    first = image.build(request, output=tmp_path / "first.json")
    built = choose("buildah")
    monkeypatch.setattr(type(built), "build", None)
    assert image.build(request, output=tmp_path / "second.json") == first
    assert (tmp_path / "second.json").read_text() == (tmp_path / "first.json").read_text()


def test_the_bill_of_materials_names_the_image_and_what_is_installed(
    project: Path, buildah: str, tmp_path: Path
) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    request = Request(f"{buildah}/flights", builder="buildah", project=project)
    made = image.build(request, output=tmp_path / "image.json", sbom=tmp_path / "sbom.json")
    text = (tmp_path / "sbom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    subject = document["metadata"]["component"]
    assert (subject["name"], subject["version"]) == (made.repository, made.digest)
    assert {c["purl"]: c.get("licenses") for c in document["components"]} == {
        "pkg:deb/debian/libtoy@2:1.0-1?arch=amd64&distro=debian-13": None,
        "pkg:pypi/toy-package@1.2": [{"license": {"id": "MIT"}}],
    }
    assert not subprocess.run(["buildah", "ps", "-q"], capture_output=True).stdout


def test_layers_are_kept_in_the_registry_for_other_machines(
    project: Path, buildah: str, tmp_path: Path
) -> None:
    cache = f"{buildah}/layers"
    request = Request(f"{buildah}/flights", builder="buildah", cache=cache, project=project)
    image.build(request, output=tmp_path / "image.json")
    tags = ["skopeo", "list-tags", f"docker://{cache}"]
    assert json.loads(subprocess.run(tags, check=True, capture_output=True).stdout)["Tags"]


@pytest.mark.parametrize(
    ("status", "meaning"), [(401, "sign in"), (403, "sign in"), (500, "see what skopeo said")]
)
def test_a_registry_that_refuses_is_told_and_nothing_is_written(
    project: Path, buildah: str, tmp_path: Path, status: int, meaning: str
) -> None:
    with registries.refusing(status) as address, pytest.raises(UserError, match=meaning):
        request = Request(f"{address}/flights", push=True, builder="buildah", project=project)
        image.build(request, output=tmp_path / "image.json")
    assert not (tmp_path / "image.json").exists()


def test_a_registry_that_is_not_there_is_told(project: Path, buildah: str, tmp_path: Path) -> None:
    request = Request("127.0.0.1:9/flights", push=True, builder="buildah", project=project)
    with pytest.raises(UserError, match="cannot be reached"):
        image.build(request, output=tmp_path / "image.json")


def test_a_base_image_that_cannot_be_pulled_is_told(
    project: Path, buildah: str, tmp_path: Path
) -> None:
    arguments = {"BASE": f"{buildah}/no/such:1"}
    request = Request(builder="buildah", arguments=arguments, project=project)
    with pytest.raises(UserError, match=r"(?s)the base image cannot be pulled.*manifest unknown"):
        image.build(request, output=tmp_path / "image.json")


# with Docker's command line


def test_docker_keeps_layers_attests_and_tells_the_digest(
    project: Path, docker: Path, tmp_path: Path
) -> None:
    request = Request(
        "registry.example.com/flights",
        push=True,
        cache="registry.example.com/layers",
        secrets=["id=pip,src=pip.conf"],
        project=project,
    )
    made = image.build(request, output=tmp_path / "image.json", sbom=tmp_path / "sbom.json")
    (words,) = calls(docker, "build")
    cache = "type=registry,ref=registry.example.com/layers:pipeline"
    for pair in (
        ("--cache-from", cache),
        ("--cache-to", f"{cache},mode=max,image-manifest=true,ignore-error=true"),
        ("--tag", f"registry.example.com/flights:{made.commit}"),
        ("--secret", "id=pip,src=pip.conf"),
        ("--build-arg", f"COMMIT={made.commit}"),
    ):
        assert any(pair == two for two in itertools.pairwise(words)), pair
    assert {"--sbom=true", "--provenance=mode=max"} <= set(words)
    assert json.loads((tmp_path / "sbom.json").read_text())["spdxVersion"] == "SPDX-2.3"
    (made_at, asked) = calls(docker, "imagetools")
    assert made_at[3].endswith(made.commit) and asked[3] == made.reference
    assert len(calls(docker, "create")) == 1
    assert image.build(request, output=tmp_path / "again.json") == image.Image(
        **{**vars(made), "sbom": None}
    )
    assert len(calls(docker, "build")) == 1


def test_docker_has_no_bill_of_materials_of_what_is_not_pushed(
    project: Path, docker: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--sbom needs --push"):
        image.build(Request(project=project), output=tmp_path / "i", sbom=tmp_path / "s")
    assert not calls(docker, "build")


def test_a_push_of_changed_files_never_takes_the_tag_of_the_commit(
    project: Path, docker: Path, tmp_path: Path
) -> None:
    (project / "models" / "a.py").write_text("A = 2\n")
    request = Request("host.example/flights", push=True, allow_dirty=True, project=project)
    made = image.build(request, output=tmp_path / "image.json")
    assert "-dirty-" in made.tag and not calls(docker, "imagetools")


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("write /x: no space left on device", "the disk is full"),
        ("ERROR: failed to push h/f: unexpected status: 403 Forbidden", "sign in"),
        ('denied: Permission "artifactregistry.repositories.uploadArtifacts" denied', "sign in"),
        ("manifest invalid: cannot overwrite tag abc: immutable", "lets no tag be moved"),
        ("failed to resolve source metadata for docker.io/library/x:1", "base image cannot be"),
        ("dial tcp: lookup registry.example.com: no such host", "cannot be reached"),
        ('ERROR: process "/bin/sh -c pip" did not complete: exit code: 2', "see what docker said"),
    ],
)
def test_a_build_that_fails_says_why_in_words(
    project: Path, docker: Path, tmp_path: Path, said: str, meaning: str
) -> None:
    state = {"builders": [], "tags": {}, "calls": [], "failure": ["build", said]}
    docker.write_text(json.dumps(state))
    with pytest.raises(UserError) as refused:
        image.build(Request(project=project), output=tmp_path / "image.json")
    assert meaning in str(refused.value) and said in str(refused.value)
    assert not (tmp_path / "image.json").exists()


def test_without_a_builder_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, sentence in {
        "docker": "docker is not installed; or build with --builder buildah",
        "buildah": "buildah is not installed",
        None: "nothing here builds images: buildah is not installed, and docker is not installed",
    }.items():
        with pytest.raises(UserError, match=f"^{sentence}$"):
            choose(name)


def test_a_program_that_is_not_there_is_told() -> None:
    for call in (
        lambda: image_programs.run(["no-such"], "X"),
        lambda: image_programs.ask(["no-such"]),
    ):
        with pytest.raises(UserError, match="no-such is not installed"):
            call()


# the command line


def parsed(*words: str) -> Any:
    parser = argparse.ArgumentParser()
    image_commands.add_commands(parser.add_subparsers(required=True))
    return parser.parse_args(words)


def test_the_command_line_names_what_it_expects(capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (("trainers", "cobol"), "'cobol': expected one of keras, pytorch, sklearn, xgboost"),
        (("image", "--build-arg", "EXTRAS"), "'EXTRAS': expected KEY=VALUE"),
        (("image", "--builder", "kaniko"), "invalid choice: 'kaniko'"),
    ):
        with pytest.raises(SystemExit):
            parsed(*words)
        assert sentence in capsys.readouterr().err


def test_the_command_prints_the_reference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(request: Request, *, output: Path, sbom: Path | None) -> image.Image:
        assert request.arguments == {"EXTRAS": "pytorch"}
        assert (output, sbom) == (Path("build/image.json"), Path("x.json"))
        return image.Image(request.repository, "abc", "abc", "sha256:1", pushed=True)

    monkeypatch.setattr(image, "build", build)
    words = ("image", "--repository", "h/f", "--build-arg", "EXTRAS=pytorch", "--sbom", "x.json")
    given = parsed(*words)
    given.run(given)
    assert capsys.readouterr().out == "h/f@sha256:1\n"


def test_a_bill_of_materials_without_its_library_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedx.model.bom", None)
    with pytest.raises(UserError, match="make setup"):
        sbom.bill(tmp_path, repository="h/f", digest="sha256:1")
