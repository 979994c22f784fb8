"""Seconds of this project's executors beside those of TFX's own, on the same flights, in turn.

python -m benchmarks.components [--rows 15000 150000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from google.protobuf import json_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_model_analysis.proto import config_pb2
from tfx.components.evaluator import executor as tfx_evaluator
from tfx.components.example_gen import utils
from tfx.components.statistics_gen import executor as tfx_statistics_gen
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.transform import executor as tfx_transform
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils, proto_utils

from benchmarks import report
from benchmarks.ingest import FLIGHTS, WARM_UP_ROWS, write_flights
from custom_components import statistics_gen
from custom_components.evaluator import executor as evaluator
from custom_components.evaluator import tfma_files
from custom_components.evaluator.candidates import load as load_bundle
from custom_components.example_gen import IngestSettings
from custom_components.example_gen import executor as example_gen
from custom_components.example_gen.columns import load_table
from custom_components.transform import executor as transform_executor
from models import keras_model
from models.bundle import PROBABILITY
from pipeline import config_file
from pipeline.config import PipelineConfig

CANDIDATE = "keras"
# The last argument spares Beam building an sdist of TFX.
_BEAM_ARGS = ["--direct_running_mode=in_memory", "--sdk_container_image=unused"]
_SPLITS = ["train", "eval"]

Examples = standard_artifacts.Examples
Work = Callable[[Examples, Path], object]
"""Runs a component on examples; what it writes goes into the folder."""


@dataclass(frozen=True)
class Pair:
    """A component as TFX has it and as this project has it, doing the same."""

    component: str
    tfx: Work
    ours: Work

    def measure(self, examples: Examples, rounds: int) -> dict[str, dict[str, float]]:
        """The least wall and processor seconds of each, having run `rounds` times in turn."""
        costs: dict[str, list[tuple[float, float]]] = {"tfx": [], "ours": []}
        for _ in range(rounds):
            costs["tfx"].append(seconds(self.tfx, examples))
            costs["ours"].append(seconds(self.ours, examples))
        return {
            side: {"wall": round(min(wall), 3), "cpu": round(min(cpu), 3)}
            for side, (wall, cpu) in ((s, zip(*c, strict=True)) for s, c in costs.items())
        }


def seconds(work: Work, examples: Examples) -> tuple[float, float]:
    """Wall and processor seconds that `work` takes."""
    with tempfile.TemporaryDirectory() as out:
        wall, cpu = time.perf_counter(), time.process_time()
        work(examples, Path(out))
        return time.perf_counter() - wall, time.process_time() - cpu


def ingest(data: Path, pattern: str, config: PipelineConfig, out: Path) -> Examples:
    """Ingests the files in `data` as `config` says, by this project's ExampleGen."""
    table = load_table(config.data.schema_file, config.features, split_time=config.data.split_time)
    inputs = utils.make_default_input_config(pattern)
    examples = examples_in(out)
    properties = {
        "input_base": str(data),
        "input_config": proto_utils.proto_to_json(inputs),
        "settings": IngestSettings.of(config.data).model_dump_json(),
        "table": table.model_dump_json(),
    }
    example_gen.Executor().Do({}, {"examples": [examples]}, properties)
    return examples


def examples_in(folder: Path) -> Examples:
    """The artifact of gzipped tf.Examples, in two splits, in `folder`."""
    examples = Examples()
    examples.uri = str(folder)
    examples.split_names = artifact_utils.encode_split_names(_SPLITS)
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    return examples


def transform(
    executor: Any,
    examples: Examples,
    schema: schema_pb2.Schema,
    out: Path,
    *,
    preprocessing_fn: str = "models.preprocessing.preprocessing_fn",
    config: PipelineConfig | None = None,
) -> tuple[standard_artifacts.TransformGraph, Examples]:
    """Transforms `examples` by the Executor of the module `executor`, without statistics."""
    given = artifact(standard_artifacts.Schema, out / "schema")
    tfdv.write_schema_text(schema, str(out / "schema" / "schema.pbtxt"))
    graph = artifact(standard_artifacts.TransformGraph, out / "graph")
    transformed = examples_in(out / "transformed")
    properties = {"preprocessing_fn": preprocessing_fn, "disable_statistics": 1}
    if config:
        features = config.features.model_dump_json()
        custom = {"features": features, "split_by": config.data.split_by}
        properties["custom_config"] = json.dumps(custom)
    start(executor, out).Do(
        {"examples": [examples], "schema": [given]},
        {"transform_graph": [graph], "transformed_examples": [transformed]},
        properties,
    )
    return graph, transformed


def statistics_gens() -> Pair:
    """StatisticsGen of both."""

    def by(executor: Any) -> Work:
        def work(examples: Examples, out: Path) -> None:
            statistics = artifact(standard_artifacts.ExampleStatistics, out / "statistics")
            start(executor, out).Do(
                {"examples": [examples]}, {"statistics": [statistics]}, {"exclude_splits": "[]"}
            )

        return work

    return Pair("StatisticsGen", by(tfx_statistics_gen), by(statistics_gen))


