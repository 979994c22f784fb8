"""Two releases at once, on each kind of store."""

from __future__ import annotations

import json
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.config import PipelineConfig
from pipeline.deploy.release import Deployer
from pipeline.deploy.repository import Repository
from pipeline.runners.kfp_client import KubeflowServer
from pipeline.store import deployments
from tests import services
from tests.pipeline import deploying
from tests.pipeline.deploying import Project, at_work, built_of, configured
from tests.pipeline.kfp_server import KfpServer

api, project = deploying.api, deploying.project


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def store_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/store.sqlite"
    monkeypatch.setenv("PIPELINE_STORE_PASSWORD", services.PASSWORD)
    server: services.Server = request.getfixturevalue(f"{request.param}_server")
    return server.database()


@pytest.mark.parametrize("first", ["older", "newer", "whoever"])
def test_of_two_pushes_at_once_the_newer_one_is_deployed(
    project: Project,
    api: KfpServer,
    store_url: str,
    first: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.options += ["--set", f"store.url={json.dumps(store_url)}"]
    config = configured(project)
    commits = {"older": project.commit(), "newer": project.commit()}
    asks, real = threading.Event(), deployments.alone
    begun, ended, barrier = threading.Event(), threading.Event(), threading.Barrier(2)

    def alone(config: PipelineConfig) -> AbstractContextManager[deployments.Deployments]:
        if begun.is_set():
            asks.set()
        return real(config)

    def hold(*_: str) -> None:
        """The first one is in the middle of its release until the other one wants to begin."""
        if not begun.is_set():
            begun.set()
            assert asks.wait(30)
            ended.wait(0.3)  # As it would, if it did not have to wait.

    if first != "whoever":
        monkeypatch.setattr(deployments, "alone", alone)
        api.on_request = hold

    failures: list[BaseException] = []

    def push(which: str) -> None:
        try:
            if first == "whoever":
                barrier.wait(30)
            elif which != first:
                assert begun.wait(30)
            deployer = Deployer(config, KubeflowServer(config), "kfp", Repository())
            deployer.release(*built_of(commits[which]), {})
            ended.set()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=push, args=(which,)) for which in commits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    _, newer = built_of(commits["newer"])
    assert at_work(api) == [newer.version]
    with real(config) as kept:
        released = [record.commit for record in kept.all("kfp")]
    if first != "newer":
        assert released[0] == commits["newer"]
    if first != "whoever":
        expected = [commits["newer"], commits["older"]] if first == "older" else [commits["newer"]]
        assert released == expected
