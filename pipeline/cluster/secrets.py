"""Fetches the secrets of a task from Google's Secret Manager into its environment.

Vertex AI hands no secrets to a container, so PIPELINE_SECRETS names them there, as JSON:
{"PIPELINE_STORE_PASSWORD": "projects/P/secrets/NAME/versions/latest"}.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

VARIABLE = "PIPELINE_SECRETS"
"""Which variables are to be set from which secrets."""
ENDPOINT = "https://secretmanager.googleapis.com"
_NAME = re.compile(r"projects/[\w.:-]+/secrets/[\w-]+/versions/[\w-]+")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_SECONDS = 20.0
_HINTS = {
    401: "the task's service account cannot sign in",
    403: "give the task's service account the role Secret Manager Secret Accessor on it",
    404: "there is no such secret or version: make it, or mend tasks.….secrets",
}


def load() -> None:
    """Sets the variables that PIPELINE_SECRETS names; nothing happens where it is not set.

    Raises:
      UserError: one cannot be had; the message names the secret, and never what it holds.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return
    wanted = _wanted(text)
    session = _session()
    for variable, name in wanted.items():
        os.environ[variable] = _fetch(session, name)


def _wanted(text: str) -> dict[str, str]:
    try:
        wanted = json.loads(text)
    except ValueError:
        wanted = None
    if not isinstance(wanted, dict) or not all(
        isinstance(name, str) and _NAME.fullmatch(name) for name in wanted.values()
    ):
        raise UserError(
            f"{VARIABLE} does not name secrets; expected JSON, as in "
            '{"VARIABLE": "projects/P/secrets/NAME/versions/latest"}'
        )
    return wanted


def _session() -> AuthorizedSession:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession

    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except GoogleAuthError as error:
        raise UserError(
            f"{VARIABLE} names secrets, but there are no Google credentials to fetch them with: "
            f"{error}"
        ) from None
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]


def _fetch(session: AuthorizedSession, name: str) -> str:
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        answer = session.get(f"{ENDPOINT}/v1/{name}:access", timeout=_TIMEOUT_SECONDS)
    except (GoogleAuthError, RequestException) as error:
        raise UserError(
            f"the secret {name} cannot be fetched: {type(error).__name__}; may this machine reach "
            f"{ENDPOINT}, and has it a service account?"
        ) from None
    if answer.status_code != 200:
        hint = _HINTS.get(answer.status_code, "try again")
        raise UserError(
            f"the secret {name} cannot be fetched (HTTP status {answer.status_code}): {hint}"
        )
    try:
        return base64.b64decode(answer.json()["payload"]["data"], validate=True).decode("utf-8")
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise UserError(f"the secret {name} holds no text") from None
