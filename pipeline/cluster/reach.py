"""What keeps the tasks of a cluster from their work, found in the configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.config import PipelineConfig
from pipeline.errors import UserError

Cluster = Literal["kfp", "vertex", "composer"]
_NAMES = {"vertex": "Vertex", "composer": "Composer"}
"""Those whose tasks share nothing but a bucket."""


def problems(config: PipelineConfig, target: Cluster = "kfp") -> list[str]:
    """What the tasks of a cluster could not reach, a sentence each; none if all is well."""
    found = []
    root, store, tracking = config.pipeline_root, config.store_url, config.tracking_uri
    remote = "://" in root
    volumes = config.tasks.defaults.volumes
    if target in _NAMES and not root.startswith("gs://"):
        shared = f"{_NAMES[target]}'s tasks share a bucket"
        found.append(f"root is {root}: {shared}; name one, as in gs://BUCKET")
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
    claims = [*volumes, *(name for node in config.tasks.nodes.values() for name in node.volumes)]
    if target == "composer" and claims:
        found.append(
            f"tasks have the volumes {', '.join(claims)}: Composer has no claims of that name; "
            "leave them out, as with --set tasks.defaults.volumes={}"
        )
    if target == "vertex" and config.vertex.project is None:
        found.append("vertex.project is not set: name the Google Cloud project")
    return found


def check(config: PipelineConfig, target: Cluster = "kfp") -> None:
    """Makes sure that there are no problems.

    Raises:
      UserError: there are; the message has all of them.
    """
    if found := problems(config, target):
        raise UserError("the runs would fail: " + "; ".join(found) + ".")
