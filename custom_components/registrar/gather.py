"""Writes down what there is to tell MLflow, from the artifacts that a run has put out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import io_utils, path_utils

from custom_components.canary import report as canary_report
from custom_components.evaluator import verdict as verdicts
from custom_components.evaluator.verdict import Verdict
from custom_components.registrar.record import Champion, Push, Record, Source, Training
from custom_components.selection import FILE as SELECTION_FILE
from custom_components.selection import Selection
from models import history, manifest
from models.history import History
from models.manifest import Manifest
from pipeline.features_config import Problem
from pipeline.provenance import Provenance
from pipeline.train_config import Framework, TrainConfig

_HELD_OUT = {
    Problem.BINARY: "held_out_log_loss",
    Problem.MULTICLASS: "held_out_log_loss",
    Problem.REGRESSION: "held_out_squared_error",
}
"""What a bundle's `held_out_loss` is, as MLflow is told of it."""
_SETTINGS = ("seed", "class_weight", "validation_share")

Artifacts = Mapping[str, Sequence[Artifact]]


def gather(
    inputs: Artifacts, *, provenance: Provenance, train: TrainConfig, model_name: str
) -> Record:
    """The record of a run.

    Args:
        inputs: What `component.RegistrarSpec` takes, by its names.
        provenance: The Registrar's own.
        train: The settings of the trainings.
        model_name: Under which the champion is to be registered.

    Raises:
        UserError: If a bundle is damaged.
    """
    evaluation, selection, schema = (
        artifact_utils.get_single_instance(list(inputs[key]))
        for key in ("evaluation", "selection", "schema")
    )
    verdict = Verdict.model_validate_json((Path(evaluation.uri) / verdicts.FILE).read_bytes())
    chosen = Selection.model_validate_json((Path(selection.uri) / SELECTION_FILE).read_bytes())
    trainings = _trainings(inputs, verdict, train)
    if chosen.winner is not None and chosen.winner not in {t.name for t in trainings}:
        trainings.append(_ensemble(inputs["model"][0], verdict))
    return Record(
        pipeline=provenance.pipeline or model_name,
        model_name=model_name,
        run=provenance.run or "",
        execution=provenance.execution or 0,
        commit=provenance.commit,
        clean=provenance.clean,
        note=provenance.note,
        schema_digest=_schema_digest(schema),
        evaluation=_source(evaluation),
        selection=_source(selection),
        metric=chosen.metric,
        reason=chosen.reason,
        trainings=tuple(trainings),
        champion=_champion(inputs, chosen),
        recorded=time.time_ns() // 1_000_000,
    )


def _trainings(inputs: Artifacts, verdict: Verdict, train: TrainConfig) -> list[Training]:
    runs = {history.read(Path(run.uri)).framework: run for run in inputs["model_runs"]}
    found = []
    for model in inputs["models"]:
        bundle = Path(path_utils.serving_model_path(model.uri))
        made = manifest.read(bundle)
        run = Path(runs[made.framework].uri)
        told = history.read(run)
        metrics = dict(_metrics(verdict, made.framework)) | {"train_seconds": told.seconds}
        if made.held_out_loss is not None:
            metrics[_HELD_OUT[made.problem]] = made.held_out_loss
        training = _training(
            model, bundle, made, parameters=_parameters(run, told, train), metrics=metrics
        )
        began = training.ended - round(told.seconds * 1000)
        more = {"curves": _curves(told), "history": str(run), "started": began}
        found.append(training.model_copy(update=more))
    return sorted(found, key=lambda training: training.name)


def _ensemble(model: Artifact, verdict: Verdict) -> Training:
    bundle = Path(path_utils.serving_model_path(model.uri))
    return _training(
        model,
        bundle,
        manifest.read(bundle),
        parameters={"members": ", ".join(verdict.members)},
        metrics=dict(_metrics(verdict, verdicts.ENSEMBLE)),
    )


def _training(
    model: Artifact,
    bundle: Path,
    made: Manifest,
    *,
    parameters: Mapping[str, str],
    metrics: Mapping[str, float],
) -> Training:
    ended = model.mlmd_artifact.create_time_since_epoch or time.time_ns() // 1_000_000
    return Training(
        name=made.framework,
        bundle=str(bundle),
        digest=made.digest,
        problem=made.problem,
        classes=made.classes,
        model=_source(model),
        parameters=dict(parameters),
        metrics=dict(metrics),
        provenance=made.provenance,
        base=made.base.digest if made.base else "",
        started=ended,
        ended=ended,
    )


def _parameters(run: Path, told: History, train: TrainConfig) -> dict[str, str]:
    """What the training was told, and the number of steps that it came to."""
    used: dict[str, Any] = {name: getattr(train, name) for name in _SETTINGS}
    used |= train.of(Framework(told.framework)).model_dump(mode="json")
    file = run / history.PARAMETERS_FILE
    if file.is_file():  # by the tuner's word, where there was one
        used |= json.loads(file.read_text())
    used[f"{told.step}s"] = told.steps
    return {name: str(value) for name, value in used.items() if value is not None}


def _curves(told: History) -> dict[str, tuple[float, ...]]:
    curves = {"training.learned": told.training.learned}
    if told.search:
        curves["search.learned"] = told.search.learned
        curves["search.held_out"] = told.search.held_out
    return curves


def _metrics(verdict: Verdict, name: str) -> Iterator[tuple[str, float]]:
    """The model's metrics over all rows, their intervals' ends and their spread, and its costs."""
    intervals, spread = verdict.intervals.get(name, {}), verdict.spread.get(name, {})
    for metric, value in verdict.models.get(name, {}).items():
        if value is not None:
            yield metric.value, value
        ends = intervals.get(metric)
        if ends is not None:
            yield f"{metric}_low", ends[0]
            yield f"{metric}_high", ends[1]
        if (moves := spread.get(metric)) is not None:
            yield f"{metric}_spread", moves
    if name in verdict.costs:
        yield from verdict.costs[name].model_dump().items()
    yield "eval_rows", verdict.rows


def _champion(inputs: Artifacts, selection: Selection) -> Champion | None:
    if selection.winner is None:
        return None
    return Champion(
        name=selection.winner,
        model=_source(inputs["model"][0]),
        refused=_refusal(inputs.get("infra_blessing", ())),
        push=_push(inputs.get("pushed_model", ())),
    )


def _refusal(blessings: Sequence[Artifact]) -> str | None:
    for blessing in blessings:
        file = Path(blessing.uri) / canary_report.FILE
        report = canary_report.CanaryReport.model_validate_json(file.read_bytes())
        if not report.blessed:
            return report.reason or "the canary did not bless it"
    return None


def _push(pushed_models: Sequence[Artifact]) -> Push | None:
    for pushed in pushed_models:
        if pushed.get_int_custom_property("pushed") == 1:
            return Push(
                pushed_model=pushed.id,
                version=pushed.get_string_custom_property("pushed_version"),
                destination=pushed.get_string_custom_property("pushed_destination"),
            )
    return None


def _schema_digest(schema: Artifact) -> str:
    file = io_utils.get_only_uri_in_dir(schema.uri)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _source(artifact: Artifact) -> Source:
    return Source(id=artifact.id, uri=artifact.uri)
