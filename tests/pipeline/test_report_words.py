"""The page of a run: who started it, and that it writes the same thing the same way throughout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from custom_components.evaluator.verdict import Rule
from pipeline.lineage import Store
from pipeline.report import index
from pipeline.report.page import render
from pipeline.store import decisions, deployments, record
from tests.pipeline.test_report_page import Page, page_of, the_run
from tests.pipeline.whole_run import MODELS, NO_ONE_MAY, RUN, WholeRun
from tests.pipeline.written_store import CACHED, FAILED, Writer

HELD = "it is better by 0.0110 (95 % interval 0.0010 to 0.0210), in 96 % of 1,000 samples"


def test_the_decision_that_started_a_run_is_named_with_its_reason(tmp_path: Path) -> None:
    writer = WholeRun(tmp_path).write()
    by_hand = Page(render(the_run(tmp_path))).text
    assert "Started by decision" not in by_hand
    assert "Started by hand. Its note: March" in by_hand
    reason = "Span 2: retrain, because the live model's <auc> fell."
    facts = decisions.Facts("flights", 2, "ab", "cd", decisions.RETRAIN, reason, "[]", "{}")
    made = decisions.write(writer.store, facts, {})
    decisions.started(writer.store, made, RUN)
    top = Page(render(the_run(tmp_path))).top
    assert f"Started by decision {made}, 20" in top
    assert f"UTC: {reason} Span 2 State" in top


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"note": f"Span 2, {decisions.TO_DECIDE}"}, "The policy looked at the span"),
        ({"runner": "kubeflow"}, "Started on kubeflow, by a person or a schedule there"),
    ],
)
def test_a_run_that_no_decision_started_says_who_did(
    tmp_path: Path, facts: dict[str, str], said: str
) -> None:
    writer = Writer(tmp_path)
    writer.facts(RUN, pipeline="flights", **facts)
    assert said in Page(render(the_run(tmp_path))).text


def test_the_deployment_that_a_run_ran_is_named(tmp_path: Path) -> None:
    writer = WholeRun(tmp_path).write()
    assert "Deployment" not in Page(render(the_run(tmp_path))).text
    names = deployments.Facts.__dataclass_fields__
    known = {"pipeline": "flights", "target": "kfp", "image": "flights@sha256:1", "commit": "1a2b"}
    told = {"version": "1a2b-0305", "who": "Zoë", "action": deployments.RELEASE}
    kept = deployments.Deployments(writer.store, "flights")
    facts = deployments.Facts(**{**dict.fromkeys(names, ""), **known, **told})
    kept.complete(kept.begin(facts, "text"), version_id="")
    writer.facts(RUN, image=known["image"], commit="1a2b", runner="kubeflow", started=record.now())
    assert "Deployment 1a2b-0305, a release by Zoë, 20" in Page(render(the_run(tmp_path))).top


def test_percentages_are_written_one_way(tmp_path: Path) -> None:
    """What the store keeps in words has a space before its sign."""
    page = page_of(WholeRun(tmp_path / "won", reason=f"keras: {HELD}"))
    assert "(95% interval 0.0010 to 0.0210), in 96% of" in page.top
    whole = WholeRun(tmp_path / "none", winner=None, reason=NO_ONE_MAY, pushed=False, blessed=False)
    whole.write()
    file = tmp_path / "none/ModelSelection/selection.json"
    file.write_text(file.read_text().replace("what is said of keras", HELD))
    none = Page(render(the_run(whole.root)))
    assert "keras: it is better by 0.0110 (95% interval" in none.top
    for text in (page.text, none.text):
        assert " %" not in text


def test_what_is_empty_is_written_one_way(tmp_path: Path) -> None:
    WholeRun(tmp_path).write()
    run = the_run(tmp_path)
    runs = index.render(Store(run._reader), [])
    for html in (render(run), runs):
        assert "\N{EN DASH}" not in html
        assert '<span class="none">-</span>' in html


def test_what_is_asked_of_a_metric_reads_as_a_sentence(tmp_path: Path) -> None:
    whole = WholeRun(tmp_path)
    whole.write()
    told = whole.verdict
    asked = told.checks[0].model_copy(update={"rule": Rule.MAX_REGRESSION, "bound": 0.002})
    told = told.model_copy(update={"checks": [asked]})
    (tmp_path / "ModelEvaluation/verdict.json").write_text(told.model_dump_json())
    page = Page(render(the_run(tmp_path)))
    assert "at most 0.002 worse than the live model" in page.text


def test_a_reason_that_holds_for_several_sections_is_given_once(tmp_path: Path) -> None:
    WholeRun(tmp_path).write()
    shutil.rmtree(tmp_path / "ModelEvaluation")
    page = Page(render(the_run(tmp_path)))
    assert page.text.count(str(tmp_path / "ModelEvaluation/verdict.json")) == 1
    assert page.text.count("It cannot be shown, for the reason that is given for the metrics.") == 2
    assert MODELS["keras"] in page.values  # The choice among them is another file.


def backfilled(root: Path, state: int) -> Page:
    writer = Writer(root)
    examples = writer.artifact("Examples", span=1)
    writer.execution("ExampleGen", [], [examples], run="run-9-span-1", state=CACHED)
    writer.execution("StatisticsGen", [], [], run="run-9-span-1", state=state)
    if state != FAILED:
        writer.execution("ExampleGen", [], [], run="run-9")
    writer.facts("run-9", outcome="failed" if state == FAILED else "succeeded")
    return Page(render(the_run(root, "run-9")))


@pytest.mark.parametrize("state", [CACHED, FAILED], ids=["before its own", "alone"])
def test_the_time_that_is_told_says_whether_backfills_count(tmp_path: Path, state: int) -> None:
    words = "from the first node's start to the last one's end"
    page = backfilled(tmp_path, state)
    assert f"{words}{'' if state == FAILED else ', its backfills not counted'}. The" in page.text
