"""The pages in a real browser: nothing to complain of, legible, and right to the last digit."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.config_file import load
from pipeline.features_config import Problem
from pipeline.report.page import CONTENTS, render
from pipeline.report.server import Server
from tests.browser import Browser, browser
from tests.pipeline import reported_store
from tests.pipeline.problem_runs import ProblemRun
from tests.pipeline.reported_store import HOSTILE, NONE_BETTER, PUSHED, VALUES
from tests.pipeline.whole_run import RUN, WholeRun
from tests.pipeline.written_store import Writer

RUNS = ("run-1", "run-2", "run-3", "run-4")
PHONE = 400
SCROLLBAR = 15
STAGES = (
    ("ExampleGen",),
    ("StatisticsGen",),
    ("PreviousStatistics", "ExampleValidator", "Transform"),
    ("Trainer.keras", "Trainer.pytorch", "Trainer.sklearn", "Trainer.xgboost"),
    ("LiveModel",),
    ("Evaluator",),
    ("ModelSelector",),
    ("Canary",),
    ("Pusher",),
    ("Registrar",),
    ("Report",),
)
"""The longest way through the pipeline, with the widest names beside it."""
LEAST_CONTRAST = 4.5
"""Of text, as WCAG 2.2 asks of level AA."""
PALE = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length || e.closest("style, title, desc")) continue;
    const style = getComputedStyle(e);
    const word = light(rgb(e instanceof SVGElement ? style.fill : style.color));
    // In a picture a box may lie behind: what it is painted with, its own test looks at.
    if (e.closest(".picture")) continue;
    const ground = light(behind(e));
    const ratio = (Math.max(word, ground) + 0.05) / (Math.min(word, ground) + 0.05);
    if (ratio < LEAST) found.push(`${e.textContent.trim()}: ${ratio.toFixed(2)}`);
  }
  return found;
})()
""".replace("LEAST", str(LEAST_CONTRAST))
"""The words that can hardly be told from what they stand on."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the pages of `reported_store` are."""
    root = tmp_path_factory.mktemp("root")
    reported_store.write(root)
    with Server(0, load(overrides=[f"root={json.dumps(str(root))}"])) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("page", ["", *(f"{run}/report.html" for run in RUNS)])
def test_a_page_is_legible_and_asks_for_nothing_else(
    chromium: Browser, address: str, page: str, dark: bool
) -> None:
    chromium.open(f"{address}{page}", dark=dark)
    assert chromium.complaints == []
    assert [url for url in chromium.requests if not url.startswith("data:")] == [address + page]
    ground = chromium.ask("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")
    assert chromium.ask(PALE) == []


@pytest.mark.parametrize("page", ["", *(f"{run}/report.html" for run in RUNS)])
def test_a_page_fits_a_phone(chromium: Browser, address: str, page: str) -> None:
    chromium.open(f"{address}{page}", width=PHONE)
    assert not chromium.scrolls_sideways


def test_a_page_whose_files_are_gone_fits_a_phone(chromium: Browser, tmp_path: Path) -> None:
    root = tmp_path / ("longname" * 10)
    WholeRun(root).write()
    for folder in filter(Path.is_dir, root.iterdir()):
        shutil.rmtree(folder)
    page = tmp_path / "page.html"
    page.write_text(render(lineage.open(load(overrides=[f"root={str(root)!r}"])).run(RUN)))
    chromium.open(page.as_uri(), width=PHONE)
    assert "It cannot be shown: " in chromium.ask("document.body.innerText")
    assert not chromium.scrolls_sideways


@pytest.mark.parametrize("problem", [Problem.MULTICLASS, Problem.REGRESSION])
def test_the_predictions_of_each_problem_are_legible_and_fit_a_phone(
    chromium: Browser, tmp_path: Path, problem: Problem
) -> None:
    run = ProblemRun(tmp_path, problem=problem, size=12_345.6)
    run.write()
    page = tmp_path / "page.html"
    page.write_text(render(lineage.open(run.config).run(RUN)))
    for dark in (False, True):
        chromium.open(page.as_uri(), width=PHONE, dark=dark)
        assert chromium.complaints == []
        assert chromium.ask(PALE) == []
        assert not chromium.scrolls_sideways


def test_the_nodes_of_a_whole_run_are_seen_at_once(chromium: Browser, tmp_path: Path) -> None:
    writer, last = Writer(tmp_path), []
    for stage in STAGES:
        made = [writer.artifact("Model") for _ in stage]
        for node, artifact in zip(stage, made, strict=True):
            writer.execution(node, last, [artifact])
        last = made
    page = tmp_path / "page.html"
    page.write_text(render(lineage.open(load(overrides=[f"root={str(tmp_path)!r}"])).run("run-1")))
    chromium.open(page.as_uri(), width=1280 - SCROLLBAR)
    across = "(e => [e.scrollWidth, e.clientWidth])(document.querySelector('.picture'))"
    wide, room = chromium.ask(across)
    assert wide == room


def test_the_links_of_all_runs_lead_to_their_pages(chromium: Browser, address: str) -> None:
    chromium.open(address)
    links = chromium.ask("[...document.querySelectorAll('tbody a')].map(a => a.href)")
    assert links == [f"{address}{run}/report.html" for run in reversed(RUNS)]
    for link, run in zip(links, reversed(RUNS), strict=True):
        chromium.open(link)
        (title,) = chromium.texts("h1")
        assert run in title


def test_the_numbers_are_those_of_the_store(chromium: Browser, address: str) -> None:
    chromium.open(address)
    for run, values in VALUES.items():
        row = f"[...document.querySelectorAll('tbody tr')].find(r => r.innerText.includes('{run}'))"
        shown = chromium.ask(f"[...{row}.querySelectorAll('data')].map(d => Number(d.value))")
        assert set(filter(None, values)) <= set(shown)
    assert len(chromium.ask("[...document.querySelectorAll('main svg')].map(s => 1)")) == 1


def test_words_of_a_person_stay_words(chromium: Browser, address: str) -> None:
    for page in ("", f"{NONE_BETTER}/report.html"):
        chromium.open(f"{address}{page}")
        assert HOSTILE in chromium.ask("document.body.innerText")
        assert chromium.ask("document.scripts.length") == 0
        assert chromium.complaints == []


def test_a_run_has_the_sections_that_it_names_with_headings_in_order(
    chromium: Browser, address: str
) -> None:
    chromium.open(f"{address}{PUSHED}/report.html")
    named = chromium.ask("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert {"candidates", "timeline", "lineage", "card"} <= set(named) <= set(CONTENTS)
    assert named == [section for section in CONTENTS if section in named]
    for section in named:
        assert chromium.ask(f"document.getElementById('{section}') !== null"), section
    levels = chromium.ask(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_page_says_what_the_store_says_was_decided(chromium: Browser, address: str) -> None:
    chromium.open(f"{address}{NONE_BETTER}/report.html")
    (decision, *_) = chromium.texts(".decision")
    assert "Not pushed: the live keras stays" in decision
    assert "best is no better" in decision
