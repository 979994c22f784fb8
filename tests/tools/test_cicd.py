"""What stands for trigger and cluster, and what docs/cicd.md says of the files that it explains."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cluster.reach import problems
from pipeline.config_file import load
from pipeline.deploy.package import by_digest, image_of
from tools.cicd import cluster, remote, trigger
from tools.environment import ROOT, read_stamp

DOCUMENT = (ROOT / "docs" / "cicd.md").read_text(encoding="utf-8")
BUILD = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text(encoding="utf-8"))


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_document_lists_every_substitution_with_its_default() -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows("Substitutions")}
    assert documented == {name: value or "empty" for name, value in BUILD["substitutions"].items()}


def test_the_document_explains_every_step_but_those_that_bring_programs() -> None:
    explained = [row[0].strip("`") for row in rows("What a push does")]
    bringing = [step["id"] for step in BUILD["steps"] if step["entrypoint"] == "install"]
    assert len(bringing) == 4
    assert explained == [step["id"] for step in BUILD["steps"] if step["id"] not in bringing]


def test_what_the_document_leads_to_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", DOCUMENT):
        assert "://" in link or (ROOT / "docs" / link).exists(), link


def test_a_checkout_that_is_lent_the_environment_has_nothing_to_set_up(tmp_path: Path) -> None:
    if read_stamp() is None:
        pytest.skip("`make setup` has made no environment here to lend.")
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    remote.lend_environment(tmp_path)
    command = [remote.python(tmp_path), "-EsSB", "-m", "tools.environment", "run"]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    (tmp_path / "requirements.lock").write_text("another\n", encoding="utf-8")
    assert subprocess.run(command, cwd=tmp_path).returncode == 1


def test_the_stand_in_of_an_image_is_the_commits_own_and_named_by_its_digest(
    tmp_path: Path,
) -> None:
    one, other = (trigger.stand_in_image(tmp_path, commit * 40) for commit in "ab")
    assert one != other and by_digest(one) and by_digest(other)
    assert image_of(str(tmp_path / "build" / "image.json"), "b" * 40) == other


@pytest.mark.parametrize("there", [False, True])
def test_a_build_scans_where_there_is_trivy_and_says_so_where_there_is_none(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[str] = []

    def run(command: list[str], *_: object) -> int:
        called.extend(command)
        return 0

    place = remote.Remote(tmp_path)
    (place.bare / "hooks").mkdir(parents=True)
    place.set_trigger(remote.Trigger({}, ["trainers"], has_image=True))
    monkeypatch.setattr(trigger, "_checkout", lambda *_: tmp_path / "checkout")
    monkeypatch.setattr(trigger, "_run", run)
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/trivy" if there else None)
    assert trigger.build(place, "a" * 40).code == 0
    skipped = [word for before, word in itertools.pairwise(called) if before == "--skip"]
    assert skipped == (["trainers"] if there else ["scan", "trainers"])
    assert ("Not scanned" in capsys.readouterr().out) is not there


def test_the_document_names_the_checks_of_a_pull_request_as_github_does() -> None:
    workflows = ROOT / ".github" / "workflows"
    asked, called = (
        yaml.safe_load((workflows / f"{name}.yml").read_text(encoding="utf-8"))["jobs"]
        for name in ("pull-request", "checks")
    )
    names = [f"checks / {job['name']}" for job in called.values()] + [asked["image"]["name"]]
    assert asked["checks"]["uses"].endswith("/checks.yml") and "name" not in asked["checks"]
    assert not [name for name in names if f"`{name}`" not in DOCUMENT]


def test_the_configuration_of_the_place_is_one_that_a_cluster_could_run(tmp_path: Path) -> None:
    configs = shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (configs / "place.toml").write_text(cluster.config_of(tmp_path), encoding="utf-8")
    assert problems(load(configs / "place.toml")) == []
