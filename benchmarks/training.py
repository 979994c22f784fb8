"""Training steps per second of TFX's taxi template and of this project, on the same taxi rows.

python -m benchmarks.training [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.trainer.fn_args_utils import get_common_fn_args
from tfx.experimental.templates.taxi.models.keras_model import constants
from tfx.experimental.templates.taxi.models.keras_model import model as template_model
from tfx.types import artifact_utils

from benchmarks import ingest as csv_ingest
from benchmarks import report
from benchmarks.components import Examples, examples_in, ingest, transform
from benchmarks.taxi import CONFIG, DATA, make_data
from custom_components.statistics_gen import compute
from custom_components.transform import executor as transform_executor
from models import keras_model
from models.dataset import read
from models.features import ModelInputs
from pipeline import config_file
from pipeline.config import PROJECT

STEPS = 1000
_TEMPLATE_PREPROCESSING = "tfx.experimental.templates.taxi.models.preprocessing.preprocessing_fn"


class Side(Protocol):
    """One of the two: a compiled model and the batches that it learns from."""

    def fit(self) -> int:
        """Trains on; gives how many steps that were: STEPS, or what is nearest to it."""

    def draw(self) -> int:
        """Draws batches as `fit` does, without a model; gives how many they were."""


class Template:
    """TFX's taxi template: `run_fn` of its Keras model, up to the fit."""

    def __init__(self, folder: Path) -> None:
        """Ingests by CsvExampleGen, for the types of columns that the template expects."""
        out = folder / "template"
        raw = examples_in(out / "examples")
        csv_ingest.reference((PROJECT / DATA).parent, Path(raw.uri))
        graph, transformed = transform(
            transform_executor,
            raw,
            _inferred_schema(raw),
            out,
            preprocessing_fn=_TEMPLATE_PREPROCESSING,
        )
        arguments = get_common_fn_args(
            {"examples": [transformed], "transform_graph": [graph]},
            {"train_args": "{}", "eval_args": "{}"},
        )
        self._dataset = template_model._input_fn(
            arguments.train_files,
            arguments.data_accessor,
            tft.TFTransformOutput(graph.uri),
            constants.TRAIN_BATCH_SIZE,
        )
        with tf.distribute.MirroredStrategy().scope():
            self._model = template_model._build_keras_model(
                hidden_units=constants.HIDDEN_UNITS, learning_rate=constants.LEARNING_RATE
            )

    def fit(self) -> int:
        """Trains for STEPS."""
        self._model.fit(self._dataset, steps_per_epoch=STEPS, verbose=0)
        return STEPS

    def draw(self) -> int:
        """Draws STEPS batches."""
        return _count(self._dataset.take(STEPS))


class Ours:
    """This project: `train` of its Keras model, up to the fit."""

    def __init__(self, folder: Path) -> None:
        """Ingests and transforms by this project's components."""
        out = folder / "ours"
        config = config_file.load(PROJECT / CONFIG)
        settings = config.train
        raw = ingest((PROJECT / DATA).parent, "*.csv", config, out / "examples")
        graph, transformed = transform(
            transform_executor, raw, _inferred_schema(raw), out, config=config
        )
        output = tft.TFTransformOutput(graph.uri)
        inputs = ModelInputs.of(
            config.features, output.transformed_feature_spec(), output.vocabulary_size_by_name
        )
        self._rows = read([f"{_train_folder(transformed)}/*"], inputs)
        self._seed = settings.seed
        self._batch_size = settings.keras.batch_size
        # As `train` does; it makes tf.data's own work deterministic too.
        keras.utils.set_random_seed(settings.seed)
        tf.config.experimental.enable_op_determinism()
        self._model = keras_model.build_members(1, self._rows, inputs.sizes, settings.keras)
        self._epoch = math.ceil(len(self._rows) / self._batch_size)
        self._epochs = round(STEPS / self._epoch)

    def fit(self) -> int:
        """Goes through all rows as often as makes about STEPS."""
        self._model.fit(self._batches(), epochs=self._epochs, shuffle=False, verbose=0)
        return self._epochs * self._epoch

    def draw(self) -> int:
        """Draws the same number of batches, through all rows as often."""
        return _count(self._batches().repeat(self._epochs))

    def _batches(self) -> tf.data.Dataset:
        everything = np.arange(len(self._rows))
        return keras_model.batches(self._rows, everything, self._batch_size, seed=self._seed)


SIDES: dict[str, type[Template | Ours]] = {"template": Template, "ours": Ours}

_side: Side
"""The one that this process is for."""


def prepare(name: str, folder: Path) -> None:
    """Makes this process the one of a side, and trains it once, so that all is traced."""
    global _side
    logging.disable(logging.WARNING)
    _side = SIDES[name](folder)
    _side.fit()


def timed(method: str) -> tuple[int, float]:
    """What `fit` or `draw` of this process's side gives, and its seconds."""
    start = time.perf_counter()
    count: int = getattr(_side, method)()
    return count, time.perf_counter() - start


def compare(rounds: int) -> dict[str, Any]:
    """Measures both, each in a process of its own: what one sets up does not slow the other."""
    make_data()
    figures: dict[str, Any] = {
        "rounds": rounds,
        "batch_size": constants.TRAIN_BATCH_SIZE,
        "steps_per_execution": keras_model._STEPS_PER_EXECUTION,
    }
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pools = {
            name: ProcessPoolExecutor(1, spawn, prepare, (name, Path(folder))) for name in SIDES
        }
        for pool in pools.values():
            pool.submit(int).result()  # one after the other: prepared
        for method, count, seconds in (
            ("fit", "steps", "seconds"),
            ("draw", "drawn", "draw_seconds"),
        ):
            for _ in range(rounds):
                for name, pool in pools.items():
                    done, took = pool.submit(timed, method).result()
                    print(f"{method} {name:9} {done} in {took:.2f} s", file=sys.stderr)
                    side = figures.setdefault(name, {})
                    side[count] = done
                    side[seconds] = min(round(took, 3), side.get(seconds, math.inf))
        for pool in pools.values():
            pool.shutdown()
    return figures


def main() -> None:
    """Measures both and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each side; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    figures = compare(arguments.rounds)
    print(report.training(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def _inferred_schema(examples: Examples) -> schema_pb2.Schema:
    """What SchemaGen makes of them."""
    files = sorted(str(file) for file in Path(examples.uri).glob("Split-*/*"))
    return tfdv.infer_schema(compute(files), infer_feature_shape=True)


def _train_folder(examples: Examples) -> str:
    return artifact_utils.get_split_uri([examples], "train")


def _count(batches: tf.data.Dataset) -> int:
    """Draws all batches, without going through Python for each."""
    return int(batches.reduce(np.int64(0), lambda count, _: count + 1))


if __name__ == "__main__":
    main()
