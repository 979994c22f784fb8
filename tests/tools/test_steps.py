import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment, steps
from tools.steps import SetupError, Steps, explain, only_one

WAITER = """
from pathlib import Path
from tools import steps
steps.ROOT = Path({root!r})
with steps.only_one():
    print("its turn")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(steps, "ROOT", tmp_path)
    monkeypatch.setattr(steps, "LOG", tmp_path / "setup.log")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("error: Failed to fetch: `x`\n cause: dns error", "the network does not answer"),
        ("E: Failed to fetch x  Could not connect to y (1.2.3.4)", "the network does not answer"),
        ("ERROR: No matching distribution (from versions: none)", "the network does not answer"),
        ("error sending request\n invalid peer certificate: UnknownIssuer", "certificate"),
        ("cause: No space left on device (os error 28)", "the disk is full"),
        ("Hash mismatch for `x==1`", "not the one that was locked"),
        ("W: GPG error: NO_PUBKEY 6ED0E7B82643E131", "debian-archive-keyring"),
    ],
)
def test_what_can_be_missing_is_told_in_one_sentence(output: str, told: str) -> None:
    sentence = explain("Installing", output)
    assert told in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_an_unknown_failure_is_told_with_its_last_line_and_its_log(project: Path) -> None:
    command = ["sh", "-c", "echo first; echo then this >&2; exit 3"]
    told = r"Trying: this failed \(then this\); all that it printed is in setup.log."
    with only_one() as lock, pytest.raises(SetupError, match=told):
        Steps(lock).run("Trying", command)
    assert (project / "setup.log").read_text().endswith("first\nthen this\n")


@pytest.mark.usefixtures("project")
def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with only_one() as lock, pytest.raises(SetupError, match="does not start"):
        Steps(lock).run("Trying", [tmp_path / "no-such-program"])


def test_a_second_set_up_waits_until_the_first_is_done(project: Path) -> None:
    with only_one():
        waiter = subprocess.Popen(
            [sys.executable, "-c", WAITER.format(root=str(project))],
            cwd=environment.ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert waiter.stdout is not None
        assert "waiting" in waiter.stdout.readline()
        assert waiter.poll() is None
    assert waiter.communicate()[0] == "its turn\n"
