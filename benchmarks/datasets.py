"""Public data sets, from the file to the champion without a hand, beside a tuned reference.

python -m benchmarks.datasets [NAME ...]

Of each: `pipeline init` on the file, a run of what it wrote, and the champion's metric beside that
of gradient boosting tuned by hand (`benchmarks.dataset_reference`) on the same split. References
are kept in output/, so that a second call runs the pipelines alone. Exits with 1 if one is further
behind than it may be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

from benchmarks import dataset_reference, project, report_datasets
from benchmarks.dataset_files import DATA_SETS, FOLDER, DataSet, download
from benchmarks.dataset_split import parts_of
from benchmarks.measure import CommandFailed, measure
from custom_components import selection
from custom_components.evaluator.verdict import Verdict
from custom_components.selection import Selection
from pipeline import config_file, lineage
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.features_config import FeaturesConfig, Problem
from pipeline.lineage import Run

CONFIGS = FOLDER / "configs"
_ROLES = (
    *("numeric", "log", "categorical", "cyclical", "bucketized", "hashed"),
    *("target_encoded", "dates", "text", "keep"),
)


def run(name: str, data_set: DataSet) -> dict[str, Any]:
    """What came of one data set.

    Raises:
        CommandFailed: If `init` or the run failed.
    """
    file = data_set.write(FOLDER / "files", name)
    root = FOLDER / "runs" / name
    shutil.rmtree(root, ignore_errors=True)
    toml = CONFIGS / f"{name}.toml"
    words = ["--label", data_set.label, "--name", name, "--yes", "--force", "--directory", CONFIGS]
    command = [sys.executable, "-m", "pipeline", "init", file, *words]
    begun = measure(command, cwd=project.PROJECT, log=FOLDER / "logs" / f"{name}-init.log")
    log = FOLDER / "logs" / f"{name}.log"
    ran = project.run(project.PROJECT, str(toml), "--set", f"root={root}", log=log)
    config = config_file.load(toml, [f"root={root}"])
    newest = lineage.open(config).runs(1)[0]
    verdict = Verdict.model_validate_json(newest.outputs("ModelEvaluation")[0].read("verdict.json"))
    chosen = Selection.model_validate_json(newest.outputs("ModelSelection")[0].read(selection.FILE))
    frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    metric = chosen.metric
    values = {candidate.name: candidate.value for candidate in chosen.candidates}
    ours = values[chosen.winner or chosen.candidates[0].name]
    assert ours is not None
    reference = reference_of(name, data_set, config, newest, frame)
    return {
        "problem": verdict.problem.value,
        "rows": len(frame),
        "columns": frame.shape[1],
        "kinds": kinds(config.features),
        "judged_on": verdict.judged_on,
        "metric": metric.value,
        "champion": chosen.winner,
        "reason": chosen.reason,
        "candidates": values,
        "ours": ours,
        "reference": reference,
        "behind": dataset_reference.behind(metric, ours, reference),
        "init_seconds": begun.wall,
        "run_seconds": ran.wall,
    }


def kinds(features: FeaturesConfig) -> str:
    """How many columns have each role, in words."""
    counts = {role: len(getattr(features, role)) for role in _ROLES}
    return ", ".join(f"{count} {role}" for role, count in counts.items() if count)


def reference_of(
    name: str, data_set: DataSet, config: PipelineConfig, newest: Run, frame: pd.DataFrame
) -> float:
    """The tuned reference's metric on the run's split; kept, as it takes minutes."""
    parts = parts_of(newest, config, frame)
    digest = hashlib.sha256(repr(config.features.class_names).encode())
    for learn, judge in parts:
        digest.update(learn.tobytes() + b"/" + judge.tobytes())
    file = FOLDER / "references" / f"{name}-{digest.hexdigest()[:12]}.json"
    if not file.is_file():
        table = dataset_reference.prepare(frame.drop(columns=data_set.label))
        found = dataset_reference.Reference(
            table, labels(frame[data_set.label], config.features), config.features.problem
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found.evaluate(parts)))
    return float(json.loads(file.read_text()))


def labels(column: pd.Series[Any], features: FeaturesConfig) -> np.ndarray[Any, Any]:
    """The label as numbers: of the classes, or itself; -1 where it is missing."""
    if features.problem is Problem.REGRESSION:
        return column.to_numpy(float)
    numbers = {text: number for number, text in enumerate(features.class_names)}
    return column.astype(str).map(numbers).fillna(-1).to_numpy(int)


def main() -> int:
    """Runs the data sets in turn, and prints the table; 1 if one is a miss."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(DATA_SETS)}; all by default"
    )
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in DATA_SETS]
    if unknown:
        parser.error(f"no data set {unknown[0]!r}; there are {', '.join(DATA_SETS)}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    download()
    figures: dict[str, Any] = {"trials": dataset_reference.TRIALS, "sets": {}}
    for name in arguments.names or DATA_SETS:
        try:
            found = run(name, DATA_SETS[name])
        except CommandFailed as failure:
            found = {"failure": project.reason(failure)}
        except (UserError, ValueError) as failure:  # The other sets' minutes are not to be lost.
            found = {"failure": str(failure)}
        figures["sets"][name] = found
        print(f"{name}: {json.dumps(found)}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(report_datasets.datasets(figures))
    return int(bool(report_datasets.misses(figures)))


if __name__ == "__main__":
    sys.exit(main())
