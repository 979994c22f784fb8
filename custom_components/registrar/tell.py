"""Tells MLflow what a record says, each thing once, however often it is told.

What MLflow has already is found by its tags, and what a process that died left half told is made
whole: names, times and values are the record's, so telling them again changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from custom_components.evaluator import verdict as verdicts
from custom_components.registrar import tags
from custom_components.registrar.record import (
    CHALLENGER,
    CHAMPION,
    Champion,
    Outcome,
    Push,
    Record,
    Training,
)
from custom_components.registrar.tracking import Destination, answers
from custom_components.selection import FILE as SELECTION_FILE
from models import mlflow_flavor
from pipeline.files.storage import Copies

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric, Run
    from mlflow.entities.model_registry import ModelVersion

_BATCH = 1000
"""Metrics that MLflow takes at once."""


def tell(record: Record, client: MlflowClient, destination: Destination) -> Outcome:
    """Makes a run of each training, and a version of the champion.

    Raises:
        Unreachable: If MLflow does not answer, or refuses; what it has by then is taken up when it
            is told again.
        UserError: If a bundle is gone or was changed.
    """
    with answers(destination), Copies() as copies:
        experiment = _experiment(client, record.pipeline, destination)
        told = _Telling(client, experiment, record, copies)
        runs = {training.name: told.training(training) for training in record.trainings}
        version = told.champion(record.champion) if record.champion else None
    return Outcome(
        tracking_uri=destination.tracking_uri,
        experiment=experiment,
        runs=runs,
        model_name=record.model_name,
        model_version=version,
    )


def _experiment(client: MlflowClient, name: str, destination: Destination) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = f"{destination.artifacts}/{name}" if destination.artifacts else None
    return str(client.create_experiment(name, artifact_location=location))


class _Telling:
    """One record, on its way to MLflow."""

    def __init__(
        self, client: MlflowClient, experiment: str, record: Record, copies: Copies
    ) -> None:
        self._client = client
        self._experiment = experiment
        self._record = record
        self._copies = copies

    def training(self, training: Training) -> str:
        """The id of the training's run, which is whole."""
        run = self._run(training)
        run_id = str(run.info.run_id)
        if run.info.status != "FINISHED":
            self._client.log_batch(run_id, params=list(_params(training)))
            for metrics in _batches(list(_curves(training))):
                self._client.log_batch(run_id, metrics=metrics)
            if training.history and (folder := self._copies.of(training.history)).is_dir():
                self._client.log_artifacts(run_id, str(folder), "history")
            self._log_model(run, training)
            self._client.set_terminated(run_id, "FINISHED", end_time=training.ended)
        evaluation = f"evaluation.{self._record.evaluation.id}"
        if evaluation not in run.data.tags:
            self._log_evaluation(run_id, training)
            self._client.set_tag(run_id, evaluation, self._record.run)
        return run_id

    def champion(self, champion: Champion) -> str:
        """The champion's version, with the alias that it has come to."""
        training = self._record.training(champion.name)
        version = self._version(champion, training)
        name, number = version.name, str(version.version)
        live = self._client.get_registered_model(name).aliases.get(CHAMPION)
        if champion.push is not None:
            if champion.push.pushed_model >= self._last_push(name, number):
                note_push(self._client, name, number, champion.push)
            # Told late, it may have been succeeded by another.
            if live is None or champion.push.pushed_model >= self._last_push(name, live):
                move_alias(self._client, name, number)
        elif champion.refused is None and str(live) != number:
            self._client.set_registered_model_alias(name, CHALLENGER, number)
        return number

    def _last_push(self, name: str, version: str) -> int:
        """The id of the PushedModel as which a version went live last; 0 if it never did."""
        return int(self._client.get_model_version(name, version).tags.get(tags.PUSHED_MODEL, 0))

    def _run(self, training: Training) -> Run:
        found = self._client.search_runs([self._experiment], _is(training.digest), max_results=1)
        if found:
            return found[0]
        return self._client.create_run(
            self._experiment,
            start_time=training.started,
            tags=tags.of_run(self._record, training),
            run_name=f"{training.name} {training.provenance.run or self._record.run}",
        )

    def _log_model(self, run: Run, training: Training) -> None:
        from mlflow.entities import LoggedModelOutput

        model = self._model(training) or self._client.create_logged_model(
            self._experiment,
            name=training.name,
            source_run_id=run.info.run_id,
            tags=tags.of_training(self._record, training),
            params=training.parameters,
        )
        if model.status != "READY":
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / "model"
                mlflow_flavor.save(
                    self._copies.of(training.bundle),
                    folder,
                    model_id=model.model_id,
                    run_id=run.info.run_id,
                )
                self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.finalize_logged_model(model.model_id, "READY")
        outputs = run.outputs.model_outputs if run.outputs else []
        if all(output.model_id != model.model_id for output in outputs):
            self._client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _model(self, training: Training) -> LoggedModel | None:
        found = self._client.search_logged_models([self._experiment], _is(training.digest))
        return found[0] if found else None

    def _log_evaluation(self, run_id: str, training: Training) -> None:
        self._client.log_batch(run_id, metrics=list(_metrics(training, self._record.recorded)))
        below = f"evaluation/{self._record.evaluation.id}"
        folder = self._copies.of(self._record.evaluation.uri)
        selection = self._copies.of(self._record.selection.uri) / SELECTION_FILE
        for file in (folder / verdicts.FILE, *folder.glob("*.html"), selection):
            if file.is_file():
                self._client.log_artifact(run_id, str(file), below)

    def _version(self, champion: Champion, training: Training) -> ModelVersion:
        name = self._record.model_name
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        found = self._client.search_model_versions(f"name = '{name}' and {_is(training.digest)}")
        if found:
            return found[0]
        model, run = self._model(training), self._run(training)
        assert model is not None
        return self._client.create_model_version(
            name,
            source=f"models:/{model.model_id}",
            run_id=run.info.run_id,
            tags=tags.of_version(self._record, champion),
            description=self._record.reason,
            model_id=model.model_id,
        )


def note_push(client: MlflowClient, name: str, version: str, push: Push) -> None:
    """Says of a version where it is live."""
    for key, value in tags.of_push(push).items():
        client.set_model_version_tag(name, version, key, value)


def move_alias(client: MlflowClient, name: str, version: str) -> None:
    """Makes a version the champion; it is no challenger then."""
    client.set_registered_model_alias(name, CHAMPION, version)
    if str(client.get_registered_model(name).aliases.get(CHALLENGER)) == version:
        client.delete_registered_model_alias(name, CHALLENGER)


def _is(digest: str) -> str:
    return f"tags.`{tags.DIGEST}` = '{digest}'"


def _params(training: Training) -> Iterator[object]:
    from mlflow.entities import Param

    for name, value in training.parameters.items():
        yield Param(name, value)


def _curves(training: Training) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for name, losses in training.curves.items():
        for step, loss in enumerate(losses, start=1):
            yield Metric(name, loss, training.ended, step)


def _metrics(training: Training, timestamp: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for name, value in training.metrics.items():
        yield Metric(name, value, timestamp, 0)


def _batches(metrics: list[Metric]) -> Iterable[list[Metric]]:
    return (metrics[start : start + _BATCH] for start in range(0, len(metrics), _BATCH))
