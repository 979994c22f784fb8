"""Takes the best of a few trainings and registers it with MLflow: how the train-only package ends.

All were judged by the same rows, and say so in what `models.train` writes. Imports no TFX.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from custom_components.registrar import tracking
from custom_components.registrar.record import Champion, Record, Source, Training
from custom_components.registrar.tell import tell
from custom_components.registrar.tracking import Destination, Unreachable
from models import history, manifest
from models.history import History
from models.manifest import Manifest
from models.train import METRICS_FILE
from pipeline import provenance
from pipeline.cluster import packed, secrets
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric

FILE = "comparison.json"
"""The comparison's name in its folder."""
NOT_IN_STORE = 0
"""In place of an artifact's id: nothing of this is in the metadata store."""


@dataclass(frozen=True)
class Candidate:
    """A training, as `models.train` leaves it.

    Attributes:
      bundle: the folder of the model.
      run: the folder of its history and metrics.
      uri: where others find the bundle.
      made: the bundle's manifest.
      metrics: what the model said of the eval data.
    """

    bundle: Path
    run: Path
    uri: str
    made: Manifest
    metrics: dict[str, float]

    @classmethod
    def read(cls, bundle: str, run: str, uri: str) -> Self:
        """The training in these folders.

        Raises:
          UserError: one of them holds something else.
        """
        try:
            metrics = json.loads((Path(run) / METRICS_FILE).read_text())
        except (OSError, ValueError):
            raise UserError(f"{run} holds no {METRICS_FILE}, as models.train writes it") from None
        return cls(Path(bundle), Path(run), uri, manifest.read(Path(bundle)), metrics)

    @property
    def name(self) -> str:
        """What it was made with."""
        return self.made.framework


def main(argv: Sequence[str] | None = None) -> int:
    """Compares what the command line names; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.tasks.compare", description=__doc__)
    add = parser.add_argument
    add("--config-gzip", required=True, metavar="TEXT", help="configuration, packed")
    add("--run-id", required=True, help="run that the task belongs to")
    add(
        "--candidate",
        required=True,
        action="append",
        nargs=3,
        metavar=("DIR", "RUN_DIR", "URI"),
        help="what models.train wrote to --model-dir and to --model-run-dir, and the model's URI",
    )
    add("--champion-dir", required=True, type=Path, metavar="DIR", help="where the best one goes")
    add("--comparison-dir", required=True, type=Path, metavar="DIR", help="where the table goes")
    arguments = parser.parse_args(argv)
    try:
        secrets.load()
        run(arguments)
    except UserError as error:
        print(f"pipeline.tasks.compare: {error}", file=sys.stderr)
        return 2
    except Unreachable as error:
        print(f"pipeline.tasks.compare: not registered: {error}", file=sys.stderr)
        return 1
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Writes the comparison and a copy of the best model, and tells MLflow of all trainings.

    Raises:
      UserError: a training is not as it should be, or they were judged by different rows.
      Unreachable: MLflow does not answer; all else is written.
    """
    text = packed.unpack_text(arguments.config_gzip)
    config = PipelineConfig.model_validate_json(text)
    candidates = [Candidate.read(*folders) for folders in arguments.candidate]
    ranked = rank(candidates, config.select.metric)
    best = ranked[0]
    for candidate in ranked:
        print(f"{candidate.name}: {_score(candidate, config)}")
    reason = f"{best.name} is best: {_score(best, config)}"
    print(reason)

    arguments.comparison_dir.mkdir(parents=True, exist_ok=True)
    table = {"metric": config.select.metric, "champion": best.name, "reason": reason}
    metrics = {candidate.name: candidate.metrics for candidate in ranked}
    whole = json.dumps({**table, "candidates": metrics}, indent=2)
    (arguments.comparison_dir / FILE).write_text(whole + "\n")
    manifest.verify(best.bundle, best.made)
    shutil.copytree(best.bundle, arguments.champion_dir, dirs_exist_ok=True)
    if config.registration.enabled:
        _register(ranked, config, reason, run_id=arguments.run_id, table=arguments.comparison_dir)


def rank(candidates: Sequence[Candidate], metric: Metric) -> list[Candidate]:
    """The candidates, the best first; of equals, in the order of their names.

    Raises:
      UserError: they were judged by different rows.
    """
    rows = {candidate.name: candidate.metrics["rows"] for candidate in candidates}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} by {count}" for name, count in rows.items())
        raise UserError(f"the models were judged by different rows ({counts}); train them anew")
    return sorted(candidates, key=lambda c: (-metric.goodness(c.metrics[metric]), c.name))


def _score(candidate: Candidate, config: PipelineConfig) -> str:
    metric = config.select.metric
    return f"{metric} {metric.words(candidate.metrics[metric])}"


def _register(
    ranked: Sequence[Candidate], config: PipelineConfig, reason: str, *, run_id: str, table: Path
) -> None:
    """Makes a run of MLflow of each training, and the best one a version.

    Of a registered model of its own, NAME-train-only: these were judged apart from the live model,
    and what `python -m pipeline registry` makes live is known to the metadata store.
    """
    destination = Destination.of(config)
    client = tracking.client(destination)
    commit, clean = provenance.commit_and_clean()
    best = ranked[0]
    found = Source(id=NOT_IN_STORE, uri=str(table))
    told = Record(
        pipeline=config.name,
        model_name=f"{config.model_name}-train-only",
        run=run_id,
        execution=NOT_IN_STORE,
        commit=commit,
        clean=clean,
        note="",
        schema_digest="",
        evaluation=found,
        selection=found,
        metric=config.select.metric,
        reason=reason,
        trainings=tuple(_training(candidate) for candidate in ranked),
        champion=Champion(name=best.name, model=Source(id=NOT_IN_STORE, uri=best.uri)),
        recorded=_now(),
    )
    outcome = tell(told, client, destination)
    print(f"registered: {outcome.model_name} version {outcome.model_version}")


def _training(candidate: Candidate) -> Training:
    made, told = candidate.made, history.read(candidate.run)
    ended = _now()
    return Training(
        name=candidate.name,
        bundle=str(candidate.bundle),
        digest=made.digest,
        model=Source(id=NOT_IN_STORE, uri=candidate.uri),
        parameters=_parameters(candidate.run, told),
        metrics={**candidate.metrics, "train_seconds": told.seconds},
        curves={"training.learned": told.training.learned},
        history=str(candidate.run),
        provenance=made.provenance,
        started=ended - round(told.seconds * 1000),
        ended=ended,
    )


def _parameters(run: Path, told: History) -> dict[str, str]:
    used = json.loads((run / history.PARAMETERS_FILE).read_text()) | {f"{told.step}s": told.steps}
    return {name: str(value) for name, value in used.items() if value is not None}


def _now() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(main())
