"""The files of Cloud Build: that they can run, and that they keep the rules of the house."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.__main__ import parser
from pipeline.cloudbuild import file
from pipeline.cloudbuild.builders import DEFAULT, find
from pipeline.cloudbuild.file import Build, Step
from pipeline.config import PROJECT

PUSH = PROJECT / "cloudbuild.yaml"
PULL_REQUEST, NIGHTLY, NEW_DATA = (
    PROJECT / "deploy" / "cloudbuild" / name
    for name in ("pull-request.yaml", "nightly.yaml", "new-data.yaml")
)
FILES = [PUSH, PULL_REQUEST, NIGHTLY, NEW_DATA]
WHERE = {"PROJECT_ID": "my-project", "COMMIT_SHA": "0" * 40}
_PYTHON = ".venv/bin/python"


def read(path: Path) -> Build:
    return file.read(path, known=WHERE)


def words(step: Step) -> list[str]:
    return [step.entrypoint, *step.command]


def behind(build: Build, index: int) -> set[int]:
    """The steps that have ended well before this one begins."""
    needs = build.steps[index].needs
    return set(needs).union(*(behind(build, need) for need in needs))


def names(build: Build, indices: set[int]) -> set[str]:
    return {build.steps[index].id for index in indices}


def all_steps() -> Iterator[Step]:
    for path in FILES:
        yield from read(path).steps


def test_every_file_is_there_and_right() -> None:
    found = {PUSH, *(PROJECT / "deploy" / "cloudbuild").glob("*.yaml")}
    assert found == set(FILES)
    for path in FILES:
        assert all(step.id for step in read(path).steps)
        assert not read(path).foreign


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_step_is_one_command_that_a_person_can_type(path: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for step in read(path).steps:
        assert not step.script
        match words(step):
            case ["make", target, *settings]:
                assert target in targets
                assert all(re.match(r"(ARGS|EXTRAS)=", setting) for setting in settings)
            case [program, "-m", "pipeline", *arguments] if program == _PYTHON:
                assert parser().parse_args(arguments).run
            case ["install", "-D", source, target]:
                assert source.startswith(("/usr/local/", "/bin/")) and target.startswith("/")
            case other:
                pytest.fail(f"{step.name}: {other}")


def test_every_image_has_a_version_and_something_stands_for_it_here() -> None:
    for step in all_steps():
        assert re.search(r":[0-9]+\.[0-9]+\.[0-9]+(-[a-z]+)?$", step.builder), step.builder
        assert find(step.builder, DEFAULT)


def test_no_step_but_a_quick_one_can_hang_for_the_builds_whole_time() -> None:
    for path in FILES:
        build = read(path)
        for step in build.steps:
            assert (step.timeout or 0) < build.timeout
            assert step.timeout or step.entrypoint == "install"


def test_the_builds_time_is_enough_for_the_longest_way_through() -> None:
    for path in FILES:
        build = read(path)
        ends: dict[int, float] = {}
        for step in build.steps:
            begins = max((ends[need] for need in step.needs), default=0.0)
            ends[step.index] = begins + (step.timeout or 60)
        assert max(ends.values()) <= build.timeout, path.name


def test_a_release_has_passed_everything_else() -> None:
    build = read(PUSH)
    places = {step.id: step.index for step in build.steps}
    before = names(build, behind(build, places["release"]))
    after = {"release", "smoke", "composer", "run"}
    assert before == {step.id for step in build.steps} - after
    assert names(build, behind(build, places["composer"])) >= {"smoke", "release"}
    assert names(build, behind(build, places["run"])) >= {"smoke", "release"}


def test_what_is_at_work_is_changed_by_one_step_and_put_back_if_that_is_bad() -> None:
    changing = [
        (step.id, words(step)[4])
        for step in read(PUSH).steps
        if words(step)[1:4] == ["-m", "pipeline", "deploy"]
        and words(step)[4] in ("release", "rollback", "smoke", "composer", "run")
    ]
    assert changing == [(name, name) for name in ("release", "smoke", "composer", "run")]
    smoke = next(step for step in read(PUSH).steps if step.id == "smoke")
    assert "--rollback" in smoke.command


def test_a_pull_request_pushes_and_deploys_nothing_and_is_told_no_secret() -> None:
    build = read(PULL_REQUEST)
    said = [word for step in build.steps for word in words(step)]
    assert not {"--push", "release", "rollback", "smoke", "composer", "run"} & set(said)
    assert not build.secrets
    deploying = {"release", "smoke", "composer", "run"}
    assert {s.id for s in build.steps} == {s.id for s in read(PUSH).steps} - deploying


def test_the_password_reaches_only_the_steps_that_open_the_store() -> None:
    for path in (PUSH, NIGHTLY, NEW_DATA):
        with_secrets = {step.id for step in read(path).steps if step.secrets}
        assert with_secrets <= {"release", "smoke", "composer", "run", "policy", "scan"}
    assert not any(step.secrets for step in read(PUSH).steps if step.id == "scan")


def test_a_client_of_docker_speaks_with_cloud_builds_old_server() -> None:
    versions = [s.builder for s in all_steps() if s.builder.startswith("docker:")]
    assert versions and all(int(re.findall(r"\d+", version)[0]) < 29 for version in versions)


def test_what_checks_the_infrastructure_has_terraform() -> None:
    for path in (PUSH, PULL_REQUEST, NIGHTLY):
        build = read(path)
        for step in build.steps:
            if step.id in ("lint", "test"):
                assert "terraform" in names(build, behind(build, step.index)), path.name
                assert step.environment["PATH"].startswith("/workspace/.tools/bin:")


def test_the_tests_of_the_night_do_not_wait_for_what_is_deployed() -> None:
    build = read(NIGHTLY)
    for step in build.steps:
        if step.id in ("lint", "test", "image"):
            assert not {"smoke", "scan"} & names(build, behind(build, step.index))


def test_a_release_has_the_time_to_wait_for_another() -> None:
    (release,) = (step for step in read(PUSH).steps if step.id == "release")
    assert (release.timeout or 0) >= 1500 + 300


def test_the_run_and_its_target_are_chosen_by_substitutions() -> None:
    given = {"_RUN_ON_DEPLOY": "true", "_TARGET": "vertex", "_CONFIG": "configs/x.toml"}
    build = file.read(PUSH, given, WHERE)
    commands = {step.id: " ".join(step.command) for step in build.steps}
    assert "--if=true" in commands["run"]
    for name in ("compile", "compare", "release", "smoke", "run"):
        assert "--target=vertex" in commands[name] and "--config=configs/x.toml" in commands[name]


def test_places_are_made_of_the_project_and_the_region() -> None:
    build = file.read(PUSH, {"_REGION": "europe-west1"}, WHERE)
    image = next(step for step in build.steps if step.id == "image")
    assert "--repository=europe-west1-docker.pkg.dev/my-project/flights/flights" in image.command
    assert build.location == f"gs://my-project-flights-logs/builds/{'0' * 40}/"
    assert build.secrets == {
        "PIPELINE_STORE_PASSWORD": "projects/my-project/secrets/metadata-store/versions/latest"
    }


def test_nothing_is_named_latest_but_the_secrets() -> None:
    for path in FILES:
        lines = path.read_text().splitlines()
        latest = [line.strip() for line in lines if "latest" in line]
        assert all(line.startswith("- versionName: ") for line in latest)


def test_lint_checks_every_file() -> None:
    lint = (PROJECT / "Makefile").read_text()
    assert "pipeline cloudbuild check cloudbuild.yaml deploy/cloudbuild/*.yaml" in lint
