"""The units of the policy as systemd itself reads them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.__main__ import parser
from tools.environment import ROOT

SYSTEMD = ROOT / "deploy" / "systemd"
UNITS = sorted(SYSTEMD.glob("pipeline-*"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


def settings(unit: Path) -> Mapping[str, str]:
    """What a unit says, without its sections; the last of a name counts."""
    lines = unit.read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def test_systemd_finds_nothing_to_mend(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("The units are checked by systemd-analyze, which is not here.")
    files = []
    for unit in UNITS:  # It looks whether the program is there.
        file = tmp_path / unit.name.replace("@", "@flights")
        file.write_text(unit.read_text().replace("/opt/pipeline/.venv/bin/python", "/bin/true"))
        files.append(str(file))
    done = subprocess.run([verify, "verify", "--man=no", *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_runs_the_policy_on_the_configuration_that_its_instance_names(unit: Path) -> None:
    program, *words = settings(unit)["ExecStart"].replace("%i", "flights").split()
    assert program == f"{settings(unit)['WorkingDirectory']}/.venv/bin/python"
    arguments = parser().parse_args(words[2:])
    assert words[:3] == ["-m", "pipeline", "continuous"]
    assert (arguments.once, arguments.follow) == ("-once" in unit.stem, "-once" not in unit.stem)
    assert (ROOT / arguments.config).is_file()


def test_a_mistake_is_not_tried_again_and_being_stopped_is_no_failure() -> None:
    follow, once = settings(SYSTEMD / "pipeline-continuous@.service"), settings(SERVICES[0])
    assert (follow["Restart"], follow["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert "Restart" not in once and once["Type"] == "oneshot"
    assert {unit["SuccessExitStatus"] for unit in (follow, once)} == {"130"}


def test_both_services_are_kept_to_the_same_bounds() -> None:
    own = ("Type", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus", "Conflicts")
    follow, once = (
        {name: value for name, value in settings(unit).items() if name not in (*own, "WantedBy")}
        for unit in reversed(SERVICES)
    )
    assert follow == once
    assert follow["ProtectSystem"] == "strict" and follow["NoNewPrivileges"] == "true"


def test_the_readme_names_every_unit_and_how_to_set_it_up() -> None:
    readme = (SYSTEMD / "README.md").read_text()
    assert all(f"`{unit.name}`" in readme for unit in UNITS)
    assert "install -m 644 deploy/systemd/pipeline-continuous* /etc/systemd/system/" in readme
