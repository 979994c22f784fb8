"""The model selector: takes the model that goes live out of those that were evaluated."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import Model, ModelBlessing, ModelEvaluation, PushedModel
from tfx.utils import path_utils

from custom_components import selector_rules
from custom_components.artifacts import ModelSelection
from custom_components.evaluator import blessings
from custom_components.evaluator import verdict as evaluation_files
from custom_components.evaluator.verdict import ENSEMBLE, Verdict
from custom_components.selection import FILE, JUDGED_MODEL_URIS, SOURCE_MODEL_URI, Selection
from models import ensemble, manifest
from models.manifest import Manifest
from pipeline.errors import UserError
from pipeline.evaluate_config import EvaluateConfig, Metric, SelectConfig

# This module cannot say `from __future__ import annotations`: the decorator reads the annotations
# below as objects, not as text. See `data_gate` for this style of component.


@component
def ModelSelector(
    models: InputArtifact[list[Model]],
    evaluation: InputArtifact[ModelEvaluation],
    model: OutputArtifact[Model],
    blessing: OutputArtifact[ModelBlessing],
    selection: OutputArtifact[ModelSelection],
    select: Parameter[str],
    evaluate: Parameter[str],
    baseline_model: InputArtifact[PushedModel] = None,
) -> None:
    """Copies the best of the evaluated models, by the rules of `selector_rules.select`.

    `InputArtifact[list[T]]` is how this style takes several artifacts: here the model of every
    trainer, whose channels the pipeline puts together with `channel_utils.union`.

    Where no candidate wins, the live model stays: `model` is an empty folder and not blessed. That
    is a result like any other.

    Args:
      models: the trained models, each with its bundle in Format-Serving.
      evaluation: what the evaluator found of all of them: see `evaluator.verdict`.
      model: the champion, with its bundle in Format-Serving. Custom properties: `framework` (its
        name), `digest` (of its manifest), `source_model_uri` (of the models that it is made of).
      blessing: whether there is a champion, as TFX's own Evaluator says it of a model.
      selection: the table of candidates and the reason: see `selection.Selection`.
      select: JSON of the `SelectConfig`.
      evaluate: JSON of the `EvaluateConfig`, for its guards.
      baseline_model: the live model, if there is one.

    Raises:
      UserError: a model is no bundle or was changed, or the evaluation is of other models.
    """
    config = SelectConfig.model_validate_json(select)
    found = Path(evaluation.uri)
    verdict = Verdict.model_validate_json((found / evaluation_files.FILE).read_text())
    trained = {_framework(artifact): artifact for artifact in models}
    _check_candidates(verdict, trained)
    decision = selector_rules.select(
        verdict,
        read_samples(found / evaluation_files.BOOTSTRAP_FILE, config.metric),
        config,
        EvaluateConfig.model_validate_json(evaluate),
    )
    sources: list[Artifact] = []
    if decision.winner:
        names = verdict.members if decision.winner == ENSEMBLE else (decision.winner,)
        sources = [trained[name] for name in names]
        _write_champion(model, decision.winner, dict(zip(names, sources, strict=True)))
        judged = sorted(artifact.uri for artifact in models)
        model.set_string_custom_property(JUDGED_MODEL_URIS, "\n".join(judged))
    _bless(blessing, decision, model, sources, baseline_model)
    (Path(selection.uri) / FILE).write_text(decision.model_dump_json(indent=2) + "\n")
    selection.set_int_custom_property("selected", int(decision.winner is not None))
    selection.set_string_custom_property("winner", decision.winner or "")
    selection.set_string_custom_property("reason", decision.reason)
    logging.getLogger(__name__).info("%s", decision.reason)


def read_samples(file: Path, metric: Metric) -> selector_rules.Samples:
    """A metric of each model in each of the bootstrap's samples, NaN where it is undefined.

    There are none where the evaluator had too few groups of rows to draw from.
    """
    if not file.exists():
        return {}
    rows = pq.read_table(file, filters=[("metric", "=", str(metric))]).to_pylist()
    return {row["model"]: np.array(row["values"], float) for row in rows if row["values"]}


def _framework(model: Artifact) -> str:
    return manifest.read(_bundle(model)).framework


def _bundle(model: Artifact) -> Path:
    return Path(path_utils.serving_model_path(model.uri))


def _check_candidates(verdict: Verdict, trained: dict[str, Artifact]) -> None:
    missing = sorted({*verdict.candidates, *verdict.members} - {ENSEMBLE, *trained})
    if missing:
        raise UserError(
            f"the evaluation is of {', '.join(missing)}, but no such model is among those that "
            f"were trained ({', '.join(sorted(trained))}): connect the same models to both nodes."
        )


def _write_champion(model: Artifact, winner: str, sources: dict[str, Artifact]) -> None:
    with _whole(_bundle(model)) as folder:
        written = _copy(folder, winner, {name: _bundle(source) for name, source in sources.items()})
    model.set_string_custom_property(
        SOURCE_MODEL_URI, "\n".join(source.uri for source in sources.values())
    )
    model.set_string_custom_property("framework", winner)
    model.set_string_custom_property("digest", written.digest)


def _copy(folder: Path, winner: str, bundles: dict[str, Path]) -> Manifest:
    if winner == ENSEMBLE:
        return ensemble.write(folder, bundles)
    shutil.copytree(bundles[winner], folder)
    return manifest.read(folder)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A hidden folder that gets its name when it is written, and is gone if that fails."""
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        yield unfinished
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _bless(
    blessing: Artifact,
    decision: Selection,
    model: Artifact,
    sources: list[Artifact],
    live: Artifact | None,
) -> None:
    """Says whether there is a champion as TFX's own Evaluator does, for its Pusher and resolvers.

    These find a model by its id, which the champion gets after this node has ended: so a champion
    that is a copy of one trained model is known by that one's.
    """
    blessings.decide(blessing, decision.winner is not None, decision.reason)
    blessings.refer(blessing, sources[0] if len(sources) == 1 else model, live)
