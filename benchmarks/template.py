"""TFX's taxi template as a project of its own, and what its runs leave to be read."""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import measure

NAME = "taxi"
ENVIRONMENT = {"NO_GCE_CHECK": "true"}
"""Spares the template, which asks for Google credentials when its configuration is imported, the
wait for a metadata server that only machines of Google's cloud have."""

_OWN_PACKAGES = "tfx.experimental.templates.taxi."
_STAGE = re.compile(r"^( *)# (components\.append\()", re.MULTILINE)
_TRAIN_STEPS = re.compile(r"^TRAIN_NUM_STEPS = \d+$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PROGRESS = re.compile(r"(\d+)/(\d+) \S+ \S+ (\d+)(s|ms|us)/step")
_READ_ACCURACY = """
import sys
import tensorflow_model_analysis as tfma
found = tfma.load_eval_result(sys.argv[1]).get_metrics_for_all_slices()[()]
print("accuracy=" + str(found["binary_accuracy"]["doubleValue"]))
"""
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def tfx_folder() -> Path:
    """Where TFX is installed."""
    spec = importlib.util.find_spec("tfx")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("TFX is not installed here: `make setup` does it")
    return Path(spec.submodule_search_locations[0])


def copy(folder: Path, *, data: Path, cache: bool = False) -> Path:
    """Makes the template a project in `folder` that runs on the CSV file `data`; gives `folder`.

    All its stages are switched on, its own name and packages are put in, and the cache is switched
    on if asked for. Else it is as shipped: without a schema given, ExampleValidator stays off.
    """
    shutil.rmtree(folder, ignore_errors=True)
    unused = shutil.ignore_patterns("__pycache__", "e2e_tests", "kubeflow_v2_runner.py")
    shutil.copytree(tfx_folder() / "experimental" / "templates" / "taxi", folder, ignore=unused)
    for file in folder.rglob("*.py"):
        text = file.read_text().replace(_OWN_PACKAGES, "")
        file.write_text(text.replace("{{PIPELINE_NAME}}", NAME))
    definition = folder / "pipeline" / "pipeline.py"
    text = _STAGE.sub(r"\1\2", definition.read_text())
    definition.write_text(text.replace("# enable_cache=True,", "enable_cache=True,", int(cache)))
    (folder / "data").mkdir()
    shutil.copy(data, folder / "data" / "data.csv")
    return folder


def set_train_steps(folder: Path, steps: int) -> None:
    """Changes the one setting that makes a cached run train again."""
    file = folder / "pipeline" / "configs.py"
    text, changed = _TRAIN_STEPS.subn(f"TRAIN_NUM_STEPS = {steps}", file.read_text())
    if changed != 1:
        raise RuntimeError(f"{file}: no line TRAIN_NUM_STEPS = … to change")
    file.write_text(text)


def forget(folder: Path) -> None:
    """Removes all that runs have made in `folder`."""
    for made in ("tfx_pipeline_output", "tfx_metadata"):
        shutil.rmtree(folder / made, ignore_errors=True)


def pushed(folder: Path) -> int:
    """How many models the template's Pusher put into its serving folder."""
    return sum(1 for _ in (folder / "tfx_pipeline_output" / NAME / "serving_model").glob("*"))


def components(folder: Path) -> dict[str, float]:
    """Seconds of each component's newest execution, oldest first, by ML Metadata.

    They count from when the driver registered the execution to when its outputs were published.
    """
    query = """
        SELECT Context.name, Execution.create_time_since_epoch,
               Execution.last_update_time_since_epoch
        FROM Execution
        JOIN Association ON Association.execution_id = Execution.id
        JOIN Context ON Context.id = Association.context_id
        JOIN Type ON Type.id = Context.type_id
        WHERE Type.name = 'node' ORDER BY Execution.id"""
    store = sqlite3.connect(folder / "tfx_metadata" / NAME / "metadata.db")
    try:
        rows = store.execute(query).fetchall()
    finally:
        store.close()
    return {
        name.removeprefix(f"{NAME}."): round((end - start) / 1000, 2) for name, start, end in rows
    }


def steps_per_second(log: Path) -> float | None:
    """What Keras printed at the end of the training, in whole milliseconds a step.

    The steps of the validation that follows are in the time, but not counted.
    """
    text = _COLOUR.sub("", log.read_text(errors="replace"))
    for done, total, number, unit in _PROGRESS.findall(text):
        if done == total:
            return round(1 / max(float(number) * _SECONDS[unit], 1e-6))
    return None


def accuracy(folder: Path, *, log: Path) -> float:
    """What the template's Evaluator found for its newest model on all rows of the eval split.

    Reading it takes TensorFlow, so that it is done by a process of its own, which writes `log`.
    """
    found = (folder / "tfx_pipeline_output" / NAME / "Evaluator" / "evaluation").glob("*")
    newest = max(found, key=lambda path: int(path.name))
    measure([sys.executable, "-c", _READ_ACCURACY, newest], log=log)
    (value,) = re.findall(r"^accuracy=(.+)$", log.read_text(errors="replace"), re.MULTILINE)
    return float(value)


def write_data(file: Path) -> int:
    """Writes the taxi rows that TFX ships, with the label as a column; gives the number of rows."""
    source = tfx_folder() / "examples" / "chicago_taxi_pipeline" / "data" / "simple" / "data.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    with source.open(newline="") as given, file.open("w", newline="") as written:
        rows = csv.DictReader(given)
        fields = [*(rows.fieldnames or ()), "big_tipper"]
        out = csv.DictWriter(written, fields, lineterminator="\n")
        out.writeheader()
        count = 0
        for row in rows:
            out.writerow({**row, "big_tipper": big_tipper(row["tips"], row["fare"])})
            count += 1
    return count


def big_tipper(tips: str, fare: str) -> int:
    """1 if the tip was above a fifth of the fare, as the template's preprocessing computes it.

    That is in 32-bit floats, with 0 for what is missing.
    """
    return int(np.float32(tips or 0) > np.float32(fare or 0) * np.float32(0.2))
