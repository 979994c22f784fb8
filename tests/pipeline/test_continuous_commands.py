"""The command line answers at once, and says what it waits for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.config import PROJECT
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.lease import Lease


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
    assert main(["continuous", "--simulate", *given]) == 2
    assert "no file of any span matches span-{SPAN:2}" in capsys.readouterr().err


def test_simulate_says_of_a_new_span_that_it_would_be_looked_at_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path)
    (tmp_path / "data/span-01").mkdir()
    (tmp_path / "data/span-01/a.parquet").touch()
    assert main(["continuous", "--simulate", *given]) == 0
    assert "Span 1: it would be ingested and looked at first" in capsys.readouterr().out
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
    assert "is retrained by another process" in capsys.readouterr().err
    assert main(["continuous", "--once", *given]) == 0
