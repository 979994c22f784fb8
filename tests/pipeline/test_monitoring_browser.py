"""The page of retraining in a real browser: legible, nothing asked for, and right to the digit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.monitoring import history, pages
from pipeline.report.server import Server
from tests.browser import Browser, browser
from tests.pipeline import monitored_store
from tests.pipeline.monitored_store import AUC, CHALLENGER_AUC, DRIFT, HOSTILE, ROWS
from tests.pipeline.test_report_browser import PALE, PHONE


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("root")
    monitored_store.write(made)
    assert main(["report", "run-2", "--set", f"root={json.dumps(str(made))}"]) == 0
    return made


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "monitoring" / pages.PAGE_FILE).as_uri()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_is_legible_and_asks_for_nothing_else(
    chromium: Browser, page: str, dark: bool
) -> None:
    chromium.open(page, dark=dark)
    assert chromium.complaints == []
    assert [url for url in chromium.requests if not url.startswith("data:")] == [page]
    assert chromium.ask(PALE) == []
    assert HOSTILE in chromium.ask("document.body.innerText")
    assert chromium.ask("document.scripts.length") == 0


def test_the_page_fits_a_phone(chromium: Browser, page: str) -> None:
    chromium.open(page, width=PHONE)
    assert not chromium.scrolls_sideways


def test_the_numbers_are_those_of_the_store(chromium: Browser, page: str) -> None:
    chromium.open(page)
    for span, value in AUC.items():
        assert {value, ROWS + span} <= set(numbers(chromium, "#spans", str(span)))
    assert CHALLENGER_AUC in numbers(chromium, "#spans", "5")
    for column, distance in DRIFT.items():
        assert distance in numbers(chromium, "#drift", column)
    assert len(chromium.texts("#drift ~ .scroll small")) == 3
    (scores, *_, rows) = chromium.ask(
        "[...document.querySelectorAll('main svg')].map(s => s.ariaLabel)"
    )
    assert all(f"{span}: {value:.4f} (" in scores for span, value in AUC.items())
    assert scores.endswith("another model went live after 1, 4")
    assert f"5: {ROWS + 5:,}" in rows


def numbers(chromium: Browser, section: str, row: str) -> list[float]:
    """The exact numbers of a row of a section's table."""
    rows = f"[...document.querySelectorAll('{section} ~ .scroll tbody tr')]"
    found = f"{rows}.find(r => r.cells[0].innerText === {json.dumps(row)})"
    told = chromium.ask(f"[...{found}.querySelectorAll('data')].map(d => Number(d.value))")
    return list(map(float, told))


def test_the_pages_lead_to_one_another_as_files(chromium: Browser, page: str) -> None:
    visit(chromium, page)


def test_the_pages_lead_to_one_another_over_http(chromium: Browser, root: Path) -> None:
    with Server(0, monitored_store.config_of(root)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            visit(chromium, f"http://127.0.0.1:{server.server_port}/monitoring/index.html")
        finally:
            server.shutdown()
            thread.join()


def visit(chromium: Browser, page: str) -> None:
    """From the page to the run that a decision started, to all runs, and back."""
    chromium.open(page)
    (run, _) = chromium.ask("[...document.querySelectorAll('main a')].map(a => a.href)")
    (runs,) = chromium.ask("[...document.querySelectorAll('nav a[href*=\"..\"]')].map(a => a.href)")
    chromium.open(run)
    (why,) = chromium.texts("section[aria-labelledby=why] > p")
    assert why.startswith("The policy asked for it, in decision ")
    chromium.open(runs)
    (back,) = chromium.ask(
        "[...document.querySelectorAll('header a[href*=monitoring]')].map(a => a.href)"
    )
    assert back.endswith("/monitoring/index.html")
    chromium.open(back)
    assert chromium.texts("h1") == ["Retraining of flights"]


def test_a_run_that_a_decision_started_says_what_each_part_of_the_policy_found(
    chromium: Browser, root: Path
) -> None:
    chromium.open((root / "runs/run-2/report.html").as_uri())
    (decision,) = (
        one for one in history.read(monitored_store.config_of(root)).decisions if one.span == 4
    )
    rows = "[...document.querySelectorAll('section[aria-labelledby=why] tbody tr')]"
    shown = chromium.ask(f"{rows}.map(r => [...r.cells].map(c => c.innerText))")
    assert [row[0] for row in shown] == [finding["rule"] for finding in decision.findings]
    asks = [row[0] for row in shown if row[1] == "asks for it"]
    assert asks == [f["rule"] for f in decision.findings if f["holds"]] == ["performance"] * 2
    values = chromium.ask(f"{rows}.map(r => [...r.querySelectorAll('data')].map(d => +d.value))")
    told = [[f[key] for key in ("value", "bound")] for f in decision.findings]
    assert values == [[number for number in row if number is not None] for row in told]
