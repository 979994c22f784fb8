"""Puts Airflow's DAG and its plan into the folder of a Cloud Composer environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config import PROJECT
from pipeline.config_file import load
from pipeline.deploy.package import BUILD, by_digest, image_of
from pipeline.deploy.repository import CHANGED, label
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.quiet import errors_to

DAG = PROJECT / "deploy" / "airflow" / "dags" / "pipeline_dag.py"
_KEPT = "plans"
"""Beside the folder of the DAGs: what was put there, by commit."""


def put(
    config_file: Path, overrides: Sequence[str], *, folder: str, image: str, commit: str
) -> str:
    """Compiles the plan, and puts it and the DAG into `folder`; what was done, in a sentence.

    Args:
      config_file: the configuration.
      overrides: of its settings.
      folder: of the environment's DAGs, as in gs://BUCKET/dags.
      image: of all tasks, as `package.image_of` takes it.
      commit: of the code here.

    Raises:
      UserError: files were changed since the commit, an image has no digest, or the bucket refuses.
    """
    _check(folder)
    if commit.endswith(CHANGED):
        raise UserError("files were changed since the commit: commit them, then deploy")
    reference = image_of(image, commit)
    given = [*overrides, f"tasks.defaults.image={json.dumps(reference)}"]
    config = load(config_file, given)
    from pipeline.runners import airflow

    BUILD.mkdir(exist_ok=True)
    with errors_to(BUILD / "compile.log"):
        text = airflow.compile_plan(config, ["span=newest"])
    images = {str(t["pod"]["spec"]["containers"][0]["image"]) for t in json.loads(text)["tasks"]}
    if tagged := sorted(image for image in images if not by_digest(image)):
        raise UserError(
            f"tasks have images that are named by a tag: {', '.join(tagged)}; name them by their "
            "digest, as in …@sha256:…"
        )
    files = {DAG.name: DAG.read_bytes(), f"{config.name}{airflow.SUFFIX}": text.encode()}
    _write(_kept(folder, commit), files)
    _write(folder, files)
    return f"{folder} has {', '.join(files)} of {label(commit)}, with {reference}."


def put_back(folder: str, commit: str) -> str:
    """Puts once more into `folder` what `put` has put there of a commit; says so in a sentence.

    Raises:
      UserError: nothing of that commit was put there, or the bucket refuses.
    """
    _check(folder)
    kept = _kept(folder, commit)
    files = {entry.name: storage.read(f"{kept}/{entry.name}") for entry in storage.entries(kept)}
    if not files:
        raise UserError(f"{kept}: nothing of that commit was put into {folder}")
    _write(folder, files)
    return f"{folder} has {', '.join(files)} of {label(commit)} again."


def _check(folder: str) -> None:
    if not storage.is_remote(folder):
        raise UserError(f"{folder!r} is no folder of a bucket, as in gs://BUCKET/dags")


def _kept(folder: str, commit: str) -> str:
    return f"{folder.rstrip('/').rpartition('/')[0]}/{_KEPT}/{label(commit)}"


def _write(folder: str, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        storage.write(f"{folder.rstrip('/')}/{name}", content)
