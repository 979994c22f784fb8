"""The versions of pipelines that a Kubeflow Pipelines server keeps."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import kfp_server_api as kfp

from pipeline.cluster.remote import Package
from pipeline.errors import UserError


class Versions:
    """The versions in a namespace; its errors are those of the API's client."""

    def __init__(self, client: Any, namespace: str) -> None:
        """Takes a client that is signed in."""
        self._api = kfp.PipelineServiceApi(client)
        self._uploads = kfp.PipelineUploadServiceApi(client)
        self._namespace = namespace

    def kept(self, package: Package) -> Any:
        """The reference to the package's version, uploaded unless the very same one is there."""

        def make_pipeline() -> str:
            made = self._api.pipeline_service_create_pipeline(
                kfp.V2beta1Pipeline(display_name=package.name, namespace=self._namespace)
            )
            return cast(str, made.pipeline_id)

        pipeline_id = found_or_made(lambda: self._pipeline(package), make_pipeline)

        def upload() -> str:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / f"{package.name}.yaml"
                file.write_text(package.text)
                made = self._uploads.upload_pipeline_version(
                    str(file), name=package.version, pipelineid=pipeline_id
                )
            return cast(str, made.pipeline_version_id)

        version_id = found_or_made(lambda: self._version(pipeline_id, package), upload)
        return _reference(pipeline_id, version_id)

    def found(self, package: Package) -> Any | None:
        """The reference to the version of the package's name; None if there is none."""
        if (pipeline_id := self._pipeline(package)) is None:
            return None
        version_id = self._version(pipeline_id, package)
        return _reference(pipeline_id, version_id) if version_id else None

    def check(self, package: Package) -> None:
        """Makes sure that the server has the package, with the tasks that it has here.

        Raises:
            UserError: if it has none of its name, or another one.
        """
        if (reference := self.found(package)) is None:
            raise UserError(f"The server has no version {package.version}: release it anew.")
        version = self._api.pipeline_service_get_pipeline_version(
            reference.pipeline_id, reference.pipeline_version_id
        )
        spec = version.pipeline_spec or {}
        # With settings of Kubernetes, these are beside it.
        if _containers(spec.get("pipeline_spec", spec)) != _containers(package.spec):
            raise UserError(
                f"The server's version {package.version} has other tasks than the package of that"
                " name: somebody has changed it; delete it there and release it anew."
            )

    def _pipeline(self, package: Package) -> str | None:
        found = self._api.pipeline_service_list_pipelines(
            namespace=self._namespace, page_size=1, filter=named(package.name)
        )
        return found.pipelines[0].pipeline_id if found.pipelines else None

    def _version(self, pipeline_id: str, package: Package) -> str | None:
        found = self._api.pipeline_service_list_pipeline_versions(
            pipeline_id, page_size=1, filter=named(package.version)
        )
        versions = found.pipeline_versions
        return versions[0].pipeline_version_id if versions else None


def named(name: str) -> str:
    """The API's filter for what has this name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})


def found_or_made(found: Callable[[], str | None], make: Callable[[], str]) -> str:
    """The id of what is there, else of what is made; someone else may make it in between."""
    if (there := found()) is not None:
        return there
    try:
        return make()
    except kfp.ApiException as error:
        if error.status == 409 and (there := found()) is not None:
            return there
        raise


def _reference(pipeline_id: str, version_id: str) -> Any:
    return kfp.V2beta1PipelineVersionReference(
        pipeline_id=pipeline_id, pipeline_version_id=version_id
    )


def _containers(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What each task runs: its image, command and arguments. The rest the server may complete."""
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    return {
        name: [executor.get("container", {}).get(key) for key in ("image", "command", "args")]
        for name, executor in executors.items()
    }
