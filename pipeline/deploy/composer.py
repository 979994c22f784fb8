"""Puts Airflow's DAG and its plan into the folder of a Cloud Composer environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.cluster import reach
from pipeline.config import PROJECT
from pipeline.config_file import load
from pipeline.deploy.package import BUILD, Target, by_digest, image_of
from pipeline.deploy.repository import CHANGED, label, short
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.quiet import errors_to
from pipeline.store import deployments

DAGS = PROJECT / "deploy" / "airflow" / "dags"
_KEPT = "plans"
"""Beside the folder of the DAGs: what was put there, by commit."""


def put(
    config_file: Path,
    overrides: Sequence[str],
    *,
    folder: str,
    image: str,
    commit: str,
    target: Target = "kfp",
) -> str:
    """Compiles the plan, and puts it and the DAG into `folder`; what was done, in a sentence.

    Where another commit is deployed on `target`, nothing is put there: a newer one was released
    meanwhile, or this one was rolled back. Plans that are there stay, for the runs that began with
    them.

    Args:
      config_file: the configuration.
      overrides: of its settings.
      folder: of the environment's DAGs, as in gs://BUCKET/dags.
      image: of all tasks, as `package.image_of` takes it.
      commit: of the code here.
      target: who else runs the pipeline, on the same store.

    Raises:
      UserError: files were changed since the commit, an image has no digest, the tasks could not do
        their work there, or the store or the bucket refuses.
    """
    _check(folder)
    if commit.endswith(CHANGED):
        raise UserError("files were changed since the commit: commit them, then deploy")
    reference = image_of(image, commit)
    given = [*overrides, f"tasks.defaults.image={json.dumps(reference)}"]
    config = load(config_file, given)
    reach.check(config, "composer")
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
    name = f"{config.name}{airflow.SUFFIX}"
    dags = {file.name: file.read_bytes() for file in sorted(DAGS.glob("*.py"), reverse=True)}
    with deployments.alone(config) as kept:  # Of two builds one waits for the other.
        now = next(iter(deployments.at_work(kept.all(target))), None)
        if now and now.commit != commit:
            return f"Nothing to do: {short(now.commit)} is deployed, not {short(commit)}."
        _write(_kept(folder, commit), dags | {name: text.encode()})
        _write(folder, dags | airflow.files(name, text))
    return f"{folder} has {', '.join([*dags, name])} of {label(commit)}, with {reference}."


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
