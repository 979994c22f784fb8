"""This project as the benchmarks run it, and what its runs leave to be read."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.measure import CommandFailed, Cost, measure
from pipeline.config import PROJECT

OUTPUT = PROJECT / "output" / "benchmarks"
"""Everything that benchmarks make, but for their results."""

Node = dict[str, Any]
"""What a run's run.json says of one node: node, state, start, end, cpu, peak_mb."""


def copy(folder: Path) -> Path:
    """Copies the working tree, edits and new files included, to `folder`; gives `folder`.

    What git ignores stays behind: the environment, the output.
    """
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in listed.split("\0"):
        if name and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    return folder


def run(folder: Path, config: str, *arguments: str, log: Path) -> Cost:
    """Runs the pipeline of the project in `folder` by the interpreter at work here."""
    command = [sys.executable, "local_runner.py", "--config", config, "--plain", *arguments]
    return measure(command, cwd=folder, log=log)


def reason(failure: CommandFailed) -> str:
    """One line on why a command failed: its log's last one, or the one that names a node."""
    lines = str(failure).splitlines()
    line = next((line for line in lines if " failed: " in line), lines[-1])
    return line.replace(f"{PROJECT}/", "").strip()[:200]


def newest_run(root: Path) -> Path:
    """The folder of the newest run below a pipeline's root.

    Raises:
      FileNotFoundError: there is none.
    """
    found = sorted((root / "runs").glob("*/run.json"))
    if not found:
        raise FileNotFoundError(f"{root}: no run in it")
    return found[-1].parent


def nodes(root: Path) -> list[Node]:
    """What the newest run's run.json says of its nodes, by their start; empty if it is silent."""
    facts = json.loads((newest_run(root) / "run.json").read_text())
    return sorted(facts.get("nodes", []), key=lambda node: float(node["start"]))


def node_seconds(ran: list[Node]) -> dict[str, float]:
    """Seconds of each node, by its name, in the order in which they began."""
    return {node["node"]: round(node["end"] - node["start"], 2) for node in ran}


def utilisation(ran: list[Node], cores: int) -> float | None:
    """Share of the cores' time that nodes used, from the first one's start to the last one's end.

    None where the nodes' processor time is not known.
    """
    if not ran or any(node.get("cpu") is None for node in ran):
        return None
    wall = max(node["end"] for node in ran) - min(node["start"] for node in ran)
    return round(sum(node["cpu"] for node in ran) / (cores * wall), 2)


def accuracy(root: Path) -> float:
    """What the newest verdict says of its only candidate."""
    files = (root / "Evaluator" / "evaluation").glob("*/verdict.json")
    newest = max(files, key=lambda file: int(file.parent.name))
    verdict = json.loads(newest.read_text())
    (candidate,) = verdict["candidates"]
    return float(verdict["models"][candidate]["accuracy"])


def pushed(root: Path) -> int:
    """How many models the serving folder holds."""
    return sum(1 for folder in (root / "serving").glob("*") if folder.name.isdigit())


def train_steps(root: Path, config: Path) -> int:
    """Steps of the newest training with the fixed number of epochs in the file `config`."""
    keras = tomllib.loads(config.read_text())["train"]["keras"]
    store = sqlite3.connect(root / "metadata.sqlite")
    try:
        (rows,) = store.execute(
            "SELECT int_value FROM ArtifactProperty WHERE name = 'rows_train' "
            "ORDER BY artifact_id DESC LIMIT 1"
        ).fetchone()
    finally:
        store.close()
    return int(keras["epochs"]) * -(-int(rows) // int(keras["batch_size"]))
