"""Tables for the tests of `init`, small, each with one thing to be found; and the command."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.__main__ import main
from pipeline.config import PipelineConfig
from pipeline.config_file import load


def write(folder: Path, columns: Mapping[str, Any], name: str = "table.csv") -> Path:
    """A CSV file with these columns."""
    file = folder / name
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return file


def shop(rows: int = 400) -> dict[str, list[Any]]:
    """Customers of a shop: of every kind a column, and a label that some of them tell of."""
    random = np.random.default_rng(7)
    age = random.integers(18, 80, rows)
    late = age + random.normal(0, 20, rows) > 50
    incomes = enumerate(random.lognormal(8, 2, rows))
    return {
        "row": list(range(1, rows + 1)),
        "age": age.tolist(),
        "income": ["N/A" if i % 9 == 0 else f"{v:.0f}" for i, v in incomes],
        "town": random.choice(["Ulm", "Bonn", "Kiel"], rows).tolist(),
        "member": random.choice(["yes", "no"], rows).tolist(),
        "joined": [f"{row % 16 + 13}.{row % 12 + 1:02d}.2024" for row in range(rows)],
        "remark": [
            " ".join(random.choice(["good", "late", "broken", "kind", "soon"], 6))
            for _ in range(rows)
        ],
        "shop": ["north"] * rows,
        "late": ["late" if one else "in time" for one in late],
    }


def init(file: Path, *words: str, rc: int = 0) -> PipelineConfig | None:
    """Runs the command; the configuration that it wrote."""
    assert main(["init", str(file), *words, "--directory", str(file.parent / "configs")]) == rc
    return load(file.parent / "configs" / f"{file.stem}.toml") if rc == 0 else None
