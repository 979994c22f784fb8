"""The page of a run: what it says, and that it says it whatever became of the run."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.config_file import load
from pipeline.lineage import Run
from pipeline.report.page import CONTENTS, render
from tests.pipeline.payloads import write
from tests.pipeline.whole_run import (
    CALIBRATION,
    DRIFT,
    INTERVALS,
    LATENCY,
    MODELS,
    NO_ONE_MAY,
    RUN,
    SLICE,
    TOLD_OF_DRIFT,
    WholeRun,
)
from tests.pipeline.written_store import CACHED, FAILED, RUNNING, Writer

HOSTILE = "<script>alert('x')</script> & \"more\" {{ 7 * 7 }}"
_INLINE = {"a", "code", "data", "span", "time"}
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3}


class Page(HTMLParser):
    """What a browser would find on a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.values: set[float] = set()
        self.tags: set[str] = set()
        self.shown: list[str] = []
        self._within: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.add(tag)
        self._within.append(tag)
        if tag not in _INLINE:
            self.shown.append(" ")
        if (own := told.get("id")) is not None:
            self.ids.append(own)
        if tag == "a" and (link := told.get("href")):
            self.links.append(link)
        if tag in _HEADINGS:
            self.headings.append(_HEADINGS[tag])
        if tag == "data":
            self.values.add(float(told["value"] or "nan"))

    def handle_data(self, data: str) -> None:
        if self._within[-1:] not in (["style"], ["title"]):
            self.shown.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.shown))

    @property
    def top(self) -> str:
        """What stands before the first section."""
        return self.text.partition("Metrics against")[0]


def the_run(root: Path, run: str = RUN) -> Run:
    return lineage.open(load(overrides=[f"root={str(root)!r}"])).run(run)


def page_of(whole: WholeRun) -> Page:
    whole.write()
    return Page(render(the_run(whole.root)))


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    whole = WholeRun(tmp_path_factory.mktemp("whole"))
    whole.write()
    return render(the_run(whole.root))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_decision_and_its_reason_come_first(page: Page) -> None:
    words = (
        "flights: run run-2",
        "Pushed: keras went live as version 102.",
        "keras: auc 0.7123, better than the live sklearn (0.7014) by 0.0110.",
        "It was still the live model",
        "Worth a look",
        "March",
    )
    places = [page.top.find(one) for one in words]
    assert -1 not in places
    assert places == sorted(places)


