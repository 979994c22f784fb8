"""A small repository whose commits are deployed, without an image and without a compiler."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.cluster.remote import Package
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.deploy import package as deploy_package
from pipeline.deploy import repository
from pipeline.deploy.package import Built, Target
from tests.pipeline.kfp_server import KfpServer, kfp_server

CI = ("GITHUB_ACTOR", "GITHUB_RUN_ID", "GITLAB_USER_LOGIN", "CI_JOB_ID", "BUILD_ID", "TRIGGER_NAME")
TEXT = """\
pipelineInfo: {{name: flights}}
deploymentSpec:
  executors:
    exec-init:
      container:
        image: {image}
        command: [python, -m, pipeline.tasks.init]
        args: [--note, {note}]
root:
  inputDefinitions:
    parameters:
      span: {{parameterType: STRING, isOptional: true}}
  dag:
    tasks:
      init: {{}}
"""
KUBERNETES = """\
---
platforms:
  kubernetes:
    deploymentSpec: {executors: {exec-init: {}}}
"""


class Project:
    """A git repository, what was built of its commits, and the command line."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self.folder = folder
        self._monkeypatch = monkeypatch
        self.options: list[str] = ["--set", f"store.url='sqlite:///{folder}/store.sqlite'"]
        self.options += ["--set", "schedule.cron='0 6 2 * *'"]
        monkeypatch.chdir(folder)
        monkeypatch.setattr(repository, "PROJECT", folder)
        for name in CI:
            monkeypatch.delenv(name, raising=False)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Ada Lovelace")
        self.git("config", "user.email", "ada@example.com")

    def git(self, *arguments: str, **environment: str) -> str:
        nothing = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | nothing | environment,
        )
        return done.stdout.strip()

    def commit(self, text: str = "change", *, hour: int | None = None) -> str:
        """The id of a new commit, made at that hour of a day in Berlin's winter, or now."""
        at = {} if hour is None else {"GIT_COMMITTER_DATE": f"2026-01-31T{hour:02}:00:00+0100"}
        self.git("commit", "--quiet", "--allow-empty", "--message", text, **at)
        return self.git("rev-parse", "HEAD")

    def cut_off(self) -> str:
        """Has what comes be as in CI: a clone of the last commit alone, which cannot fetch more."""
        whole, cut = self.folder, self.folder.with_name(f"{self.folder.name}-cut")
        self.git("clone", "--quiet", "--depth=1", f"file://{whole}", str(cut))
        self.folder = cut
        self.git("remote", "set-url", "origin", f"file://{whole}/missing")
        self._monkeypatch.setattr(repository, "PROJECT", cut)
        return self.git("rev-parse", "HEAD")

    def build(self, commit: str, *, note: str = "''", target: Target = "kfp") -> Package:
        """As if `deploy compile` had been called at that commit."""
        built, package = built_of(commit, note=note, target=target)
        deploy_package.BUILD.mkdir(exist_ok=True)
        Path(built.file).write_text(package.text)
        deploy_package.FILE.write_text(built.model_dump_json())
        return package

    def deploy(self, command: str, *words: str) -> int:
        """The exit code of `python -m pipeline deploy COMMAND`."""
        return main(["deploy", command, *self.options, *words])

    def release(self, commit: str, *words: str) -> Package:
        """Builds and releases a commit, which has to succeed."""
        package = self.build(commit)
        assert self.deploy("release", *words) == 0
        return package


def built_of(commit: str, *, note: str = "''", target: Target = "kfp") -> tuple[Built, Package]:
    """What was built of a commit, and the package."""
    image = f"registry.example.com/flights@sha256:{commit.removesuffix('+'):0>64}"
    text = TEXT.format(image=image, note=note) + (KUBERNETES if target == "kfp" else "")
    package = Package(text, repository.label(commit))
    built = Built(
        name="flights",
        target=target,
        commit=commit,
        image=image,
        digest=package.digest,
        file="build/flights.yaml",
    )
    return built, package


def on(api: KfpServer) -> list[str]:
    """Options that name the server."""
    return ["--set", f"kubeflow.host={json.dumps(api.url)}"]


def at_work(api: KfpServer) -> list[str]:
    """The names of the versions of which the server starts runs."""
    names = {v["pipeline_version_id"]: v["display_name"] for v in api.things["versions"]}
    return [
        names[run["pipeline_version_reference"]["pipeline_version_id"]]
        for run in api.things["recurringruns"]
        if run["mode"] == "ENABLE"
    ]


def configured(project: Project) -> PipelineConfig:
    """The configuration that the project's options make."""
    overrides = project.options[1::2]
    return load(PROJECT / "configs/flights-kubeflow.toml", overrides)


def status(project: Project, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `deploy status --json` prints."""
    capsys.readouterr()
    assert project.deploy("status", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def api() -> Iterator[KfpServer]:
    with kfp_server() as server:
        yield server
        assert server.refused == []


@pytest.fixture
def project(api: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path / "project", monkeypatch)
    made.options += on(api)
    return made
