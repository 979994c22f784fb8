"""Releases on a server that is as strict as Kubeflow's, and what is told of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cluster.remote import Package
from pipeline.config import PROJECT
from tests.pipeline import deploying
from tests.pipeline.deploying import Project, at_work, status
from tests.pipeline.kfp_server import KfpServer

api, project = deploying.api, deploying.project


def test_a_release_is_scheduled_and_recorded_with_who_and_what(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = project.commit(hour=0)
    package = project.release(commit)
    assert package.version == f"flights-{commit[:9]}-{package.digest[:12]}"
    assert at_work(api) == [package.version]
    assert api.things["runs"] == []
    now = status(project, capsys)["deployed"]
    assert (now["commit"], now["version"], now["action"]) == (commit, package.version, "release")
    assert now["committed"] == "2026-01-30T23:00:00+00:00"
    assert now["package_digest"] == package.digest
    assert now["version_id"] == api.things["versions"][0]["pipeline_version_id"]
    assert (now["image"],) == tuple(package.images)
    assert now["who"] == "Ada Lovelace"
    assert now["server"] == f"{api.url} (namespace kubeflow)"


def test_the_same_commit_is_deployed_once(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = project.commit()
    project.release(commit)
    sent = api.called("POST", "DELETE")
    capsys.readouterr()
    project.release(commit, "--run")
    assert f"Nothing to do: {commit[:9]}" in capsys.readouterr().out
    assert api.called("POST", "DELETE") == sent
    assert len(status(project, capsys)["deployments"]) == 1


def test_what_somebody_did_to_the_server_is_mended_by_releasing_again(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    package = project.release(project.commit())
    api.things["recurringruns"].clear()
    assert project.deploy("release") == 0
    assert "Created the schedule flights" in capsys.readouterr().out
    assert at_work(api) == [package.version]


def test_another_package_of_the_same_commit_is_deployed(project: Project, api: KfpServer) -> None:
    commit = project.commit()
    project.release(commit)
    other = project.build(commit, note="other")
    assert project.deploy("release") == 0
    assert at_work(api) == [other.version]


def test_an_older_commit_is_not_deployed_and_this_is_no_failure(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = project.commit(), project.commit()
    package = project.release(newer)
    project.release(older)
    assert f"a newer commit is deployed already, {newer[:9]}" in capsys.readouterr().out
    assert at_work(api) == [package.version]
    assert len(status(project, capsys)["deployments"]) == 1
    forced = project.release(older, "--force")
    assert at_work(api) == [forced.version]


def test_a_commit_of_another_line_is_refused_unless_forced(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    base, here = project.commit(), project.commit()
    package = project.release(here)
    project.git("checkout", "--quiet", "-b", "side", base)
    side = project.commit("aside")
    project.build(side)
    assert project.deploy("release") == 2
    assert f"{side[:9]} does not follow {here[:9]}" in capsys.readouterr().err
    assert at_work(api) == [package.version]
    assert project.deploy("release", "--force") == 0
    assert at_work(api) != [package.version]


def test_a_changed_tree_is_released_only_if_that_is_allowed(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = project.commit()
    project.build(f"{commit}+")
    assert project.deploy("release") == 2
    assert "nobody could build it again" in capsys.readouterr().err
    assert api.requests == []
    assert project.deploy("release", "--allow-dirty") == 0
    (version,) = at_work(api)
    assert version.startswith(f"flights-{commit[:9]}-dirty-")


def test_without_a_schedule_a_version_is_uploaded_and_a_run_started_if_asked(
    project: Project, api: KfpServer
) -> None:
    project.options += ["--set", "schedule={}"]
    project.release(project.commit(), "--run", "--param", "span=3")
    assert api.things["recurringruns"] == []
    (run,) = api.things["runs"]
    (version,) = api.things["versions"]
    reference = run["pipeline_version_reference"]
    assert reference["pipeline_version_id"] == version["pipeline_version_id"]
    assert run["runtime_config"]["parameters"] == {"span": "3"}


def test_a_schedule_that_the_configuration_no_longer_has_is_deleted_by_the_next_release(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    project.release(project.commit())
    project.options += ["--set", "schedule={}"]
    project.build(project.commit())
    assert project.deploy("smoke") == 1
    said = capsys.readouterr().out
    assert "FAILED  no schedule starts anything" in said
    assert "The schedule flights starts runs, though [schedule] says nothing of when" in said
    for _ in range(2):
        assert project.deploy("release") == 0
        assert project.deploy("smoke") == 0
    assert capsys.readouterr().out.count("Deleted the schedule flights; its runs stay.") == 1
    assert api.things["recurringruns"] == []


def test_status_is_a_table_of_what_is_deployed_and_what_was(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.deploy("status") == 0
    assert capsys.readouterr().out == "Nothing of flights is deployed for kfp yet.\n"
    assert not (project.folder / "store.sqlite").exists()
    commits = [project.commit() for _ in range(2)]
    first, second = (project.release(commit) for commit in commits)
    assert project.deploy("rollback") == 0
    capsys.readouterr()
    assert project.deploy("status") == 0
    facts, _, rows = capsys.readouterr().out.partition("\n\n")
    assert f"deployed  {commits[0]} (rollback)" in facts
    assert f"package   sha256:{first.digest}" in facts
    lines = rows.splitlines()[1:]
    assert [(commits[0][:9] in x, "now" in x, "rollback" in x) for x in lines] == [
        (True, True, True),
        (False, False, False),
        (True, False, False),
    ]
    assert second.version in lines[1]
    assert api.called("GET") != []
    asked = len(api.requests)
    assert project.deploy("status", "--target", "vertex") == 0
    assert capsys.readouterr().out == "Nothing of flights is deployed for vertex yet.\n"
    assert len(api.requests) == asked


@pytest.mark.parametrize("limit", ["-3", "0", "x"])
def test_a_limit_is_a_positive_number(
    project: Project, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        project.deploy("status", f"--limit={limit}")
    assert end.value.code == 2
    assert f"'{limit}' is not a positive whole number" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["rollback", "run", "smoke"])
def test_where_nothing_is_deployed_this_is_said(
    project: Project, api: KfpServer, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.commit()
    assert project.deploy(command) == 2
    assert "nothing of flights is deployed there yet" in capsys.readouterr().err
    assert api.requests == []


def test_smoke_tells_what_is_not_as_it_was_released(
    project: Project, api: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    package = project.release(project.commit())
    assert project.deploy("smoke") == 0
    assert "FAILED" not in capsys.readouterr().out
    (run,), (version,) = api.things["recurringruns"], api.things["versions"]

    def fault() -> str:
        assert project.deploy("smoke") == 1
        (line,) = [x for x in capsys.readouterr().out.split("\nok") if "FAILED" in x]
        return line

    run["mode"] = "DISABLE"
    assert "The schedule flights is paused" in fault()
    run["mode"] = "ENABLE"
    run["pipeline_version_reference"] = {"pipeline_version_id": "theirs"}
    assert f"starts runs of version theirs, in place of {package.version}" in fault()
    run["pipeline_version_reference"] = {"pipeline_version_id": version["pipeline_version_id"]}
    api.things["recurringruns"].append(run | {"recurring_run_id": "copy"})
    assert "is there more than once" in fault()
    api.things["recurringruns"].pop()
    version["package"] = version["package"].replace("flights@", "other@")
    assert "has other tasks than the package of that name" in fault()
    api.things["versions"].clear()
    assert project.deploy("smoke") == 1
    assert f"The server has no version {package.version}" in capsys.readouterr().out


def test_a_run_is_started_only_if_it_is_wanted(project: Project, api: KfpServer) -> None:
    project.release(project.commit())
    assert project.deploy("run", "--if=false") == 0
    assert api.things["runs"] == []
    assert project.deploy("run", "--if=true", "--param", "span=newest") == 0
    (run,) = api.things["runs"]
    assert run["runtime_config"]["parameters"] == {"span": "newest"}


def test_the_policy_decides_in_the_image_that_is_deployed(project: Project, api: KfpServer) -> None:
    released = project.release(project.commit())
    assert project.deploy("policy", "--set", "tasks.one_machine=true") == 0
    (run,) = api.things["runs"]
    assert run["display_name"].startswith("flights-continuous 2")
    version = run["pipeline_version_reference"]["pipeline_version_id"]
    (sent,) = [v for v in api.things["versions"] if v["pipeline_version_id"] == version]
    package = Package(sent["package"])
    assert (package.tasks, package.images) == (["continuous"], released.images)
    (executor,) = package.spec["deploymentSpec"]["executors"].values()
    words = executor["container"]["args"]
    assert words[:4] == ["continuous", "--once", "--config", "configs/flights-kubeflow.toml"]
    settings = words[5::2]
    assert f'tasks.defaults.image="{released.images[0]}"' in settings
    assert 'continuous.runner="kubeflow"' in settings
    (host,) = [text for text in settings if text.startswith("kubeflow.host=")]
    assert api.url not in host  # which is how it is reached from outside


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "rollback"),
        (["release", "--help"], 0, "--allow-dirty"),
        (["status"], 0, "Nothing of flights is deployed"),
        (["smoke"], 2, "nothing of flights is deployed there yet"),
        (["release"], 2, "there is no package to deploy"),
    ],
)
def test_the_commands_import_nothing_heavy(
    words: list[str], code: int, said: str, tmp_path: Path
) -> None:
    store = ["--set", f"store.url='sqlite:///{tmp_path}/store.sqlite'"]
    arguments = ["deploy", *words, *([] if "--help" in words else store)]
    script = (
        "import os, sys\nfrom pipeline.__main__ import main\n"
        f"os.chdir({str(tmp_path)!r})\n"
        f"try:\n    code = main({arguments!r})\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = ('tensorflow', 'tfx', 'apache_beam', 'pyarrow', 'kfp')\n"
        "print(code, [name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{code} []"
