"""TFX's program of a task on Vertex, with the executor on the bucket as a folder.

What `pipeline.runners.tfx_package` makes starts this in each container. Executors read and write
local files, TFX's program hands them gs:// addresses: Vertex mounts every bucket below /gcs.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import app
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor as program
from tfx.types.artifact import Artifact
from tfx.utils import import_utils

BUCKETS = "gs://"
MOUNT = "/gcs/"

Artifacts = dict[str, list[Artifact]]


def on_mounted_buckets(executor: Any) -> Any:
    """The executor's class, which from now on works on folders in place of buckets."""
    work = executor.Do

    def do(self: Any, inputs: Artifacts, outputs: Artifacts, properties: dict[str, Any]) -> None:
        artifacts = [a for found in (*inputs.values(), *outputs.values()) for a in found]
        for artifact in artifacts:
            artifact.uri = _folder(artifact.uri)
        for artifact in (artifact for found in outputs.values() for artifact in found):
            Path(artifact.uri).mkdir(parents=True, exist_ok=True)
        work(self, inputs, outputs, {key: _folder(value) for key, value in properties.items()})
        for artifact in artifacts:
            artifact.uri = _address(artifact.uri)
            for value in artifact.mlmd_artifact.custom_properties.values():
                if value.HasField("string_value"):
                    value.string_value = _address(value.string_value)

    # Not a class derived from it: TFX asks for the path at which a Beam executor is imported.
    executor.Do = do
    return executor


def _folder(value: Any) -> Any:
    return _moved(value, BUCKETS, MOUNT)


def _address(value: Any) -> Any:
    return _moved(value, MOUNT, BUCKETS)


def _moved(value: Any, start: str, to: str) -> Any:
    if not isinstance(value, str) or not value.startswith(start):
        return value
    return to + value.removeprefix(start)


def main() -> None:
    """Runs what the command line says."""

    def import_class_by_path(path: str) -> Any:
        return on_mounted_buckets(import_utils.import_class_by_path(path))

    program.import_utils = SimpleNamespace(import_class_by_path=import_class_by_path)
    app.run(program.main, flags_parser=program._parse_flags)


if __name__ == "__main__":
    main()
