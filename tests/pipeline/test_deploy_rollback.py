"""What was released is taken back, step by step or by its commit."""

from __future__ import annotations

import shutil

import pytest

from pipeline.deploy.release import Deployer
from pipeline.deploy.repository import Repository
from pipeline.runners.kfp_client import KubeflowServer
from pipeline.store import deployments
from tests.pipeline import deploying
from tests.pipeline.deploying import Project, at_work, configured, status
from tests.pipeline.kfp_server import KfpServer

api, project = deploying.api, deploying.project


def test_a_rollback_goes_back_step_by_step_and_rebuilds_nothing(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = [project.commit() for _ in range(3)]
    first, second, third = (project.release(commit) for commit in commits)
    shutil.rmtree("build")
    assert at_work(api) == [third.version]
    for package in (second, first):
        assert project.deploy("rollback") == 0
        assert at_work(api) == [package.version]
    capsys.readouterr()
    assert project.deploy("rollback") == 2
    said = capsys.readouterr().err
    assert f"nothing to roll back to: {commits[0][:9]}" in said
    assert "is the first that was deployed" in said
    assert at_work(api) == [first.version]
    assert len(api.things["versions"]) == 3
    found = status(project, capsys)
    actions = [(d["action"], d["commit"]) for d in found["deployments"]]
    assert actions[:2] == [("rollback", commits[0]), ("rollback", commits[1])]


def test_a_rollback_to_a_commit_may_be_abbreviated_and_go_forward(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = [project.commit() for _ in range(3)]
    first, _, third = (project.release(commit) for commit in commits)
    assert project.deploy("rollback", commits[0][:8]) == 0
    assert at_work(api) == [first.version]
    assert project.deploy("rollback", commits[2]) == 0
    assert at_work(api) == [third.version]
    assert project.deploy("rollback", commits[2]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert project.deploy("rollback", "beef") == 2
    assert f"no commit beef was ever deployed here; there are: {commits[2][:9]}, " in (
        capsys.readouterr().err
    )


def test_what_was_rolled_back_stays_so_until_a_newer_commit_comes(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    good, late, bad, mended = (project.commit() for _ in range(4))
    package = project.release(good)
    project.release(bad)
    assert project.deploy("rollback") == 0
    project.build(bad)
    capsys.readouterr()
    assert project.deploy("release") == 2
    assert f"{bad[:9]} was rolled back to {good[:9]} (Ada Lovelace)" in capsys.readouterr().err
    project.release(late)
    assert f"and rolled back to {good[:9]}" in capsys.readouterr().out
    assert at_work(api) == [package.version]
    project.release(mended)
    assert project.deploy("rollback") == 0
    assert at_work(api) == [package.version]


def test_a_rollback_has_the_parameters_that_were_released(project: Project, api: KfpServer) -> None:
    project.release(project.commit(), "--param", "span=3")
    project.release(project.commit())
    assert project.deploy("rollback") == 0
    (run,) = api.things["recurringruns"]
    assert run["runtime_config"]["parameters"] == {"span": "3"}


def test_smoke_rolls_back_what_fails_and_no_more_than_that(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    good, fine, bad = (project.release(project.commit()) for _ in range(3))
    assert project.deploy("smoke", "--rollback") == 0
    assert at_work(api) == [bad.version]
    (run,) = api.things["recurringruns"]
    run["mode"] = "DISABLE"
    capsys.readouterr()
    assert project.deploy("smoke", "--rollback") == 1
    assert "Rolled back from" in capsys.readouterr().out
    assert at_work(api) == [fine.version]
    assert project.deploy("smoke", "--rollback") == 0

    config = configured(project)
    deployer = Deployer(config, KubeflowServer(config), "kfp", Repository())
    with deployments.alone(config) as kept:
        _, before, *_ = kept.all("kfp")
    # Another one that saw the bad version fail comes later.
    said = deployer.rollback(at_work=before).said
    assert said.startswith("Nothing to do: at work by now is ")
    assert at_work(api) == [fine.version] != [good.version]
