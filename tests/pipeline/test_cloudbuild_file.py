"""What is a build, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cloudbuild import file
from pipeline.cloudbuild.file import Build
from pipeline.errors import UserError

Read = Callable[..., Build]
STEP = {"name": "python:3.12", "args": ["true"]}
SECRET = {"versionName": "projects/$PROJECT_ID/secrets/x/versions/latest", "env": "TOKEN"}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_text(content: Any, **given: str) -> Build:
        path = tmp_path / "build.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return file.read(path, given)

    return from_text


def steps(*changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"steps": [STEP | change for change in changes], **more}


def test_substitutions_are_made_in_every_field_but_the_script(read: Read) -> None:
    build = read(
        {
            "steps": [
                {
                    "name": "python:$_V",
                    "id": "a",
                    "dir": "$_D",
                    "entrypoint": "$_E",
                    "args": ["${_V%%.*}", "$$HOME"],
                    "env": ["X=$_D"],
                },
                {"name": "python:3", "script": "echo $_V $HOME"},
            ],
            "artifacts": {"objects": {"location": "gs://b-$_D/", "paths": ["$_D/*.json"]}},
            "substitutions": {"_V": "3.12", "_D": "sub", "_E": "make"},
            "options": {"dynamicSubstitutions": True, "env": ["X=of all", "Y=$_E"]},
        }
    )
    first, second = build.steps
    assert (first.builder, first.folder, first.entrypoint) == ("python:3.12", "sub", "make")
    assert first.command == ("3", "$HOME")
    assert first.environment == {"X": "sub", "Y": "make"}
    assert second.script == "echo $_V $HOME"
    assert (build.artifacts, build.location) == (("sub/*.json",), "gs://b-sub/")


def test_what_is_given_goes_before_the_files_own(read: Read) -> None:
    content = steps({"args": ["$_A"]}, substitutions={"_A": "1"})
    assert read(content, _A="2").steps[0].command == ("2",)
    with pytest.raises(UserError, match=r"has no substitution _B; it has _A\."):
        read(content, _B="2")


def test_a_step_waits_for_all_before_it_or_for_those_that_it_names(read: Read) -> None:
    build = read(
        steps(
            {"id": "a"},
            {"id": "b", "waitFor": ["-"]},
            {},
            {"waitFor": ["b"]},
            {"waitFor": ["-", "a"]},
        )
    )
    assert [set(step.needs) for step in build.steps] == [set(), set(), {0, 1}, {1}, {0}]


def test_allowed_exit_codes_go_before_allow_failure(read: Read) -> None:
    both = {"allowFailure": True, "allowExitCodes": [3]}
    build = read(steps({}, {"allowFailure": True}, {"allowExitCodes": [3]}, both))
    assert [step.allowed for step in build.steps] == [set(), None, {3}, {3}]


def test_mapped_substitutions_are_environment_variables_and_all_used(read: Read) -> None:
    content = steps(
        {"env": ["_A=own"]},
        {"automapSubstitutions": False},
        substitutions={"_A": "1", "_B": "${_A}2"},
        options={"automapSubstitutions": True, "dynamicSubstitutions": True},
    )
    first, second = read(content).steps
    assert (first.environment["_A"], first.environment["_B"]) == ("own", "12")
    assert "COMMIT_SHA" in first.environment
    assert not second.environment


def test_times_are_seconds_and_an_hour_where_nothing_is_said(read: Read) -> None:
    build = read(steps({"timeout": "90s"}))
    assert (build.timeout, build.steps[0].timeout) == (3600, 90)


def test_json_is_read_too(read: Read) -> None:
    assert read('{"steps": [{"name": "python", "args": ["true"]}]}').steps[0].builder == "python"


REFUSED: list[tuple[str, Any, str]] = [
    ("no mapping", "- a", "is no build"),
    ("no YAML", "a: [", "is not YAML"),
    ("a key twice", "steps:\n- name: a\n  name: b\n", "line 2: name is there twice"),
    ("a field that is not there", steps({"nam": "x"}), 'no field named "nam"'),
    ("a number for a text", steps({}, timeout=60), "Duration JSON value not a string"),
    ("a machine that is not there", steps({}, options={"machineType": "X"}), "machineType"),
    ("no steps", {"timeout": "3s"}, "has no steps"),
    ("no image", {"steps": [{"id": "a"}]}, 'step "a": has no name'),
    ("an id twice", steps({"id": "a"}, {"id": "a"}), 'step "a": the id is another'),
    ("the id of the start", steps({"id": "-"}), "stands for the start"),
    ("to wait for nobody", steps({"waitFor": ["x"]}), "there is no step 'x'"),
    ("to wait for itself", steps({"id": "a", "waitFor": ["a"]}), "would go round"),
    (
        "to go round",
        steps({"id": "a", "waitFor": ["b"]}, {"id": "b", "waitFor": ["a"]}),
        "step \"a\": waitFor: 'b' does not come before it",
    ),
    ("a script with args", steps({"script": "x"}), "neither args nor entrypoint"),
    ("an unknown substitution", steps({"args": ["$_A"]}), r"\$_A is not among"),
    ("an unused one", steps({}, substitutions={"_A": ""}), "nothing uses the substitution _A"),
    ("a name without underscore", steps({}, substitutions={"A": "x"}), "A is not of the form"),
    ("env without a value", steps({"env": ["A"]}), "expected NAME=VALUE, not 'A'"),
    ("a step that may take longer", steps({"timeout": "9s"}, timeout="8s"), "at most the build's"),
    ("a build of two days", steps({}, timeout="172800s"), "at most 86400s"),
    ("a secret of nowhere", steps({"secretEnv": ["T"]}), "secretEnv T is in no availableSecrets"),
    (
        "a secret for nobody",
        steps({}, availableSecrets={"secretManager": [SECRET]}),
        "no step has the secretEnv TOKEN",
    ),
    (
        "a secret that is none",
        steps({}, availableSecrets={"secretManager": [SECRET | {"versionName": "x"}]}),
        "'x' is not projects/",
    ),
    (
        "a secret twice",
        steps({"secretEnv": ["A"]}, options={"secretEnv": ["A"]}),
        "names A twice",
    ),
    ("a secret in the open", steps({"secretEnv": ["A"], "env": ["A=1"]}), "A is in env and in"),
    (
        "a volume for one step",
        steps({"volumes": [{"name": "vol", "path": "/v"}]}),
        "one step alone has the volume vol",
    ),
    (
        "a volume over the workspace",
        steps({"volumes": [{"name": "vol", "path": "/workspace/x"}]}),
        "Cloud Build's own",
    ),
    (
        "two volumes in one place",
        steps({"volumes": [{"name": "v1", "path": "/v"}, {"name": "v2", "path": "/v/"}]}),
        "one name or one path",
    ),
    (
        "artifacts to nowhere",
        steps({}, artifacts={"objects": {"paths": ["x"], "location": "/tmp"}}),
        "gs://BUCKET",
    ),
]


@pytest.mark.parametrize(("name", "content", "words"), REFUSED)
def test_what_cannot_be_is_refused_with_the_file_and_the_step(
    read: Read, name: str, content: Any, words: str
) -> None:
    with pytest.raises(UserError, match=words) as refused:
        read(content)
    assert "build.yaml: " in str(refused.value)
    assert "Available Fields" not in str(refused.value)


def test_loose_files_may_name_what_is_not_there_and_leave_things_unused(read: Read) -> None:
    build = read(
        steps(
            {"args": ["<$_A>"]},
            substitutions={"_B": "1"},
            options={"substitutionOption": "ALLOW_LOOSE"},
        )
    )
    assert build.steps[0].command == ("<>",)


def test_a_file_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        file.read(tmp_path / "none.yaml")


def test_what_only_cloud_build_can_do_is_told_apart(read: Read) -> None:
    assert not read(steps({})).foreign
    inline = {"inline": [{"kmsKeyName": "k", "envMap": {"A": "eA=="}}]}
    build = read(steps({}, images=["a/b"], availableSecrets=inline))
    assert build.foreign == ("images", "available_secrets.inline")
