"""Releases that fail: what was at work stays so, and a second try completes them."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable

import pytest
import urllib3

from pipeline.deploy.release import Deployer
from pipeline.deploy.repository import Repository
from pipeline.runners.kfp_client import KubeflowServer
from pipeline.store import deployments
from tests.pipeline import deploying
from tests.pipeline.deploying import Project, at_work, built_of, configured, status
from tests.pipeline.kfp_server import KfpServer

api, project = deploying.api, deploying.project


def test_a_run_that_cannot_be_started_leaves_the_release(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    project.build(project.commit())
    api.on_request = lambda method, path: (
        (500, b"{}") if (method, path) == ("POST", "/runs") else None
    )
    assert project.deploy("release", "--run") == 2
    assert "It is deployed, but no run was started; try:" in capsys.readouterr().err
    assert len(at_work(api)) == 1
    api.on_request = lambda *_: None
    assert project.deploy("run") == 0
    assert len(api.things["runs"]) == 1


Fault = Callable[[KfpServer, int], None]


def _answers(status: int, body: bytes, *, on: bool) -> Fault:
    """From the k-th request on, or to that alone, the server answers so."""

    def begin(api: KfpServer, k: int) -> None:
        first = len(api.requests) + k

        def instead(*_: str) -> tuple[int, bytes] | None:
            number = len(api.requests) - 1
            return (status, body) if number == first or (on and number > first) else None

        api.on_request = instead

    return begin


def _loses(api: KfpServer, k: int) -> None:
    """What the k-th request asks for is done, but the answer is lost."""
    first = len(api.requests) + k
    api.loses_answer = lambda *_: len(api.requests) - 1 == first


FAULTS: dict[str, tuple[Fault, str]] = {
    "403": (_answers(403, b'{"message": "no"}', on=False), "forbids it (403: no)"),
    "500": (_answers(500, b'{"message": "full"}', on=False), "failed (500: full)"),
    "dead": (_answers(0, b"", on=False), "broke the connection off"),
    "dead for good": (_answers(0, b"", on=True), "broke the connection off"),
    "answer lost": (_loses, "broke the connection off"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wherever_a_release_fails_the_old_version_is_at_work_and_a_second_try_completes_it(
    project: Project,
    api: KfpServer,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(urllib3.Retry, "sleep", lambda *_: None)
    old, new = project.commit(), project.commit()
    before = project.release(old)
    after = project.build(new)
    store, things = project.folder / "store.sqlite", copy.deepcopy(api.things)
    shutil.copy(store, f"{store}.before")
    count = len(api.requests)
    assert project.deploy("release") == 0
    requests = api.requests[count:]
    assert len(requests) >= 9
    fails, said = FAULTS[fault]

    codes = []
    for k, (method, path) in enumerate(requests):
        shutil.copy(f"{store}.before", store)
        api.things = copy.deepcopy(things)
        capsys.readouterr()
        fails(api, k)
        codes.append(project.deploy("release"))
        api.on_request, api.loses_answer = lambda *_: None, lambda *_: False
        error = capsys.readouterr().err
        where = f"{fault} at {k}: {method} {path}\n{error}"
        if codes[-1]:
            assert codes[-1] == 2, where
            assert said in error, where
            assert f"{new[:9]} (version {after.version}) is not deployed." in error, where
            # Neither a server that is gone nor one that did what it did not say can be set right.
            if fault == "dead for good":
                assert "is not known" in error, where
                assert at_work(api) == [before.version] or "it may start nothing" in error, where
            elif at_work(api) != [before.version]:
                assert "is not known" in error, where
            else:
                assert "is still at work" in error, where
            if fault in ("403", "500", "dead"):
                assert at_work(api) == [before.version], where
            found = status(project, capsys)
            assert found["deployed"]["commit"] == old, where
            assert found["deployments"][0]["outcome"] == "failed", where
        else:
            assert at_work(api) == [after.version], where
        assert project.deploy("release") == 0, where
        assert at_work(api) == [after.version], where
        assert len(api.things["recurringruns"]) == 1, where
        assert [v["display_name"] for v in api.things["versions"]] == [
            before.version,
            after.version,
        ], where
        assert status(project, capsys)["deployed"]["commit"] == new, where
    assert 2 in codes
    # What is asked for is asked for again; what only tidies up is left to the next call.
    tolerated = {m for (m, _), code in zip(requests, codes, strict=True) if code == 0}
    assert tolerated <= ({"DELETE"} if fault in ("403", "500") else {"GET", "DELETE"})


def test_a_release_that_was_killed_is_told_of_and_completed(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = project.commit(), project.commit()
    project.release(old)
    built, package = built_of(new)
    config = configured(project)
    facts = Deployer(config, KubeflowServer(config), "kfp", Repository()).facts(built, package, {})
    with deployments.alone(config) as kept:
        kept.begin(facts, package.text)
    assert status(project, capsys)["deployments"][0]["outcome"] == "running"
    project.release(new)
    outcomes = [(d["outcome"], d["reason"]) for d in status(project, capsys)["deployments"]]
    assert outcomes == [("complete", ""), ("failed", "it was broken off"), ("complete", "")]


def test_wherever_a_rollback_fails_the_version_is_at_work_from_which_it_goes_back(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    back, now = (project.release(project.commit()) for _ in range(2))
    store, things = project.folder / "store.sqlite", copy.deepcopy(api.things)
    shutil.copy(store, f"{store}.before")
    count = len(api.requests)
    assert project.deploy("rollback") == 0
    requests = api.requests[count:]
    assert not any(method == "POST" and "upload" in path for method, path in requests)
    for k, (method, path) in enumerate(requests):
        shutil.copy(f"{store}.before", store)
        api.things = copy.deepcopy(things)
        FAULTS["500"][0](api, k)
        code = project.deploy("rollback")
        api.on_request = lambda *_: None
        error, where = capsys.readouterr().err, f"{k}: {method} {path}"
        if method == "DELETE":
            assert (code, at_work(api)) == (0, [back.version]), where
            continue
        assert (code, at_work(api)) == (2, [now.version]), where
        assert f"{back.version}) is not deployed." in error, where
        assert f"{now.version}) is still at work." in error, where
        assert project.deploy("rollback") == 0, where
        assert at_work(api) == [back.version], where
