"""Deployments in the store, and which of them a run ran, on each kind of store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore

from pipeline import lineage
from pipeline.__main__ import main
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.store import deployments, record
from pipeline.store.deployments import COMPLETE, FAILED, PAUSE, RELEASE, ROLLBACK, Facts, Record
from tests import services
from tests.pipeline.deploying import built_of
from tests.pipeline.written_store import Writer

COMMIT, LATER = "1a" * 20, "2b" * 20


def facts_of(commit: str, **other: str) -> Facts:
    built, package = built_of(commit)
    facts = Facts(
        pipeline="flights",
        target="kfp",
        server="https://kubeflow.example.com",
        commit=commit,
        committed="2026-01-31T23:00:00+00:00",
        image=built.image,
        package_digest=built.digest,
        version=package.version,
        version_id="",
        parameters="{}",
        who="Zoë\\Ada 'x'",
        action=RELEASE,
    )
    return replace(facts, **other)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def config(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PipelineConfig:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/store.sqlite"
    else:
        monkeypatch.setenv("PIPELINE_STORE_PASSWORD", services.PASSWORD)
        server: services.Server = request.getfixturevalue(f"{request.param}_server")
        url = server.database()
    return load(PROJECT / "configs/flights-kubeflow.toml", [f"store.url={json.dumps(url)}"])


def deploy(config: PipelineConfig, facts: Facts) -> Record:
    with deployments.alone(config) as kept:
        made = kept.begin(facts, built_of(facts.commit)[1].text)
        kept.complete(made, version_id="v-1")
        return kept.all(facts.target)[0]


def test_a_deployment_is_kept_with_its_package(config: PipelineConfig) -> None:
    facts = facts_of(COMMIT)
    found = deploy(config, facts)
    assert {name: getattr(found, name) for name in vars(facts)} == vars(
        replace(facts, version_id="v-1")
    )
    assert (found.outcome, found.reason) == (COMPLETE, "")
    with deployments.alone(config) as kept:
        assert kept.package(found.version) == built_of(COMMIT)[1].text
        assert kept.all("vertex") == ()
        with pytest.raises(UserError, match="has no package other"):
            kept.package("other")


def test_a_release_waits_for_another_one_as_long_as_its_step_allows() -> None:
    steps = yaml.safe_load((PROJECT / "cloudbuild.yaml").read_text())["steps"]
    (step,) = (step for step in steps if step["id"] == "release")
    own = 300  # It has this long for itself.
    assert deployments._WAIT_SECONDS + own == int(step["timeout"].removesuffix("s"))


def test_what_failed_is_kept_with_its_reason(config: PipelineConfig) -> None:
    with deployments.alone(config) as kept:
        made = kept.begin(facts_of(COMMIT), "text")
        kept.fail(made, "the server said no\nand more " + "x" * 5000)
        (found,) = kept.all("kfp")
    assert found.outcome == FAILED
    assert found.reason.startswith("the server said no\nand more xxx")
    assert len(found.reason) > 5000


def test_a_large_package_is_kept_whole(config: PipelineConfig) -> None:
    text = "".join(f"{i}: ä \\ 'line'\n" for i in range(20_000))
    with deployments.alone(config) as kept:
        kept.begin(facts_of(COMMIT), text)
        assert kept.package(facts_of(COMMIT).version) == text


def test_a_store_that_fails_is_a_sentence(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise errors.UnavailableError("gone away\nquery: SELECT")

    with (
        pytest.raises(UserError, match=r"the metadata store failed \(gone away\); repeat"),
        deployments.alone(config) as kept,
    ):
        monkeypatch.setattr(MetadataStore, "put_execution", fail)
        kept.begin(facts_of(COMMIT), "text")


def test_lineage_tells_which_deployment_a_run_ran(
    config: PipelineConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    w = Writer(config.store_url)
    first = deploy(config, facts_of(COMMIT))
    run_facts = {"pipeline": "flights", "image": facts_of(COMMIT).image, "runner": "kubeflow"}
    w.facts("of-first", commit=COMMIT, started=record.now(), **run_facts)
    deploy(config, facts_of(LATER))
    again = deploy(config, facts_of(COMMIT, action=ROLLBACK))
    w.facts("of-rollback", commit=COMMIT, started=record.now(), **run_facts)
    w.facts("local", **{**run_facts, "runner": "local"}, commit=COMMIT, started=record.now())
    w.facts("other-commit", commit="c" * 40, started=record.now(), **run_facts)
    w.facts("no-image", commit=COMMIT, **{**run_facts, "image": ""})

    with deployments.alone(config) as kept:
        kept.complete(kept.begin(facts_of(COMMIT, action=PAUSE), "text"), version_id="")
    w.facts("by-hand", commit=COMMIT, started=record.now(), **run_facts)

    store = lineage.open(config)
    paused, newest, middle, oldest = store.deployments()
    assert (paused.action, paused.runs) == (PAUSE, ())
    assert (newest.id, oldest.id) == (again.id, first.id)
    assert store.run("of-first").deployment is oldest
    assert store.run("of-rollback").deployment is newest
    for other in ("local", "other-commit", "no-image"):
        assert store.run(other).deployment is None
    assert [run.id for run in newest.runs] == ["by-hand", "of-rollback"]
    assert middle.runs == ()
    assert repr(oldest).startswith(f"<Deployment {first.id}: release of {COMMIT[:9]} on kfp, ")
    assert "Zoë\\Ada &#x27;x&#x27;" in oldest._repr_html_()

    url = ["--set", f"store.url={json.dumps(config.store_url)}"]
    assert main(["show", "of-rollback", *url]) == 0
    said = capsys.readouterr().out
    assert f"deployment  {again.version}, rollback by Zoë\\Ada 'x', " in said
    assert main(["show", "of-first", "--json", *url]) == 0
    assert json.loads(capsys.readouterr().out)["deployment"]["version"] == first.version
    assert main(["show", "local", "--json", *url]) == 0
    assert json.loads(capsys.readouterr().out)["deployment"] is None


def test_a_store_without_deployments_has_none(config: PipelineConfig) -> None:
    Writer(config.store_url).facts("run", pipeline="flights", image="x", commit=COMMIT)
    store = lineage.open(config)
    assert store.deployments() == ()
    assert store.run("run").deployment is None


@given(st.lists(st.tuples(st.sampled_from("ab+-"), st.integers(0, 4), st.booleans()), max_size=12))
def test_a_rollback_never_goes_back_to_what_it_went_back_from(
    steps: list[tuple[str, int, bool]],
) -> None:
    """Releases, rollbacks of one step and pauses, in any order; some fail."""
    from datetime import UTC, datetime

    records: list[Record] = []
    stack: list[str] = []
    is_paused = False
    for number, (kind, commit, works) in enumerate(steps):
        if kind == "+":  # A rollback by one.
            if len(stack) < 2:
                continue
            version, action = stack[-2], ROLLBACK
            if works:
                stack.pop()
        elif kind == "-":
            if not stack:
                continue
            version, action = stack[-1], PAUSE
        else:
            version, action = f"v{commit}", RELEASE
            if works and is_paused:
                stack.pop()
            if works and stack[-1:] != [version]:
                stack.append(version)
        is_paused = action == PAUSE if works else is_paused
        facts = facts_of(COMMIT, version=version, action=action)
        made = Record(
            **vars(facts),
            id=number,
            when=datetime.now(UTC),
            outcome=COMPLETE if works else FAILED,
            reason="",
        )
        records.insert(0, made)
        assert [one.version for one in deployments.at_work(records)] == stack[::-1]
