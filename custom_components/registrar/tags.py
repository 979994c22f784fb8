"""The tags by which MLflow's runs and versions say where they come from in the metadata store."""

from __future__ import annotations

import textwrap

from custom_components.registrar.record import Champion, Push, Record, Training
from pipeline.files.storage import original

DIGEST = "bundle.digest"
"""The bundle's identity: by it a run, a model and a version are found again."""
FRAMEWORK = "framework"
PROBLEM = "problem"
CLASSES = "classes"
"""The label's values, in the order of the classes' numbers."""
PIPELINE = "pipeline"
RUN = "tfx.run"
NODE = "tfx.node"
EXECUTION = "tfx.execution"
MODEL = "mlmd.model"
"""The id of the Model artifact: of a run's training, of a version's champion."""
MODEL_URI = "mlmd.model_uri"
EVALUATION = "mlmd.evaluation"
SELECTION = "mlmd.selection"
PUSHED_MODEL = "mlmd.pushed_model"
"""The id of the PushedModel artifact that went live last."""
BASE = "base.digest"
"""DIGEST of the model that a training went on from."""
SPANS = "data.spans"
SCHEMA = "data.schema_digest"
COMMIT = "git.commit"
CLEAN = "git.clean"
NOTE = "note"
METRIC = "metric"
"""What a version was selected by, and its value: "auc 0.7012"."""
CANARY = "canary"
"""Why the canary refused a version."""
SERVED_AS = "served.version"
"""The version's name in the serving folder."""
SERVED_FROM = "served.folder"
"""Its folder."""

_LONGEST = 1000
"""Characters of what is a list."""
_DESCRIPTION = "mlflow.note.content"
_GIT_COMMIT = "mlflow.source.git.commit"


def of_training(record: Record, training: Training) -> dict[str, str]:
    """The tags of a training's run and model."""
    made = training.provenance
    found: dict[str, object] = {
        DIGEST: training.digest,
        FRAMEWORK: training.name,
        PROBLEM: training.problem,
        CLASSES: textwrap.shorten(", ".join(training.classes), _LONGEST, placeholder=" …"),
        PIPELINE: made.pipeline or record.pipeline,
        RUN: made.run,
        NODE: made.node,
        EXECUTION: made.execution,
        MODEL: training.model.id or None,
        MODEL_URI: original(training.model.uri),
        BASE: training.base,
        SPANS: ", ".join(map(str, made.spans)),
        SCHEMA: record.schema_digest,
        COMMIT: made.commit,
        CLEAN: None if made.clean is None else str(made.clean).lower(),
        NOTE: made.note,
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def of_run(record: Record, training: Training) -> dict[str, str]:
    """The tags of a training's run, with those that MLflow's pages show by themselves."""
    found = of_training(record, training)
    shown = {_DESCRIPTION: training.provenance.note, _GIT_COMMIT: training.provenance.commit}
    return found | {name: value for name, value in shown.items() if value}


def of_version(record: Record, champion: Champion) -> dict[str, str]:
    """The tags of the champion's version."""
    training = record.training(champion.name)
    value = training.metrics.get(record.metric)
    measured = [] if value is None else [record.metric.words(value)]
    stored = {MODEL: champion.model, EVALUATION: record.evaluation, SELECTION: record.selection}
    return of_training(record, training) | {
        RUN: record.run,
        **{name: str(source.id) for name, source in stored.items() if source.id},
        MODEL_URI: original(champion.model.uri),
        METRIC: " ".join([record.metric, *measured]),
        **({CANARY: champion.refused} if champion.refused else {}),
    }


def of_push(push: Push) -> dict[str, str]:
    """The tags of a version that is or was live."""
    return {
        PUSHED_MODEL: str(push.pushed_model),
        SERVED_AS: push.version,
        SERVED_FROM: push.destination,
    }
