"""The command line answers at once, and says what it waits for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.config import PROJECT
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.lease import Lease
from pipeline.continuous.loop import Loop
from pipeline.errors import UserError
from pipeline.tasks import finish
from tests import services
from tests.pipeline.continuous_world import World, deliver, loop_of, make_config


@pytest.fixture(autouse=True)
def _sigterm() -> Iterator[None]:
    """What a command does on SIGTERM is its process's, which is that of other tests here."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom pipeline.__main__ import main\n"
        "try:\n    main(['continuous', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'tfx', 'numpy', 'pyarrow', 'ml_metadata', 'cronsim'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert "--follow" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_one_of_the_three_ways_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["continuous"])
    assert "--once --follow --simulate is required" in capsys.readouterr().err


def settings(tmp_path: Path) -> list[str]:
    (tmp_path / "data").mkdir()
    words = [f"root={json.dumps(str(tmp_path / 'root'))}"]
    words += [f"data.path={json.dumps(str(tmp_path / 'data'))}", "continuous.rest_seconds=0"]
    return [part for word in words for part in ("--set", word)]


def test_without_data_there_is_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path)
    assert main(["continuous", "--once", *given]) == 0
    told = capsys.readouterr().out
    assert "no file of any span matches span-{SPAN:2}" in told and "Nothing new." in told
    assert main(["continuous", "--simulate", *given]) == 2
    assert "no file of any span matches span-{SPAN:2}" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["--once", "--follow", "--simulate"])
def test_a_folder_that_is_not_there_is_no_folder_without_spans(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path)
    (tmp_path / "data").rmdir()
    assert main(["continuous", how, *given]) == 2
    assert f"data.path: there is no folder {tmp_path / 'data'}" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_what_ends_a_pass_is_told_as_failures_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, str]] = []
    monkeypatch.setenv(finish.WEBHOOK_VARIABLE, "http://127.0.0.1/hook")
    monkeypatch.setattr(finish, "tell", lambda _, message: told.append(message))

    def fail(_: Loop) -> bool:
        raise UserError("the bucket does not answer")

    monkeypatch.setattr(Loop, "step", fail)
    assert main(["continuous", "--once", *settings(tmp_path)]) == 2
    assert [(one["event"], one["failure"]) for one in told] == [
        ("failed", "the bucket does not answer")
    ]
    assert "the bucket does not answer" in capsys.readouterr().err


def test_once_says_what_it_waits_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*settings(tmp_path), "--set", "continuous.marker=_SUCCESS"]
    (tmp_path / "data/span-04").mkdir()
    (tmp_path / "data/span-04/a.parquet").touch()
    assert main(["continuous", "--once", *given]) == 1
    assert capsys.readouterr().out == "Span 4 waits for _SUCCESS.\n"


def test_once_does_not_wait_for_what_was_decided_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path)
    deliver(config, 1)
    loop_of(config, World()).step()
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    given = [f"root={config.root}", f"data.path={config.data.path}", "continuous.rest_seconds=3600"]
    given = ["continuous", "--once", *(part for word in given for part in ("--set", word))]
    assert main(given) == 0
    assert (capsys.readouterr().out, slept) == ("Nothing new.\n", [])
    deliver(config, 2)
    assert main(given) == 1
    assert "Span 2 waits until its files have rested for 3600 s." in capsys.readouterr().out
    assert slept == [3600.0]


def test_following_says_once_of_each_delivery_that_it_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path)
    deliver(config, 1, whole=False)
    passes: list[float] = []

    def sleep(seconds: float) -> None:
        passes.append(seconds)
        if len(passes) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    given = [f"root={config.root}", f"data.path={config.data.path}", "continuous.marker=_SUCCESS"]
    sets = [part for word in given for part in ("--set", word)]
    assert main(["continuous", "--follow", "--every", "5", *sets]) == 130
    told = capsys.readouterr().out
    assert f"Watching {config.data.path} for span-" in told
    assert told.count("Span 1 waits for _SUCCESS.") == 1
    assert passes == [5.0] * 3


@pytest.mark.parametrize("every", ["0", "-5", "nan", "often"])
def test_one_cannot_look_at_no_or_negative_intervals(
    every: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["continuous", "--follow", "--every", every])
    assert f"--every: {every} is no number of seconds above 0" in capsys.readouterr().err


def test_simulate_says_of_a_new_span_that_it_would_be_looked_at_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path)
    (tmp_path / "data/span-01").mkdir()
    (tmp_path / "data/span-01/a.parquet").touch()
    assert main(["continuous", "--simulate", *given]) == 0
    (tmp_path / "data/span-03").mkdir()
    (tmp_path / "data/span-03/a.parquet").touch()
    assert main(["continuous", "--simulate", *given]) == 0
    told = capsys.readouterr().out.splitlines()[1:]
    assert told == ["To be ingested and looked at first: span 1, 3."]
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("runner", ["kubeflow", "vertex"])
def test_what_a_server_could_not_do_is_said_before_anything_is_looked_at(
    runner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*settings(tmp_path), "--set", f"continuous.runner={runner}"]
    assert main(["continuous", "--once", *given]) == 2
    assert "the runs would fail: root is " in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_where_another_process_is_at_it_one_may_call_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path)
    with Lease(load(DEFAULT, given[1::2])):
        assert main(["continuous", "--once", *given]) == 1
    assert "Call again: flights is retrained by another process" in capsys.readouterr().err
    assert main(["continuous", "--once", *given]) == 0


def away(tmp_path: Path) -> list[str]:
    url = f"postgresql://pipeline@127.0.0.1:{services.free_port()}/metadata"
    return [*settings(tmp_path), "--set", f"store.url={json.dumps(url)}"]


def test_where_the_store_does_not_answer_one_may_call_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["continuous", "--once", *away(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Call again: postgresql://") and "cannot be reached" in said


def test_a_process_that_stays_waits_for_a_store_that_is_not_up_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["continuous", "--follow", "--every", "7", *away(tmp_path)]) == 130
    assert pauses == [7, 7]
    assert capsys.readouterr().out.count("cannot be reached") >= 2


def test_what_signing_in_lacks_is_a_mistake_and_no_failed_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBEFLOW_TOKEN", raising=False)
    given = ["--config", str(DEFAULT.with_name("flights-kubeflow.toml"))]
    given += ["--set", 'kubeflow.auth="token"']
    assert main(["continuous", "--once", *given]) == 2
    said = capsys.readouterr().err
    assert said.startswith("python -m pipeline continuous: kubeflow.auth is token, but")