def transforms(config: PipelineConfig) -> Pair:
    """Transform of both."""
    schema = tfdv.load_schema_text(str(FLIGHTS / "schema.pbtxt"))

    def by(executor: Any) -> Work:
        return lambda examples, out: transform(executor, examples, schema, out, config=config)

    return Pair("Transform", by(tfx_transform), by(transform_executor))


def evaluators(config: PipelineConfig, model: standard_artifacts.Model, folder: Path) -> Pair:
    """Evaluator of both, for one model, with the same metrics and slices."""
    saved = {CANDIDATE: path_utils.serving_model_path(model.uri)}
    folder.mkdir()
    tfma_files.write_config(
        str(folder), config.evaluate, label=config.features.label, models=saved, data=""
    )
    run = config_pb2.EvalRun()
    json_format.Parse((folder / "eval_config.json").read_text(), run)
    (spec,) = run.eval_config.model_specs
    spec.model_type, spec.prediction_key = "tf_generic", PROBABILITY
    for_tfx = {"eval_config": proto_utils.proto_to_json(run.eval_config)}
    for_ours = {
        "evaluate": config.evaluate.model_dump_json(),
        "label": config.features.label,
        "canary_rows": config.canary.rows,
        "ensemble": config.select.ensemble,
        "group_by": config.data.split_by or "",
    }

    def by(executor: Any, properties: dict[str, Any]) -> Work:
        def work(examples: Examples, out: Path) -> None:
            load_bundle.cache_clear()  # a node loads its models, each time it runs
            outputs = {
                "evaluation": [artifact(standard_artifacts.ModelEvaluation, out / "evaluation")],
                "blessing": [artifact(standard_artifacts.ModelBlessing, out / "blessing")],
            }
            start(executor, out).Do(
                {"examples": [examples], "model": [model]}, outputs, dict(properties)
            )

        return work

    return Pair("Evaluator", by(tfx_evaluator, for_tfx), by(evaluator, for_ours))


def train(config: PipelineConfig, examples: Examples, out: Path) -> standard_artifacts.Model:
    """One network, trained for one epoch: there is something to evaluate."""
    hyper = config.train.keras.model_copy(update={"epochs": 1, "members": 1})
    schema = tfdv.load_schema_text(str(FLIGHTS / "schema.pbtxt"))
    graph, transformed = transform(transform_executor, examples, schema, out, config=config)
    model = artifact(standard_artifacts.Model, out / "model")
    keras_model.run_fn(
        FnArgs(
            train_files=[f"{artifact_utils.get_split_uri([transformed], 'train')}/*"],
            transform_graph_path=graph.uri,
            serving_model_dir=path_utils.serving_model_dir(model.uri),
            model_run_dir=str(out / "run"),
            custom_config={
                "features": config.features.model_dump_json(),
                "train": config.train.model_copy(update={"keras": hyper}).model_dump_json(),
                "memory_budget": config.data.memory_budget,
            },
        )
    )
    return model


def compare(sizes: Sequence[int], rounds: int) -> Iterator[dict[str, Any]]:
    """Measures every component on each number of rows; Evaluator on the smallest alone."""
    config = config_file.load()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def flights(rows: int) -> Examples:
            data = write_flights(rows, folder / f"flights-{rows}")
            return ingest(data, "*.csv", config, folder / f"examples-{rows}")

        few = flights(WARM_UP_ROWS)
        examples = {rows: flights(rows) for rows in sorted(sizes)}
        smallest = min(examples)

        def measured(pair: Pair, among: Sequence[int]) -> Iterator[dict[str, Any]]:
            pair.measure(few, 1)
            for rows in among:
                costs = pair.measure(examples[rows], rounds)
                print(f"{pair.component} {rows} {costs}", file=sys.stderr)
                yield {"component": pair.component, "rows": rows, **costs}

        yield from measured(statistics_gens(), list(examples))
        yield from measured(transforms(config), list(examples))
        # Last, as training makes TensorFlow deterministic from then on.
        (folder / "train").mkdir()
        model = train(config, examples[smallest], folder / "train")
        yield from measured(evaluators(config, model, folder / "evaluators"), [smallest])


def main() -> None:
    """Measures all and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[15_000, 150_000])
    parser.add_argument("--rounds", type=int, default=3, help="of each side; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    measured = list(compare(arguments.rows, arguments.rounds))
    figures = {"rounds": arguments.rounds, "warm_up_rows": WARM_UP_ROWS, "measured": measured}
    print(report.components(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def artifact(kind: Any, folder: Path) -> Any:
    """An artifact of that class in `folder`, which is made."""
    made = kind()
    made.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return made


def start(executor: Any, out: Path) -> Any:
    """The Executor of a module, with Beam's runner in memory."""
    context = executor.Executor.Context(list(_BEAM_ARGS), tmp_dir=str(out / "tmp"), unique_id="1")
    return executor.Executor(context)


if __name__ == "__main__":
    main()
