"""The page of a run that a node of the run writes; the metadata store is asked what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.orchestration.pipeline import Pipeline

from custom_components.report.component import Report
from pipeline import lineage
from pipeline.node import State
from pipeline.report import page, pages
from tests.custom_components.registrations import Project, configure

TWO = {"sklearn": 0.7, "xgboost": 0.71}


class Reported(Project):
    """Runs that go on to their report."""

    def _pipeline(self, auc: Mapping[str, float], *, pushes: bool, canary: str) -> Pipeline:
        pipeline = super()._pipeline(auc, pushes=pushes, canary=canary)
        nodes = {node.id: node for node in pipeline.components}
        report = Report(
            nodes["Evaluator"].outputs["evaluation"],
            nodes["ModelSelector"].outputs["selection"],
            infra_blessing=nodes["Canary"].outputs["blessing"],
            pushed_model=nodes["Pusher"].outputs["pushed_model"] if pushes else None,
            registration=nodes["Registrar"].outputs["registration"],
            store=self.config.store_url,
        )
        pipeline.components.append(report)
        return pipeline


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """A project of which run-1 has pushed a model."""
    made = Reported(configure(tmp_path_factory.mktemp("project")))
    assert made.run("run-1", TWO)["Report"].state is State.COMPLETE
    return made


def properties(artifact: pb.Artifact) -> dict[str, object]:
    return {
        key: getattr(value, value.WhichOneof("value"))
        for key, value in artifact.custom_properties.items()
        if key in ("run", "complete")
    }


def test_the_page_tells_what_was_decided_while_its_own_run_goes_on(project: Reported) -> None:
    report = next(a for a in project.artifacts("Report") if properties(a)["run"] == "run-1")
    assert properties(report) == {"run": "run-1", "complete": 1}
    text = (Path(report.uri) / pages.REPORT_FILE).read_text()
    (selection,) = lineage.open(project.config).run("run-1").outputs("ModelSelection")
    assert "run-1" in text
    assert str(selection.properties["reason"]) in text


def test_a_report_descends_from_all_that_was_decided(project: Reported) -> None:
    run = lineage.open(project.config).run("run-1")
    (report,) = run.outputs("Report")
    read = {artifact.type for artifact in report.parents()}
    decided = {"ModelEvaluation", "ModelSelection", "InfraBlessing", "PushedModel", "Registration"}
    assert read == decided
    (pushed,) = run.node("Pusher").outputs["pushed_model"]
    assert report in pushed.descendants()
    assert report in run.outputs("Model")[0].descendants()


def test_each_run_has_a_page_of_its_own_though_all_else_is_cached(project: Reported) -> None:
    results = project.run("run-again", TWO)
    assert results["ModelSelector"].state is State.CACHED
    assert results["Report"].state is State.COMPLETE
    assert "run-again" in {properties(report)["run"] for report in project.artifacts("Report")}
    # A run that is resumed keeps the one that it has.
    assert project.run("run-again", TWO)["Report"].state is State.RESUMED


def test_a_pipeline_without_a_pusher_has_a_report(tmp_path: Path) -> None:
    project = Reported(configure(tmp_path))
    assert project.run("run-1", TWO, pushes=False)["Report"].state is State.COMPLETE
    (report,) = lineage.open(project.config).run("run-1").outputs("Report")
    assert "PushedModel" not in {artifact.type for artifact in report.parents()}


def test_a_page_that_cannot_be_made_says_so_and_fails_nobody(
    project: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: lineage.Run) -> str:
        raise ValueError("a <broken> chart\nand more")

    monkeypatch.setattr(page, "render", fail)
    assert project.run("run-broken", TWO)["Report"].state is State.COMPLETE
    report = project.artifacts("Report")[-1]
    assert properties(report) == {"run": "run-broken", "complete": 0}
    text = (Path(report.uri) / pages.REPORT_FILE).read_text()
    assert "ValueError: a &lt;broken&gt; chart)" in text
    assert "python -m pipeline show run-broken" in text


def test_no_password_of_a_store_is_kept_with_the_run(
    project: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_STORE_PASSWORD", "hunter2")
    ir = project._pipeline(TWO, pushes=True, canary="")
    (report,) = (node for node in ir.components if node.id == "Report")
    assert report.exec_properties["store"] == project.config.store_url
    assert "hunter2" not in str(report.exec_properties)
