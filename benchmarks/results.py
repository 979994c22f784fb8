"""Keeps what was measured, section by section, and writes it down as RESULTS.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import psutil

from benchmarks import (
    report,
    report_datasets,
    report_frameworks,
    report_lineage,
    report_node_start,
    report_orchestrators,
    report_predict,
)

SECTIONS = {
    "ingest": ("Reading rows", report.ingest),
    "components": ("Components beside TFX's own", report.components),
    "analyzer_cache": ("Transform's analyses, kept", report.analyzer_cache),
    "training": ("Training", report.training),
    "taxi": ("Beside TFX's taxi template", report.taxi),
    "frameworks": ("Several frameworks", report_frameworks.frameworks),
    "predict": ("Batch inference", report_predict.predict),
    "startup": ("Start-up", report.startup),
    "node_start": ("The start of a node", report_node_start.node_start),
    "orchestrators": ("What orchestrators cost", report_orchestrators.orchestrators),
    "lineage": ("Questions to the metadata store", report_lineage.lineage),
    "growth": ("Growth", report.growth),
    "datasets": ("Public data sets", report_datasets.datasets),
}
"""The benchmarks in the order in which they run: title, and what renders their figures."""

_VERSIONS = (
    "tfx",
    "tensorflow",
    "keras",
    "apache-beam",
    "tensorflow-data-validation",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "pyarrow",
    "scikit-learn",
    "xgboost-cpu",
    "mlflow",
)
_INTRODUCTION = """# What it costs

Measured by `make bench`, which writes this file; `make bench ARGS="taxi startup"` measures some
sections anew and leaves the others. The speed of a machine drifts from minute to minute: seconds
of different sections, or of different days, do not compare. Ratios do, since both of their sides
were measured in turn, in one go. Memory is that of all processes of a command together; a page
that several share counts once. `benchmarks/results.json` holds the same figures.
"""

Results = dict[str, Any]


def load(file: Path) -> Results:
    """The sections measured before; none if there is no such file."""
    return json.loads(file.read_text()) if file.is_file() else {}


def section(figures: dict[str, Any]) -> dict[str, Any]:
    """`figures` with the day, the machine and the versions they were measured with."""
    today = datetime.date.today().isoformat()
    return {"date": today, "machine": machine(), "versions": versions(), "figures": figures}


def save(results: Results, folder: Path) -> None:
    """Writes results.json and, made of nothing else, RESULTS.md."""
    ordered = {name: results[name] for name in SECTIONS if name in results}
    (folder / "results.json").write_text(json.dumps(ordered, indent=2) + "\n")
    (folder / "RESULTS.md").write_text(render(ordered))


def render(results: Results) -> str:
    """RESULTS.md: a section a benchmark, under what they were measured on."""
    parts = [_INTRODUCTION.rstrip()]
    grounds: dict[tuple[str, str], list[str]] = {}
    for name, measured in results.items():
        key = (measured["machine"], _list(measured["versions"]))
        grounds.setdefault(key, []).append(name)
    for (machine_, versions_), names in grounds.items():
        which = "" if len(grounds) == 1 else f" ({', '.join(SECTIONS[n][0] for n in names)})"
        parts.append(f"- Machine{which}: {machine_}\n- Versions{which}: {versions_}")
    for name, (title, markdown) in SECTIONS.items():
        if name in results:
            day = f"Measured on {results[name]['date']} by `python -m benchmarks.{name}`."
            parts += [f"## {title}", day, markdown(results[name]["figures"])]
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    """Processor, cores, memory, system and Python of this machine."""
    memory = psutil.virtual_memory().total / 2**30
    return ", ".join(
        [
            _processor(),
            f"{os.cpu_count()} cores",
            f"{memory:.0f} GiB of memory",
            _system(),
            f"Python {platform.python_version()}",
        ]
    )


def versions() -> dict[str, str]:
    """Of the libraries that the work is done by."""
    return {name: importlib.metadata.version(name) for name in _VERSIONS}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)


def _list(named: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in named.items())
