"""Processor seconds of Transform, with what the run of the month before learned and without.

python -m benchmarks.analyzer_cache [--windows 1 3 6 12] [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from tfx.types import standard_artifacts

from benchmarks import components, report
from benchmarks.ingest import FLIGHTS
from custom_components.transform.executor import Executor
from custom_components.transform.graph import Preprocessing
from pipeline import config_file
from pipeline.config import PipelineConfig

MONTHS = 12


@dataclass
class Node:
    """Transform, as the pipeline of the flights has it."""

    config: PipelineConfig
    spans: Sequence[components.Examples]
    """From the first month on."""
    analysis: list[float] = field(default_factory=list)
    """Processor seconds of each analysis, the graph's writing included."""

    def run(
        self,
        newest: int,
        window: int,
        out: Path,
        analyzed: Sequence[standard_artifacts.TransformCache] = (),
    ) -> standard_artifacts.TransformCache:
        """Transforms the `window` spans up to month `newest`; gives what was learned from each."""
        custom = {
            "features": self.config.features.model_dump_json(),
            "split_by": self.config.data.split_by,
        }
        schema = components.artifact(standard_artifacts.Schema, out / "schema")
        Path(schema.uri, "schema.pbtxt").write_text((FLIGHTS / "schema.pbtxt").read_text())
        kinds = {
            "transform_graph": standard_artifacts.TransformGraph,
            "updated_analyzer_cache": standard_artifacts.TransformCache,
        }
        outputs = {key: [components.artifact(kind, out / key)] for key, kind in kinds.items()}
        outputs["transformed_examples"] = [components.examples_in(out / "transformed")]
        examples = list(self.spans[max(newest - window, 0) : newest])
        write = Preprocessing.write

        def timed(*given: Any) -> Any:
            begin = time.process_time()
            learned = write(*given)
            self.analysis.append(time.process_time() - begin)
            return learned

        with mock.patch.object(Preprocessing, "write", timed):
            components.start(sys.modules[Executor.__module__], out).Do(
                {"examples": examples, "schema": [schema], "analyzer_cache": list(analyzed)},
                outputs,
                {
                    "preprocessing_fn": "models.preprocessing.preprocessing_fn",
                    "custom_config": json.dumps(custom),
                    "disable_statistics": 1,
                    "code_digest": "of this process",
                },
            )
        return outputs["updated_analyzer_cache"][0]


def compare(windows: Sequence[int], rounds: int) -> Iterator[dict[str, Any]]:
    """For each window the least processor seconds of both, in turn."""
    config = config_file.load()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        spans = []
        for month in range(1, MONTHS + 1):
            examples = components.ingest(
                FLIGHTS, f"span-{month:02}/*.parquet", config, folder / f"examples-{month}"
            )
            examples.set_int_custom_property("span", month)
            spans.append(examples)
        node = Node(config, spans)
        node.run(1, 1, folder / "warm-up")
        for window in windows:
            before = node.run(MONTHS - 1, window, folder / f"before-{window}")
            given = {"without": [], "with": [before]}
            costs: dict[str, list[dict[str, float]]] = {side: [] for side in given}
            for number in range(rounds):
                for side, analyzed in given.items():
                    out = folder / f"{side}-{window}-{number}"
                    begin = time.process_time()
                    node.run(MONTHS, window, out, analyzed)
                    taken = {"node": time.process_time() - begin, "analysis": node.analysis[-1]}
                    costs[side].append(taken)
            least = {
                side: {key: round(min(c[key] for c in of), 3) for key in ("analysis", "node")}
                for side, of in costs.items()
            }
            print(f"window {window}: {least}", file=sys.stderr)
            yield {"window": window, **least}


def main() -> None:
    """Measures all and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 3, 6, 12], help="in months")
    parser.add_argument("--rounds", type=int, default=2, help="of each side; the least counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    measured = list(compare(arguments.windows, arguments.rounds))
    figures = {"rounds": arguments.rounds, "measured": measured}
    print(report.analyzer_cache(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
