"""Signed-in clients of the Vertex AI API, and what their errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.cluster.remote import ANSWERS
from pipeline.cluster_config import VertexConfig
from pipeline.errors import UnreachableError, UserError

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
    from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient

SECONDS = 60
"""How long to wait for an answer."""


def clients(config: VertexConfig) -> tuple[PipelineServiceClient, ScheduleServiceClient]:
    """The clients of the region's endpoint, signed in by application default credentials."""
    from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
    from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient

    options = {"api_endpoint": f"{config.location}-aiplatform.googleapis.com"}
    return PipelineServiceClient(client_options=options), ScheduleServiceClient(
        client_options=options
    )


@contextmanager
def sentences(config: VertexConfig, missing: str = "It is not there") -> Iterator[None]:
    """Turns the errors of calls into sentences.

    Args:
        config: what the sentences name.
        missing: what 404 means.

    Raises:
        UserError: in place of any error of the API, of the network or of signing in; an
            `UnreachableError` if it tells nothing of what Vertex has.
    """
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAuthError as error:
        raise UnreachableError(
            f"Google Cloud does not know who is asking ({_first_line(error)}). {_SIGN_IN}"
        ) from None
    except GoogleAPICallError as error:
        kind = UserError if error.code in ANSWERS else UnreachableError
        raise kind(_refused(error, config, missing)) from None
    except RetryError as error:
        raise UnreachableError(
            f"Vertex does not answer ({_first_line(error)}). Try again."
        ) from None


_SIGN_IN = (
    "Sign in by `gcloud auth application-default login`, or name a service account's key file in"
    " GOOGLE_APPLICATION_CREDENTIALS."
)


def _refused(error: Any, config: VertexConfig, missing: str) -> str:
    said, status = _first_line(error.message), int(error.code or 0)
    if status == 401:
        return f"Vertex does not know who is asking (401: {said}). {_SIGN_IN}"
    if status == 403:
        return (
            f"Vertex forbids it (403: {said}). Whoever signs in needs roles/aiplatform.user in"
            f" {config.project}, and roles/iam.serviceAccountUser on vertex.service_account; the"
            " API aiplatform.googleapis.com has to be enabled."
        )
    if status == 404:
        return (
            f"{missing} (404: {said}). Check vertex.project = {config.project} and"
            f" vertex.location = {config.location}."
        )
    if status == 409:
        return f"Vertex has it already, or is changing it (409: {said}). Try again."
    if status == 429:
        return f"The quota of {config.project} is used up (429: {said}). Wait, or have it raised."
    if status >= 500:
        return f"Vertex cannot be reached, or failed ({status}: {said}). Try again."
    return f"Vertex refused it ({status}: {said})."


def _first_line(text: object) -> str:
    return (str(text).splitlines() or [""])[0].rstrip(".")
