"""Serves the champion by servers that others made: MLflow's, or TensorFlow Serving in Docker."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from custom_components.serving_folder import newest_version
from models import features, manifest
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.serve.folder import say

TENSORFLOW_SERVING = "tensorflow/serving:2.19.1"
"""The image; a SavedModel does not ask for the version that wrote it."""
_REST_PORT = 8501


def mlflow(config: PipelineConfig, *, host: str, port: int) -> NoReturn:
    """Becomes `mlflow models serve` of the registered champion.

    Raises:
      UserError: nothing is registered, no version is the champion, or MLflow does not answer.
    """
    from custom_components.registrar.record import CHAMPION
    from pipeline.registry.versions import Registry

    registry = Registry.open(config)
    champion = registry.with_alias(CHAMPION)
    if champion is None:
        raise UserError(
            f"{registry.name} has no champion: no registered version is live. Approve one: "
            "python -m pipeline registry approve VERSION"
        )
    programs = Path(sys.executable).parent
    command = [
        *(str(programs / "mlflow"), "models", "serve"),
        *("--model-uri", f"models:/{config.model_name}@{CHAMPION}"),
        *("--env-manager", "local", "--host", host, "--port", str(port)),
    ]
    say(f"{champion} of {registry.name}, served by MLflow; ask it for rows so:")
    say(f"""  curl -H 'Content-Type: application/json' http://{host}:{port}/invocations -d \\""")
    say("""    '{"dataframe_records": [{"COLUMN": VALUE, …}]}'""")
    # It starts uvicorn by its name.
    path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])
    _become(command, {"PATH": path, "MLFLOW_TRACKING_URI": config.tracking_uri})


def tensorflow_serving(location: str, name: str, *, host: str, port: int) -> NoReturn:
    """Becomes a container of TensorFlow Serving that serves the newest version, and later ones.

    Args:
      location: the serving folder.
      name: the model's name in the addresses.
      host: the address of this machine to listen at.
      port: the port to listen at.

    Raises:
      UserError: the folder is not on this machine, holds no SavedModel as its newest version, or
        there is no Docker here.
    """
    if storage.is_remote(location):
        raise UserError(
            f"{location} is not on this machine: copy a version of it to a folder, and name that "
            "by --directory"
        )
    version = newest_version(Path(location))
    if version is None:
        raise UserError(f"{location}: no model has been pushed there yet; run the pipeline first")
    found = manifest.read(version)
    if not (version / "saved_model.pb").is_file():
        raise UserError(
            f"{version} is made with {found.framework}, and is no SavedModel, which is all that "
            "TensorFlow Serving takes. Serve it without --with, or by --with mlflow"
        )
    command = [
        *("docker", "run", "--rm", "--publish", f"{host}:{port}:{_REST_PORT}"),
        *("--mount", f"type=bind,source={Path(location).resolve()},target=/models/{name},readonly"),
        *("--env", f"MODEL_NAME={name}", TENSORFLOW_SERVING),
    ]
    if shutil.which("docker") is None:
        raise UserError(f"there is no Docker here; where there is: {shlex.join(command)}")
    row = {features.tensor(column): value for column, value in _asked(found).items()}
    question = {"signature_name": "serving_raw", "instances": [row]}
    say(f"{shlex.join(command)}\nAsk it for rows so:")
    say(
        f"  curl -d {shlex.quote(json.dumps(question))} http://{host}:{port}/v1/models/{name}:predict"
    )
    _become(command, {})


def _asked(model: manifest.Manifest) -> dict[str, Any]:
    """The example row as a signature takes it, which knows no null: "" and NaN are missing."""
    missing = {"string": "", "float32": float("nan"), "float64": float("nan")}
    return {
        column: missing[type_] if model.example[column] is None else model.example[column]
        for column, type_ in model.inputs.items()
    }


def _become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Runs `command` in the place of this process: what ends this one ends it."""
    sys.stdout.flush()
    os.execvpe(command[0], list(command), {**os.environ, **environment})