def test_all_sections_are_there_in_their_order_and_can_be_reached(page: Page) -> None:
    sections = [one for one in page.ids if one in CONTENTS]
    assert sections == list(CONTENTS)
    assert {f"#{one}" for one in CONTENTS} <= set(page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_headings_go_down_a_step_at_a_time(page: Page) -> None:
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert all(after - before <= 1 for before, after in steps)


def test_the_values_are_those_of_the_files_to_the_last_digit(page: Page) -> None:
    ends = {end for interval in INTERVALS.values() for end in interval}
    ahead = {MODELS[name] - MODELS["live"] for name in ("keras", "xgboost")}
    wanted = {
        *(MODELS.values()),
        *ends,
        *ahead,
        -0.0345678912,
        0.87654321,
        CALIBRATION,
        SLICE,
        SLICE + 0.06,
        *(one.value for one in DRIFT),
        LATENCY.p50_ms,
        LATENCY.p95_ms,
        LATENCY.rows_per_second,
        3.21e-7,
        0.987654321,
        52.58123456789,
        12.3456789,
        654_321 / 1e6,
        900,
    }
    assert wanted <= page.values


def test_what_passes_and_what_fails_is_said_in_words(page: Page) -> None:
    assert re.search(r"calibration fail 1\.2988", page.text)
    assert "carrier 9E 77 auc 0.6543 0.7143 -0.0600 -0.0500 fail" in page.text


def test_a_reader_is_told_of_what_is_worth_a_look(page: Page) -> None:
    assert "keras, the best candidate, fails on calibration" in page.top
    assert "keras is too much worse on carrier 9E" in page.top
    assert "the data gate warns of temp" in page.top
    assert TOLD_OF_DRIFT in page.text


def test_curves_say_what_each_model_does_at_the_threshold_that_is_configured(page: Page) -> None:
    assert re.search(r"At 0\.3 Precision Recall Flagged keras [\d. ]+% live sklearn", page.text)


def test_the_card_has_the_words_of_the_configuration_and_the_facts_of_the_run(page: Page) -> None:
    assert "Intended use To be looked at." in page.text
    assert "the probability that late is 1" in page.text
    assert "900 rows of span 2" in page.text
    assert "numpy 2.4.6" in page.text
    assert "0123456789abcdef; files had been changed since" in page.text


def test_a_page_needs_nothing_from_elsewhere(html: str, page: Page) -> None:
    assert not page.tags & {"script", "img", "iframe", "object"}
    fetched = re.findall(r"""(?:src|href)=["']([^"'#]+)|url\(([^#)][^)]*)\)|@import""", html)
    assert {a or b for a, b in fetched} == {"data:,"}
    assert len(html) < 1_000_000


def test_no_two_elements_have_the_same_id(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_a_run_has_one_page_but_for_the_time_at_which_it_is_written(
    html: str, tmp_path: Path
) -> None:
    def timeless(text: str) -> str:
        return re.sub(r"Written <time.*?</time>", "", text)

    whole = WholeRun(tmp_path)
    whole.write()
    run = the_run(tmp_path)
    assert timeless(render(run)) == timeless(render(the_run(tmp_path)))
    assert timeless(render(run)) != timeless(html)  # another root


def test_what_people_write_is_text_and_nothing_else(tmp_path: Path) -> None:
    whole = WholeRun(
        tmp_path,
        note=HOSTILE,
        reason=HOSTILE,
        settings=(f"card.limits={json.dumps(HOSTILE)}",),
        facts={"image": HOSTILE},
    )
    page = page_of(whole)
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 5  # The note twice.


def test_without_a_live_model_nothing_is_compared_with_one(tmp_path: Path) -> None:
    page = page_of(WholeRun(tmp_path, is_live=False, reason="keras: auc 0.7123, the best of 2"))
    assert "No model was live to compare with" in page.text
    assert "No slice was guarded: no model was live to compare with" in page.text
    assert "Better than live" not in page.text


def test_it_says_what_waits_for_approval_and_how_to_give_it(tmp_path: Path) -> None:
    page = page_of(WholeRun(tmp_path, pushed=None, settings=("register.approval=manual",)))
    assert "Not live yet: keras was chosen and waits for a person's approval." in page.top
    assert "python -m pipeline registry approve" in page.top
    assert "Facts of keras, chosen, not live" in page.text


def test_it_says_that_a_person_has_approved_it_since(tmp_path: Path) -> None:
    whole = WholeRun(tmp_path, pushed=None, settings=("register.approval=manual",))
    writer = whole.write()
    champion = the_run(tmp_path).champion
    assert champion is not None
    pushed = writer.artifact("PushedModel", pushed=1, pushed_version="103", framework="keras")
    writer.execution("registry", [champion.id], [pushed], run="registry-1")
    assert (
        "Pushed: keras went live as version 103, as a person approved it."
        in Page(render(the_run(tmp_path))).top
    )
    by_a_person = Page(render(the_run(tmp_path, "registry-1")))
    assert "Made live by a person: keras went live as version 103." in by_a_person.text


def test_it_says_why_no_candidate_may_go_live(tmp_path: Path) -> None:
    page = page_of(WholeRun(tmp_path, winner=None, reason=NO_ONE_MAY, pushed=False, blessed=False))
    assert "Not pushed: the live sklearn stays, as no candidate may go live." in page.top
    assert "keras: what is said of keras." in page.top
    assert "xgboost: what is said of xgboost." in page.top


def test_it_says_why_the_best_candidate_is_not_better_enough(tmp_path: Path) -> None:
    reason = "the live sklearn stays: the best candidate, keras (auc 0.7123), is a tie"
    page = page_of(WholeRun(tmp_path, winner=None, reason=reason, pushed=False, blessed=False))
    assert "Not pushed: the live sklearn stays." in page.top
    assert "The best candidate, keras (auc 0.7123), is a tie." in page.top


def test_it_says_that_the_canary_refused_the_choice(tmp_path: Path) -> None:
    page = page_of(WholeRun(tmp_path, blessed=False, pushed=False))
    assert "Not pushed: keras was chosen, but the canary refused it." in page.top
    assert "The answers differ by 0.5." in page.top
    assert "fail the answers differ by 0.5." in page.text


def test_a_run_that_goes_on_tells_what_is_decided_by_now(tmp_path: Path) -> None:
    page = page_of(WholeRun(tmp_path, outcome="", facts={"started": "2013-04-02T06:00:00"}))
    assert "Pushed: keras went live as version 102." in page.top
    assert "going on as this was written" in page.top
    assert "while the run was going on" in page.text


def test_a_run_that_has_just_begun_has_decided_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.execution("ExampleGen", [], [], run="run-9", state=RUNNING)
    page = Page(render(the_run(tmp_path, "run-9")))
    assert "Nothing is decided yet: the run has not ended." in page.text
    assert {"why", "timeline", "lineage", "versions"} == set(page.ids) & set(CONTENTS)


def test_a_run_of_which_no_node_began_has_a_page(tmp_path: Path) -> None:
    Writer(tmp_path).facts("run-9", outcome="failed", reason="there is no span 9")
    page = Page(render(the_run(tmp_path, "run-9")))
    assert "Failed: there is no span 9." in page.text
    assert {"why", "versions"} == set(page.ids) & set(CONTENTS)


def test_a_run_that_the_data_gate_stopped_says_what_to_do(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    examples = writer.artifact("Examples", span=2, rows_train=10)
    writer.execution("ExampleGen", [], [examples], run="run-9", state=CACHED)
    why = "the data of span 2 may not go on:\n  - temp moved\nWhat to do:\n  - find out why"
    writer.execution("DataGate", [], [], run="run-9", state=FAILED, error=why)
    writer.facts("run-9", outcome="failed", failed_node="DataGate", reason=why)
    page = Page(render(the_run(tmp_path, "run-9")))
    assert "Stopped by the data gate: the data of span 2 may not go on." in page.text
    assert re.search(r"temp moved What to do: find out why Nothing was pushed", page.text)
    assert "Not on this page, as the run failed before it came to that: Metrics," in page.text
    assert "Metrics against" not in page.text


def test_a_run_that_an_earlier_span_stopped_shows_that_one(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    examples = writer.artifact("Examples", span=1, rows_train=10)
    writer.execution("ExampleGen", [], [examples], run="run-9-span-1")
    writer.execution("DataGate", [], [], run="run-9-span-1", state=FAILED, error="too few rows")
    writer.facts("run-9", outcome="failed", failed_node="DataGate", reason="too few rows")
    page = Page(render(the_run(tmp_path, "run-9")))
    assert "Stopped by the data gate: too few rows." in page.text
    assert "this is of span 1, which it ingested before" in page.text


def test_a_run_that_failed_after_its_model_went_live_says_both(tmp_path: Path) -> None:
    whole = WholeRun(tmp_path, outcome="failed", facts={"failed_node": "Report", "reason": "full"})
    page = page_of(whole)
    assert "Failed in Report: full." in page.top
    assert "Before that keras went live as version 102." in page.top


def test_where_folders_are_gone_the_store_still_tells_what_was_decided(tmp_path: Path) -> None:
    WholeRun(tmp_path).write()
    for folder in filter(Path.is_dir, tmp_path.iterdir()):
        shutil.rmtree(folder)
    page = Page(render(the_run(tmp_path)))
    assert "Pushed: keras went live as version 102." in page.top
    assert "better than the live sklearn (0.7014)" in page.top
    assert page.text.count("its folder may have been removed") >= 6
    assert [one for one in page.ids if one in CONTENTS] == list(CONTENTS)


def test_an_evaluation_from_before_there_were_curves_says_so(tmp_path: Path) -> None:
    WholeRun(tmp_path).write()
    (tmp_path / "ModelEvaluation/curves.parquet").unlink()
    page = Page(render(the_run(tmp_path)))
    assert "was made before evaluations kept their curves" in page.text
    assert MODELS["keras"] in page.values


def test_a_damaged_file_costs_its_own_section_alone(tmp_path: Path) -> None:
    WholeRun(tmp_path).write()
    (tmp_path / "ModelSelection/selection.json").write_text("{")
    page = Page(render(the_run(tmp_path)))
    assert "Pushed: keras went live" in page.top
    assert "not a Selection that this code understands" in page.text
    assert CALIBRATION in page.values


def test_a_page_of_very_many_columns_and_slices_stays_small(tmp_path: Path) -> None:
    whole = WholeRun(tmp_path)
    whole.write()
    few, many = whole.verdict, range(1000)
    guard = few.checks[-1]
    wide = few.model_copy(
        update={
            "slices": [few.slices[0].model_copy(update={"rows": k}) for k in many],
            "checks": [guard.model_copy(update={"model": "keras", "rows": k}) for k in many],
        }
    )
    write(tmp_path / "ModelEvaluation/verdict.json", wide.model_dump_json())
    gate = the_run(tmp_path).outputs("GateReport")[0].gate()
    drift = tuple(DRIFT[0].model_copy(update={"feature": f"column {k}"}) for k in many)
    gate = gate.model_copy(update={"drift": drift, "findings": gate.findings * 1000})
    write(tmp_path / "GateReport/report.json", gate.model_dump_json())
    html = render(the_run(tmp_path))
    assert len(html) < 1_000_000
    assert "the first 200 of them" in html


def test_where_mlflow_was_not_told_the_page_says_why(tmp_path: Path) -> None:
    writer = WholeRun(tmp_path).write()
    told = writer.artifact("Registration", registered=0, reason="MLflow does not answer")
    writer.execution("Registrar", [], [told], run=RUN)
    assert "MLflow was not told: MLflow does not answer" in Page(render(the_run(tmp_path))).top


def test_a_run_without_its_configuration_has_a_page(tmp_path: Path) -> None:
    WholeRun(tmp_path, facts={}).write().facts(RUN, config="")
    page = Page(render(the_run(tmp_path)))
    assert MODELS["keras"] in page.values
    assert "Configuration, with its defaults" not in page.text
