"""The page to try one row in a real browser: legible, whole, and right for every problem."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.features_config import Problem
from pipeline.serve.folder import Served, ServingFolder
from pipeline.serve.server import Server
from tests.browser import Browser, browser
from tests.models.spoken import spoken
from tests.pipeline.test_report_browser import PALE, PHONE


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = ServingFolder(str(tmp_path_factory.mktemp("serving")))
    with Server(("127.0.0.1", 0), "late", models) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        running.block_on_close = False  # The browser holds its connection.
        thread.join()


def serves(server: Server, problem: Problem = Problem.BINARY) -> str:
    """The address of the page."""
    server.models.served = Served("7", spoken(problem), {"island": ("Biscoe", "Torgersen")})
    return f"http://127.0.0.1:{server.server_port}/"


def predicted(chromium: Browser, **values: str) -> str:
    """What the page says once the form is sent with some fields filled in otherwise."""
    for name, value in values.items():
        chromium.ask(f"document.querySelector('input[name={name}]').value = {value!r}")
    before = chromium.ask("document.querySelector('#answer').innerText")
    chromium.ask("document.querySelector('button[type=submit]').click()")
    deadline = time.monotonic() + 30
    while (said := chromium.ask("document.querySelector('#answer').innerText")) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return " ".join(str(said).split())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_is_legible_and_asks_nobody_but_its_server(
    chromium: Browser, server: Server, dark: bool
) -> None:
    url = serves(server)
    chromium.open(url, dark=dark)
    predicted(chromium)
    assert chromium.complaints == []
    asked = [address for address in chromium.requests if not address.startswith("data:")]
    assert asked == [url, f"{url}v1/models/late:predict"]
    assert chromium.ask(PALE) == []


def test_the_page_fits_a_phone_and_each_field_has_its_label(
    chromium: Browser, server: Server
) -> None:
    chromium.open(serves(server), width=PHONE)
    assert not chromium.scrolls_sideways
    labelled = "[...document.querySelectorAll('input')].map(i => i.labels[0].innerText)"
    names = [label.split()[0] for label in chromium.ask(labelled)]
    assert names == ["mass", "island", "year"]


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (Problem.BINARY, "probability that species is 1 0.2500 0 0.7500 1 0.2500 by version 7"),
        (
            Problem.MULTICLASS,
            "species Chin strap Chin strap 1.0000 Adelie 0.0000 Gentoo 0.0000 by version 7",
        ),
        (Problem.REGRESSION, "species 3 by version 7"),
    ],
)
def test_it_shows_what_the_model_says(
    chromium: Browser, server: Server, problem: Problem, said: str
) -> None:
    chromium.open(serves(server, problem))
    assert predicted(chromium, mass="3", year="1") == said


def test_a_missing_value_is_an_empty_field_and_a_mistake_is_told(
    chromium: Browser, server: Server
) -> None:
    chromium.open(serves(server))
    assert "1 1.0000" in predicted(chromium, mass="")
    assert "Row 1, column 'year': 'soon' does not fit" in predicted(chromium, year="soon")


def test_before_the_first_model_there_is_a_page_as_well(
    chromium: Browser, server: Server, tmp_path: Path
) -> None:
    url = serves(server)
    server.models.served = None
    chromium.open(url)
    assert chromium.texts("header p") == [
        "No model has been pushed yet. This page looks again every few seconds."
    ]
