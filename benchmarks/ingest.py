"""Rows per second of TabularExampleGen beside TFX's CsvExampleGen, on one CSV file, in one run.

python -m benchmarks.ingest [--rows 150000]
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import tensorflow_data_validation as tfdv
from tfx.components.example_gen import utils
from tfx.components.example_gen.csv_example_gen import executor as csv_example_gen
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from benchmarks import report
from custom_components.example_gen import IngestSettings, executor
from custom_components.example_gen.columns import table_from_schema
from pipeline.config import PROJECT
from pipeline.data_config import DataConfig
from pipeline.features_config import FeaturesConfig

FLIGHTS = PROJECT / "data" / "flights"
WARM_UP_ROWS = 2000


def write_flights(rows: int, folder: Path) -> Path:
    """The folder with a CSV file of `rows` flights, the year over again if need be."""
    year = pa.concat_tables(pq.read_table(span) for span in sorted(FLIGHTS.glob("span-*")))
    flights = pa.concat_tables([year] * (1 + rows // len(year)))[:rows]
    folder.mkdir()
    pa_csv.write_csv(flights, folder / "flights.csv", pa_csv.WriteOptions(quoting_style="needed"))
    return folder


def tabular(data: Path, out: Path) -> int:
    """Ingests by the component of this repository; returns the rows that it counted."""
    schema = tfdv.load_schema_text(str(FLIGHTS / "schema.pbtxt"))
    table = table_from_schema(schema, FeaturesConfig(label="late", numeric=("temp",)))
    settings = IngestSettings.of(DataConfig(path=str(data), split_by="date"))
    properties = {"settings": settings.model_dump_json(), "table": table.model_dump_json()}
    examples = _examples(out)
    executor.Executor().Do({}, {"examples": [examples]}, _properties(data) | properties)
    return sum(examples.get_int_custom_property(f"rows_{split}") for split in ("train", "eval"))


def reference(data: Path, out: Path) -> int:
    """Ingests by CsvExampleGen, in Beam's in-process runner; the rows are not counted."""
    # The last argument spares it building an sdist of TFX.
    beam = ["--direct_running_mode=in_memory", "--sdk_container_image=unused"]
    context = csv_example_gen.Executor.Context(beam, tmp_dir=str(out), unique_id="1")
    properties = {
        "output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
        "output_file_format": example_gen_pb2.FORMAT_TFRECORDS_GZIP,
    }
    csv_example_gen.Executor(context).Do(
        {}, {"examples": [_examples(out)]}, _properties(data) | properties
    )
    return 0


def seconds(ingest: Callable[[Path, Path], int], data: Path) -> tuple[float, float]:
    """Wall and processor seconds that `ingest` takes."""
    with tempfile.TemporaryDirectory() as out:
        wall, cpu = time.perf_counter(), time.process_time()
        ingest(data, Path(out))
        return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measures both and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=150_000, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    figures: dict[str, Any] = {"rows": arguments.rows}
    with tempfile.TemporaryDirectory() as folder:
        warm_up = write_flights(WARM_UP_ROWS, Path(folder) / "few")
        data = write_flights(arguments.rows, Path(folder) / "many")
        for name, ingest in (("TabularExampleGen", tabular), ("CsvExampleGen", reference)):
            seconds(ingest, warm_up)
            wall, cpu = seconds(ingest, data)
            figures[name] = {
                "seconds": round(wall, 2),
                "cpu_seconds": round(cpu, 2),
                "rows_per_second": round(arguments.rows / wall),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
    print(report.ingest(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def _examples(out: Path) -> standard_artifacts.Examples:
    examples = standard_artifacts.Examples()
    examples.uri = str(out)
    return examples


def _properties(data: Path) -> dict[str, Any]:
    config = utils.make_default_input_config("*.csv")
    return {
        "input_base": str(data),
        "input_config": proto_utils.proto_to_json(config),
        "output_config": proto_utils.proto_to_json(utils.make_default_output_config(config)),
    }


if __name__ == "__main__":
    main()
