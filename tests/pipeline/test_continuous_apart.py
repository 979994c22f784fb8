"""Work in a process of its own: what comes of it, and that none is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline.config import PROJECT
from pipeline.continuous.apart import _work, apart
from pipeline.continuous.lease import Lease
from pipeline.continuous.runs import RefusedSpan, RunFailed
from tests.pipeline.continuous_world import deliver, make_config


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def refuse(span: int) -> None:
    raise RefusedSpan(f"span {span} is cut short")


def fail() -> None:
    raise ZeroDivisionError("a defect")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_its_result_comes_back_from_another_process() -> None:
    made, process = apart(double, 4, doing="doubled")
    assert made == 8
    assert process != os.getpid()


def test_what_it_raises_is_raised_here() -> None:
    with pytest.raises(RefusedSpan, match="span 4 is cut short"):
        apart(refuse, 4, doing="refused")
    with pytest.raises(ZeroDivisionError) as raised:
        apart(fail, doing="failed")
    assert "in fail\n" in raised.value.__notes__[0]  # A defect says where it is.


def test_a_process_that_is_killed_is_a_try_that_failed() -> None:
    with pytest.raises(RunFailed, match="the process that looked at span 4 was ended"):
        apart(die, doing="looked at span 4")


def test_a_result_that_nobody_waits_for_any_more_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # This process goes on.
    answers, answer = multiprocessing.Pipe(duplex=False)
    answers.close()
    _work(answer, double, (4,))


LOOKS = """
    import os, time
    from pathlib import Path

    def look(config, span):
        file = Path(__file__).with_name("looks")
        file.with_suffix(".part").write_text(str(os.getpid()))
        file.with_suffix(".part").rename(file)
        time.sleep(600)
"""
SCRIPT = """
    import sys
    from types import SimpleNamespace
    import looks
    from pipeline.__main__ import main
    from pipeline.continuous import commands

    commands._observe = looks.look
    commands._runner = lambda *_: SimpleNamespace(ingest=lambda span: None)
    sys.exit(main(["continuous", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("how", ["--once", "--follow"])
def test_who_is_asked_to_stop_while_it_looks_at_a_span_gives_the_lease_back_and_leaves_no_process(
    tmp_path: Path, how: str
) -> None:
    config = make_config(tmp_path)
    deliver(config, 1)
    (tmp_path / "looks.py").write_text(textwrap.dedent(LOOKS))
    words = [f"root={config.root}", f"data.path={config.data.path}", "continuous.marker=_SUCCESS"]
    options = [word for text in words for word in ("--set", text)]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), how, *options],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    looks = tmp_path / "looks"
    while not looks.exists():
        assert process.poll() is None, "it ended before it looked"
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted: call it again" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(looks.read_text()), 0)
    Lease(config).renew()
