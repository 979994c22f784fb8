"""The command lines answer at once: nothing heavy is imported for help and for mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from local_runner import command, parse
from pipeline.config import PROJECT

HEAVY = ("tensorflow", "tfx", "apache_beam", "pyarrow", "numpy", "rich")


@pytest.mark.parametrize(
    ("program", "arguments", "code", "said"),
    [
        ("local_runner", ["--help"], 0, "--resume"),
        ("local_runner", ["--config", "nope.toml"], 2, "no such configuration file"),
        ("local_runner", ["--set", "data.windw=3"], 2, "did you mean window?"),
        ("local_runner", ["--only", "Canary", "--to", "Pusher"], 2, "--only stands alone"),
        ("local_runner", ["--jobs", "0"], 2, "--jobs must be 1 or more"),
        ("pipeline.__main__", ["init", "--help"], 0, "--split-time"),
        ("pipeline.__main__", ["init", "x.csv", "--name", "flights"], 2, "--force overwrites it"),
        ("pipeline.__main__", ["predict", "--help"], 0, "--row"),
        ("pipeline.__main__", ["serve", "--help"], 0, "--directory"),
        ("pipeline.__main__", ["runs", "--help"], 0, "--limit"),
        ("pipeline.__main__", ["show", "--help"], 0, "RUN|ARTIFACT_ID"),
        ("pipeline.__main__", ["lineage", "--help"], 0, "--down"),
        ("pipeline.__main__", ["diff", "--help"], 0, "or newest"),
        ("pipeline.__main__", ["live", "--help"], 0, "--json"),
        ("pipeline.__main__", ["recall", "--help"], 0, "--artifact"),
        ("pipeline.__main__", ["report", "--help"], 0, "--serve"),
        ("pipeline.__main__", ["monitor", "--help"], 0, "--prometheus"),
        ("pipeline.__main__", ["monitor", "--json", "--open"], 2, "not allowed with"),
        ("pipeline.__main__", ["report", "--open", "--serve"], 2, "not allowed with"),
        ("pipeline.__main__", ["recall"], 2, "SPAN --artifact"),
        ("pipeline.__main__", ["recall", "may"], 2, "'may' is not a whole number"),
        ("pipeline.__main__", ["config", "--set", "gate.drift=stp"], 2, "did you mean stop?"),
        ("pipeline.__main__", ["predict", "--row", "{"], 2, "--row: not valid JSON"),
        ("pipeline.__main__", ["predict", "--row", "[]"], 2, "expected one JSON object"),
        (
            "pipeline.__main__",
            ["predict", "--set", "root=output/nowhere", "--row", "{}"],
            2,
            "no model has been pushed there yet",
        ),
    ],
)
def test_help_and_mistakes_import_nothing_heavy(
    program: str, arguments: list[str], code: int, said: str
) -> None:
    script = (
        f"import sys\nfrom {program} import main\n"
        f"try:\n    code = main({arguments!r})\nexcept SystemExit as end:\n    code = end.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(code, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{code} []"
    assert "Traceback" not in done.stderr


def test_the_command_to_go_on_repeats_what_was_asked_for() -> None:
    asked = ["--config", "my data.toml", "--set", "data.window=2", "--span", "6", "--no-cache"]
    again = command(parse([*asked, "--to", "Canary", "--jobs", "1"]), resume=True)
    assert again.partition("local_runner.py ")[2] == (
        "--config 'my data.toml' --set data.window=2 --span 6 --to Canary --no-cache --resume"
    )


def test_the_newest_span_may_be_asked_for_and_is_again_on_resuming() -> None:
    assert parse(["--span", "newest"]).span == "newest"
    assert parse(["--span", "4"]).span == 4
    assert "--span newest" in command(parse(["--span", "newest"]), resume=True)
    with pytest.raises(SystemExit):
        parse(["--span", "last"])


def test_a_mistake_ends_the_process_with_its_code_and_without_taking_libraries_down() -> None:
    script = (
        "import atexit, runpy, sys\n"
        "atexit.register(print, 'an orderly exit')\n"
        "sys.argv = ['pipeline', 'predict', '--row', '{']\n"
        "runpy.run_module('pipeline', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT, timeout=60
    )
    assert done.returncode == 2
    assert "--row: not valid JSON" in done.stderr
    assert done.stdout == ""
