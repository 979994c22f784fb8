"""Writes blessings as TFX's own Evaluator does, for its Pusher and its resolvers."""

from __future__ import annotations

from collections.abc import Mapping

from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

from custom_components.evaluator.verdict import Verdict

CANDIDATE = "candidate"
"""Custom property of a ModelBlessing: the name of the model that it is about."""


def bless(
    declared: types.Artifact,
    verdict: Verdict,
    models: Mapping[str, types.Artifact],
    live: types.Artifact | None,
) -> list[types.Artifact]:
    """Writes a blessing for each trained model.

    Args:
        declared: The artifact that the blessing of a single model is; several lie below it, each in
            a folder of its own, as TFX asks of more artifacts than were declared.
        verdict: What was decided.
        models: The Model artifacts by their names.
        live: The PushedModel that they were compared with, if there is one.

    Returns:
        The artifacts, in the order of the names.
    """
    blessings = []
    for name in sorted(models):
        blessing = standard_artifacts.ModelBlessing()
        blessing.uri = f"{declared.uri}/{name}" if len(models) > 1 else declared.uri
        _write(blessing, verdict, name)
        refer(blessing, models[name], live)
        blessings.append(blessing)
    return blessings


def _write(blessing: types.Artifact, verdict: Verdict, candidate: str) -> None:
    failures = verdict.failures(candidate)
    message = "; ".join(check.reason for check in failures) or "every check passed"
    blessing.set_string_custom_property(CANDIDATE, candidate)
    decide(blessing, verdict.blessed[candidate], message)
    logging.info("%s: %s", candidate, message)


def decide(blessing: types.Artifact, blessed: bool, message: str) -> None:
    """Says whether it is blessed, and why or why not."""
    name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    fileio.makedirs(blessing.uri)
    with fileio.open(f"{blessing.uri}/{name}", "w") as file:
        file.write("")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BLESSING_MESSAGE_KEY, message)


def refer(blessing: types.Artifact, model: types.Artifact, live: types.Artifact | None) -> None:
    """Says which model the blessing is about, and which one it was compared with."""
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
    )
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if live:
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, live.uri
        )
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, live.id)
