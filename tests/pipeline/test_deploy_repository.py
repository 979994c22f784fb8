"""What a deployment asks of git: the order of commits, and who is at work."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy.repository import (
    NoHistoryError,
    Order,
    Repository,
    label,
    order_in_time,
    short,
    who,
)
from pipeline.errors import UserError
from tests.pipeline.deploying import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path / "project", monkeypatch)


def clone(project: Project, folder: Path, *options: str) -> Repository:
    subprocess.run(
        ["git", "clone", "--quiet", *options, f"file://{project.folder}", str(folder)],
        check=True,
        capture_output=True,
    )
    return Repository(folder)


def test_the_head_tells_of_changed_files(project: Project) -> None:
    file = project.folder / "file"
    file.write_text("one")
    project.git("add", "file")
    commit = project.commit()
    (project.folder / "untracked").write_text("")
    assert Repository().head() == commit
    file.write_text("two")
    assert Repository().head() == f"{commit}+"
    assert (short(f"{commit}+"), label(f"{commit}+")) == (f"{commit[:9]}+", f"{commit[:9]}-dirty")


def test_commits_have_an_order(project: Project) -> None:
    one, two = project.commit(), project.commit()
    project.git("checkout", "--quiet", "-b", "side", one)
    side = project.commit("aside")
    order = Repository().order
    assert order(two, one) is Order.NEWER
    assert order(f"{one}+", two) is Order.OLDER
    assert order(one, f"{one}+") is Order.SAME
    assert order(two, side) is Order.APART


def test_a_commit_that_was_pushed_later_is_fetched(project: Project, tmp_path: Path) -> None:
    one = project.commit()
    cloned = clone(project, tmp_path / "clone")
    two = project.commit()
    assert cloned.order(one, two) is Order.OLDER


def test_a_shallow_clone_gets_the_rest_of_its_history(project: Project, tmp_path: Path) -> None:
    one, _, three = (project.commit() for _ in range(3))
    assert clone(project, tmp_path / "a", "--depth=1").order(three, one) is Order.NEWER


def test_a_shallow_clone_without_its_remote_cannot_tell(project: Project, tmp_path: Path) -> None:
    one, _, three = (project.commit() for _ in range(3))
    cloned = clone(project, tmp_path / "a", "--depth=1")
    project.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(NoHistoryError, match=r"does not have their whole history .*--unshallow"):
        cloned.order(three, one)


def test_nobody_is_asked_for_a_password(project: Project, tmp_path: Path) -> None:
    """A remote that wants one is no remote; a program that would ask is not called."""
    one, two = project.commit(), project.commit()
    cloned = clone(project, tmp_path / "a", "--depth=1")
    asked, program = tmp_path / "asked", tmp_path / "ask"
    program.write_text(f"#!/bin/sh\ntouch {asked}\necho secret\n")
    program.chmod(0o755)
    with private_server() as url:
        for words in (["remote", "set-url", "origin", url], ["config", "core.askPass", program]):
            subprocess.run(["git", "-C", str(tmp_path / "a"), *words], check=True)
        with pytest.raises(NoHistoryError, match="could not read Username"):
            cloned.order(two, one)
    assert not asked.exists()


@contextmanager
def private_server() -> Iterator[str]:
    """The address of a repository that lets nobody in without a password."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/flights.git"
        finally:
            server.shutdown()
            thread.join()


def test_a_commit_has_a_time_which_may_tell_the_order(project: Project) -> None:
    commit = project.commit(hour=0)
    committed = Repository().committed
    assert committed(f"{commit}+") == committed(commit) == "2026-01-30T23:00:00+00:00"
    assert committed("0" * 40) == ""
    later = committed(project.commit(hour=1))
    assert order_in_time(later, committed(commit)) is Order.NEWER
    assert order_in_time(committed(commit), later) is Order.OLDER
    for one, two in ((later, later), ("", later), (later, "")):
        assert order_in_time(one, two) is None


def test_a_commit_that_nobody_has_is_a_mistake(project: Project) -> None:
    one = project.commit()
    with pytest.raises(UserError, match="cannot be told"):
        Repository().order(one, "0" * 40)


def test_a_commit_that_the_remote_lacks_as_well_has_no_place_in_time(
    project: Project, tmp_path: Path
) -> None:
    """It was taken out of the history, as a rewritten one is."""
    one = project.commit()
    with pytest.raises(UserError, match="cannot be told") as told:
        clone(project, tmp_path / "clone").order(one, "0" * 40)
    assert not isinstance(told.value, NoHistoryError)


def test_outside_a_clone_git_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"git knows no commit here \(.*not a git repository"):
        Repository(tmp_path).head()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "Ada Lovelace"),
        ({"GITHUB_ACTOR": "ada", "GITHUB_RUN_ID": "7"}, "ada (GitHub run 7)"),
        ({"GITLAB_USER_LOGIN": "ada", "CI_JOB_ID": "8"}, "ada (GitLab job 8)"),
        ({"BUILD_ID": "9", "TRIGGER_NAME": "push"}, "Cloud Build 9 (trigger push)"),
        ({"BUILD_ID": "9"}, "Cloud Build 9"),
    ],
)
def test_who_deploys_is_whom_ci_names_or_the_person_here(
    project: Project,
    variables: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert who(Repository()) == expected


def test_an_address_is_kept_only_where_there_is_no_name(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Grace Hopper")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "grace@example.com")
    assert who(Repository()) == "Grace Hopper"
