"""What keeps the tasks of a cluster from their work, found in the configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import PipelineConfig
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.cluster.kfp_settings import Target


def problems(config: PipelineConfig, target: Target = "kfp") -> list[str]:
    """What the tasks of a cluster could not reach, a sentence each; none if all is well."""
    found = []
    root, store, tracking = config.pipeline_root, config.store_url, config.tracking_uri
    remote = "://" in root
    volumes = config.tasks.defaults.volumes
    if target == "vertex" and not root.startswith("gs://"):
        found.append(f"root is {root}: Vertex's tasks share a bucket; name one, as in gs://BUCKET")
    elif not remote and not any(Path(root).is_relative_to(path) for path in volumes.values()):
        found.append(
            f"root is {root}, which no volume holds: mount one by tasks.defaults.volumes and name "
            "a folder on it, or name a bucket, as in gs://BUCKET/flights"
        )
    one_machine = config.tasks.one_machine and target == "kfp"
    if store.startswith("sqlite") and not one_machine:
        found.append(
            f"store.url is {store}: the locks of an sqlite file do not hold between machines, "
            "whose tasks would break it; name a PostgreSQL or MySQL server, or set "
            "tasks.one_machine = true where there is one machine only"
        )
    if config.registration.enabled and remote and tracking.startswith("sqlite"):
        found.append(
            f"register.tracking_uri is {tracking}: a database cannot lie in a bucket; name an "
            "MLflow server, or set register.enabled = false"
        )
    if target == "vertex" and config.vertex.project is None:
        found.append("vertex.project is not set: name the Google Cloud project")
    return found


def check(config: PipelineConfig, target: Target = "kfp") -> None:
    """Makes sure that there are no problems.

    Raises:
      UserError: there are; the message has all of them.
    """
    if found := problems(config, target):
        raise UserError("the runs would fail: " + "; ".join(found) + ".")
