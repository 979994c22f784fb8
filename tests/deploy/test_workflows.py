"""What CI does elsewhere: GitHub's workflows, GitLab's file, and who is asked to review."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import __main__ as command_line
from tools.environment import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
NAMES = [file.stem for file in WORKFLOWS]
GITLAB = ROOT / ".gitlab-ci.yml"
PYTHON = ".venv/bin/python -m pipeline "


def read(file: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as a truth
    text = re.sub(r"^on:", '"on":', file.read_text(), flags=re.MULTILINE)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(file)["jobs"]
    return found


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(file).values() for step in job.get("steps", [])]


def commands(*files: Path) -> Iterator[str]:
    """What is run, of the local actions and workflows too that these use."""
    for file in files:
        content = read(file)
        own = content["runs"]["steps"] if "runs" in content else steps(file)
        called = [job["uses"] for job in content.get("jobs", {}).values() if "uses" in job]
        for used in called:
            yield from commands(ROOT / used)
        for step in own:
            if step.get("uses", "").startswith("./"):
                yield from commands(ROOT / step["uses"] / "action.yml")
            elif "run" in step:
                yield step["run"]


def gitlab_commands() -> list[str]:
    file = read(GITLAB)
    return [
        line for job in file.values() if isinstance(job, dict) for line in job.get("script", ())
    ]


def deployed(lines: Iterable[str]) -> list[str]:
    """The commands of `deploy`, in their order."""
    return re.findall(r"-m pipeline deploy (\w+)", "\n".join(lines))


def verbs(lines: Iterable[str]) -> list[str]:
    """The commands of `deploy` and the targets of `make`, in their order."""
    return re.findall(r"(?:-m pipeline deploy|^make) (\w+)", "\n".join(lines), re.MULTILINE)


@pytest.mark.parametrize("file", [*WORKFLOWS, *GITHUB.glob("actions/*/action.yml")], ids=str)
def test_every_action_is_pinned_by_its_commit_and_says_which_version_that_is(file: Path) -> None:
    used = re.findall(r"uses: (.+)", file.read_text())
    for action in used:
        if action.startswith("./"):
            assert (ROOT / action).exists()
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@pytest.mark.parametrize("file", WORKFLOWS, ids=NAMES)
def test_a_job_may_do_no_more_than_it_must(file: Path) -> None:
    assert read(file)["permissions"] == {}
    for name, job in jobs(file).items():
        signs_in = {"id-token": "write"} if name in ("deploy", "scan") else {}
        assert job["permissions"] == {"contents": "read"} | signs_in, name


@pytest.mark.parametrize("file", WORKFLOWS, ids=NAMES)
def test_no_key_and_no_secret_of_github_is_used(file: Path) -> None:
    assert not re.search(r"secrets\.|credentials_json", file.read_text())


@pytest.mark.parametrize("file", WORKFLOWS, ids=NAMES)
def test_no_job_runs_without_end(file: Path) -> None:
    assert all("timeout-minutes" in job for job in jobs(file).values() if "uses" not in job)


@pytest.mark.parametrize("file", WORKFLOWS, ids=NAMES)
def test_no_checkout_leaves_a_token_behind(file: Path) -> None:
    checkouts = [s for s in steps(file) if s.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert checkouts or all("uses" in job for job in jobs(file).values())


@pytest.mark.parametrize(
    "line", [*dict.fromkeys(commands(*WORKFLOWS)), *gitlab_commands()], ids=lambda line: line[:60]
)
def test_a_step_is_one_command_that_a_person_can_run(line: str) -> None:
    assert not re.search(r"\n|&&|\|\||;|[|>]|\$\{\{", line)
    if line.startswith("make "):
        (targets,) = re.findall(r"^\.PHONY: (.+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert line.split()[1] in targets.split()
    elif line.startswith(PYTHON):
        choices = {"TARGET": "kfp", "RUN_ON_DEPLOY": "true"}
        words = [
            next((value for name, value in choices.items() if word.endswith(name)), word)
            for word in shlex.split(line.removeprefix(PYTHON))
        ]
        command_line.parser().parse_args(words)
    else:
        assert line.startswith("gcloud auth configure-docker")


def test_only_a_push_to_main_deploys() -> None:
    deploying = [file for file in WORKFLOWS if "release" in deployed(commands(file))]
    assert [file.stem for file in deploying] == ["push"]
    assert read(deploying[0])["on"] == {"push": {"branches": ["main"]}}


def test_a_pull_request_pushes_and_deploys_nothing() -> None:
    lines = list(commands(GITHUB / "workflows" / "pull-request.yml"))
    assert set(deployed(lines)) == {"image", "trainers", "compile"}
    assert not [line for line in lines if "--push" in line]


def test_a_push_tests_builds_scans_compiles_and_releases_in_this_order() -> None:
    assert jobs(GITHUB / "workflows" / "push.yml")["deploy"]["needs"] == "checks"
    order = ["lint", "check", "e2e", "image", "trainers", "scan", "compile", "compile"]
    order += ["release", "smoke", "composer", "run"]
    for lines in (list(commands(GITHUB / "workflows" / "push.yml")), gitlab_commands()):
        assert [verb for verb in verbs(lines) if verb != "setup"] == order
        (smoke,) = [line for line in lines if "deploy smoke" in line]
        assert "--rollback" in smoke


def test_the_password_of_the_store_comes_after_all_that_others_wrote_has_run() -> None:
    named = [step.get("uses") or step["run"] for step in steps(GITHUB / "workflows" / "push.yml")]
    (password,) = [i for i, name in enumerate(named) if "get-secretmanager-secrets" in name]
    assert deployed(named[:password]) == ["image", "trainers", "compile", "compile"]
    assert not [name for name in named[password:] if name.startswith("make")]


def test_the_password_of_the_store_comes_after_all_actions_of_others_at_night_too() -> None:
    named = [
        step.get("uses", "") for step in jobs(GITHUB / "workflows" / "nightly.yml")["scan"]["steps"]
    ]
    (password,) = [i for i, name in enumerate(named) if "get-secretmanager-secrets" in name]
    assert not any(named[password + 1 :])


def test_at_gitlab_only_what_opens_the_store_is_in_the_environment_of_its_password() -> None:
    scoped = {name: job for name, job in read(GITLAB).items() if "environment" in job}
    assert set(scoped) == {"deploy"}
    assert deployed(scoped["deploy"]["script"]) == ["release", "smoke", "composer", "run"]
    assert "environment `production` alone, PIPELINE_STORE_PASSWORD" in GITLAB.read_text()


def test_deployments_wait_for_one_another_and_none_is_cut_off() -> None:
    job = jobs(GITHUB / "workflows" / "push.yml")["deploy"]
    assert job["concurrency"] == {"group": "deploy", "cancel-in-progress": False}
    assert "concurrency" not in read(GITHUB / "workflows" / "push.yml")
    assert read(GITLAB)["deploy"]["resource_group"] == "deploy"


@pytest.mark.parametrize(
    ("workflow", "build"),
    [
        ("push", "cloudbuild.yaml"),
        ("pull-request", "deploy/cloudbuild/pull-request.yaml"),
        ("nightly", "deploy/cloudbuild/nightly.yaml"),
    ],
)
def test_github_and_cloud_build_run_the_same_commands(workflow: str, build: str) -> None:
    there = read(ROOT / build)["steps"]
    theirs = [" ".join([step["entrypoint"], *step["args"]]) for step in there]
    ours = commands(GITHUB / "workflows" / f"{workflow}.yml")
    assert set(verbs(ours)) == set(verbs(theirs))


@pytest.mark.parametrize(
    ("image", "action", "key", "before"),
    [
        ("aquasec/trivy", "setup-trivy", "version", "v"),
        ("hashicorp/terraform", "setup-terraform", "terraform_version", ""),
    ],
)
def test_github_and_cloud_build_have_the_same_version_of_a_program(
    image: str, action: str, key: str, before: str
) -> None:
    builds = [ROOT / "cloudbuild.yaml", *(ROOT / "deploy" / "cloudbuild").glob("*.yaml")]
    text = "\n".join(build.read_text() for build in builds)
    (version,) = set(re.findall(rf"{image}:([\d.]+)", text))
    bringing = [
        step for file in WORKFLOWS for step in steps(file) if action in step.get("uses", "")
    ]
    assert {step["with"][key] for step in bringing} == {before + version}


def test_lint_has_terraform_wherever_it_runs() -> None:
    for file in WORKFLOWS:
        for job in jobs(file).values():
            named = [step.get("run") or step["uses"] for step in job.get("steps", [])]
            if "make lint" in named:
                before = named[: named.index("make lint")]
                assert any(name.startswith("hashicorp/setup-terraform@") for name in before)


# who reviews, and what is kept up to date


def owners() -> Iterator[tuple[str, list[str]]]:
    for line in (GITHUB / "CODEOWNERS").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, *names = line.split()
            yield pattern, names


def test_every_path_with_an_owner_is_there() -> None:
    assert dict(owners())["*"]
    for pattern, names in owners():
        assert names and all(re.fullmatch(r"@[\w-]+/[\w-]+", name) for name in names)
        assert pattern == "*" or (ROOT / pattern.strip("/")).exists(), pattern


def test_owners_that_stand_for_others_are_explained() -> None:
    text = (GITHUB / "CODEOWNERS").read_text()
    explained = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for _, names in owners():
        for organisation in {name.partition("/")[0].removeprefix("@") for name in names}:
            assert not organisation.startswith("example") or organisation in explained


def test_each_kind_of_file_with_versions_is_kept_up_to_date() -> None:
    renovate = json.loads((ROOT / "renovate.json").read_text())
    there = {
        "github-actions": GITHUB / "workflows",
        "gitlabci": GITLAB,
        "dockerfile": ROOT / "deploy/docker/Dockerfile",
        "terraform": ROOT / "deploy/terraform",
        "cloudbuild": ROOT / "cloudbuild.yaml",
    }
    assert {name for name, path in there.items() if path.exists()} <= set(
        renovate["enabledManagers"]
    )
    assert set(renovate["enabledManagers"]) <= {*there, "custom.regex"}


def test_every_pattern_for_a_version_finds_one() -> None:
    for manager in json.loads((ROOT / "renovate.json").read_text())["customManagers"]:
        (files,), (text,) = manager["managerFilePatterns"], manager["matchStrings"]
        named = re.compile(files.strip("/"))
        places = [*WORKFLOWS, *(ROOT / "tools").glob("*.py")]
        matched = [file for file in places if named.search(str(file.relative_to(ROOT)))]
        pattern = text.replace("(?<", "(?P<")
        assert any(re.search(pattern, file.read_text()) for file in matched), text


def test_docker_is_not_raised_to_what_cloud_build_refuses() -> None:
    rules = json.loads((ROOT / "renovate.json").read_text())["packageRules"]
    (rule,) = [rule for rule in rules if rule.get("matchPackageNames") == ["docker"]]
    assert rule["allowedVersions"] == "<29"
