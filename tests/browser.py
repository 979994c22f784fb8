"""Chromium without a window, by its DevTools protocol: what a page does and looks like."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # The tests may run as root.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-port=0",
)
_SECONDS = 60


@dataclass
class Browser:
    """One tab."""

    _socket: ClientConnection
    _session: str = ""
    _number: int = 0
    complaints: list[str] = field(default_factory=list)
    """What the page that is open has left in the console, and what was thrown."""
    requests: list[str] = field(default_factory=list)
    """The addresses that it asked for."""
    _loaded: bool = False
    _width: int = 0

    def open(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        """Opens a page in a window of that width, by day or night, and waits until it is there."""
        self._width = width
        self.complaints.clear()
        self.requests.clear()
        narrow = width < 600
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": narrow}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        answer = self._ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer["errorText"]
        deadline = time.monotonic() + _SECONDS
        while not self._loaded:
            self._take(json.loads(self._socket.recv(timeout=deadline - time.monotonic())))

    def ask(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """The words of the elements that a CSS selector names."""
        script = f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
        return [" ".join(text.split()) for text in self.ask(script)]

    @property
    def scrolls_sideways(self) -> bool:
        """Whether the page, rather than a part of it, is wider than the window."""
        return bool(self.ask(f"document.documentElement.scrollWidth > {self._width}"))

    def begin(self) -> None:
        """Opens the tab."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        deadline = time.monotonic() + _SECONDS
        while True:
            received = json.loads(self._socket.recv(timeout=deadline - time.monotonic()))
            if received.get("id") == number:
                assert "error" not in received, received["error"]
                answer: dict[str, Any] = received["result"]
                return answer
            self._take(received)

    def _take(self, event: dict[str, Any]) -> None:
        """Notes what the browser tells by itself."""
        told = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(told["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(told["exceptionDetails"]["text"])
            case "Runtime.consoleAPICalled":
                self.complaints.append(" ".join(str(a.get("value")) for a in told["args"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own below `folder`; skips the test where there is none."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium here: sudo apt install chromium")
    profile = folder / "profile"
    profile.mkdir(parents=True)
    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen(
            [program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            stdout=log,
            stderr=log,
        )
    try:
        with connect(_address(process, profile), max_size=None) as socket:
            opened = Browser(socket)
            opened.begin()
            yield opened
    finally:
        process.terminate()
        process.wait(timeout=_SECONDS)


def _address(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Where it listens, which it writes into its profile."""
    file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _SECONDS
    while not (file.is_file() and len(lines := file.read_text().splitlines()) == 2):
        log = (profile.parent / "chromium.log").read_text()
        assert process.poll() is None, log
        assert time.monotonic() < deadline, log
        time.sleep(0.05)
    port, path = lines
    return f"ws://127.0.0.1:{port}{path}"
