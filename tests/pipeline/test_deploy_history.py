"""Releases from a clone without the history, as a trigger's is: times tell the commits' order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.store import deployments
from pipeline.store.deployments import Facts
from tests.pipeline import deploying
from tests.pipeline.deploying import Project, at_work, configured
from tests.pipeline.kfp_server import KfpServer

api, project = deploying.api, deploying.project
BY_TIME = "This was told by the times at which both were committed"


def test_a_later_commit_is_released_from_a_clone_that_is_cut_off(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    project.release(project.commit(hour=0))
    project.commit(hour=1)
    project.commit(hour=2)
    package = project.release(project.cut_off())
    assert BY_TIME in capsys.readouterr().out
    assert at_work(api) == [package.version]


def test_an_earlier_commit_is_not_released_from_a_clone_that_is_cut_off(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = project.commit(hour=1), project.commit(hour=2)
    package = project.release(newer)
    project.git("checkout", "--quiet", older)
    assert project.cut_off() == older
    project.release(older)
    said = capsys.readouterr().out
    assert (
        f"a newer commit is deployed already, {newer[:9]} (Ada Lovelace). {older[:9]} is " in said
    )
    assert BY_TIME in said
    assert at_work(api) == [package.version]


def test_where_the_history_is_there_the_times_do_not_matter(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = project.commit(hour=2), project.commit(hour=1)
    for commit in commits:
        package = project.release(commit)
    assert BY_TIME not in capsys.readouterr().out
    assert at_work(api) == [package.version]


@pytest.mark.parametrize("hour", [1, None])
def test_a_time_that_tells_nothing_is_a_refusal(
    project: Project, api: KfpServer, hour: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the same one, or was not kept yet when the other commit was released."""
    package = project.release(project.commit(hour=1))
    if hour is None:
        with deployments.alone(configured(project)) as kept:
            (record,) = kept.all("kfp")
            fields = {name: getattr(record, name) for name in Facts.__dataclass_fields__}
            facts = replace(Facts(**fields), committed="")
            kept.complete(kept.begin(facts, package.text), version_id=record.version_id)
    project.commit(hour=hour)
    project.build(project.cut_off())
    assert project.deploy("release") == 2
    assert "this clone does not have their whole history" in capsys.readouterr().err
    assert at_work(api) == [package.version]
    assert project.deploy("release", "--force") == 0
    assert at_work(api) != [package.version]
