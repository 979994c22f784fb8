"""A person's own table, from the file through `init` to a live model, in the shortest time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline import config_file, lineage
from pipeline.config import PROJECT, PipelineConfig
from pipeline.lineage import Store


@dataclass(frozen=True)
class OwnData:
    """A table whose pipeline has run once."""

    file: Path
    """The table, as CSV."""
    toml: Path
    """What `init` wrote."""
    root: Path
    """Of the pipeline."""
    said: str
    """What both commands printed."""

    @property
    def config(self) -> PipelineConfig:
        """The configuration of the run."""
        return config_file.load(self.toml, [f"root={self.root}", *_SHORT])

    @property
    def store(self) -> Store:
        """What the run has left."""
        return lineage.open(self.config)


_SHORT = ('train.frameworks=["sklearn"]', "evaluate.cross_validation.repeats=2")


def first_day(folder: Path, frame: pd.DataFrame, label: str) -> OwnData:
    """Writes a table, and runs both commands of the first day on it; scikit-learn alone learns."""
    file, root = folder / "own.csv", folder / "output"
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(file, index=False)
    init = [sys.executable, "-m", "pipeline", "init", file, "--label", label, "--yes"]
    toml = folder / "own.toml"
    settings = [word for setting in (f"root={root}", *_SHORT) for word in ("--set", setting)]
    run = [sys.executable, "local_runner.py", "--config", toml, "--plain", *settings]
    said = ""
    for command in ([*init, "--folds", "2", "--directory", folder], run):
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr
        assert done.returncode == 0, said
    return OwnData(file, toml, root, said)
