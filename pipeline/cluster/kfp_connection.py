"""A signed-in client of the Kubeflow Pipelines API, and what its errors mean."""

from __future__ import annotations

import json
import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kfp_server_api as kfp
import urllib3

from pipeline.cluster.remote import ANSWERS
from pipeline.cluster_config import KubeflowConfig
from pipeline.errors import UnreachableError, UserError

TOKEN = "KUBEFLOW_TOKEN"
IN_CLUSTER_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
SECONDS = (10, 60)
"""How long to wait for a connection, and for an answer."""


class Connection:
    """One server, and whoever signs in there.

    `kfp.Client` is not used: its constructor asks the server for its health, again and again for
    half a minute, and reads the kube config and a file in the home folder. This is the generated
    client below it.
    """

    def __init__(self, config: KubeflowConfig) -> None:
        """Reads what signing in takes; the server is not asked for anything yet.

        Raises:
            UserError: if something that signing in takes is missing.
        """
        self._config = config
        self.host = host_of(config)
        self._token = _token(config)
        settings = kfp.Configuration()
        settings.host = self.host
        # No redirect is followed: it leads to a page to sign in, which a program cannot.
        settings.retries = urllib3.Retry(
            2, redirect=False, backoff_factor=0.2, allowed_methods={"GET"}
        )
        if config.ca_certificate:
            try:
                ssl.create_default_context(cafile=config.ca_certificate)
            except OSError as error:
                raise UserError(
                    f"kubeflow.ca_certificate: {config.ca_certificate} is no certificate ({error})."
                ) from None
            settings.ssl_ca_cert = config.ca_certificate
        if self._token:
            settings.api_key["authorization"] = self._token
            settings.api_key_prefix["authorization"] = "Bearer"
        self.client = _JsonClient(settings)
        # It warns of each try; the error of the last one is told.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

    @contextmanager
    def sentences(self, missing: str = "It is not there") -> Iterator[None]:
        """Turns the errors of calls into sentences; the token is in none of them.

        Args:
            missing: what 404 means.

        Raises:
            UserError: in place of any error of the API or of the network; an `UnreachableError`
                if it tells nothing of what the server has.
        """
        try:
            yield
        except kfp.ApiException as error:
            kind = UserError if error.status in ANSWERS else UnreachableError
            raise kind(self._safe(self._refused(error, missing))) from None
        except _NotJsonError:
            raise UnreachableError(
                f"{self.host} answered with a page and not with JSON: it is not the API's address,"
                f" or a page to sign in stands before it. {self._sign_in()}"
            ) from None
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(self._safe(self._unreached(error))) from None

    def _refused(self, error: Any, missing: str) -> str:
        said = _message_of(error.body) or error.reason or "no reason given"
        host, status = self.host, error.status
        if status in (301, 302, 303, 307, 308, 401):
            return f"{host} does not know who is asking ({status}). {self._sign_in()}"
        if status == 403:
            return (
                f"{host} forbids it (403: {said}). Have whoever signs in made an editor of the"
                f" namespace {self._config.namespace} (kubeflow.namespace)."
            )
        if status == 404:
            return (
                f"{missing} (404: {said}). If nothing is ever found, kubeflow.host = {host} is not"
                " the API's address: try it with /pipeline at its end."
            )
        if status == 409:
            return f"{host} has it already, or is changing it (409: {said}). Try again."
        if status and status >= 500:
            return (
                f"{host} failed ({status}: {said}). Try again; if it stays so, the log of the"
                " deployment ml-pipeline says why."
            )
        return f"{host} refused it ({status}: {said})."

    def _unreached(self, error: urllib3.exceptions.HTTPError) -> str:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, urllib3.exceptions.SSLError):
            return (
                f"{self.host} cannot be trusted ({_last(reason)}). If its certificate is signed by"
                " an authority of your own, name that one's in kubeflow.ca_certificate; if it has"
                " none, kubeflow.host begins with http://."
            )
        if isinstance(reason, urllib3.exceptions.ReadTimeoutError):
            return f"{self.host} did not answer within {SECONDS[1]} s. Try again."
        if isinstance(reason, urllib3.exceptions.ProtocolError):
            return f"{self.host} broke the connection off ({_last(reason)}). Try again."
        return (
            f"{self.host} cannot be reached ({_last(reason)}). Check kubeflow.host, and that this"
            " machine gets there: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80 and"
            " --set kubeflow.host=http://localhost:8080 does from anywhere."
        )

    def _sign_in(self) -> str:
        return {
            "none": 'Set kubeflow.auth: it is "none".',
            "token": f"The token in {TOKEN} is wrong, or too old: get a new one.",
            "iap": "Check kubeflow.iap_client_id, and that the account may pass the proxy.",
            "in-cluster": "The pod's token is not accepted: its audience is to be"
            " pipelines.kubeflow.org.",
        }[self._config.auth]

    def _safe(self, text: str) -> str:
        return text.replace(self._token, "…") if self._token else text


def host_of(config: KubeflowConfig) -> str:
    """The address of the API."""
    return (config.host or IN_CLUSTER_HOST).rstrip("/")


class _NotJsonError(Exception):
    pass


class _JsonClient(kfp.ApiClient):
    """Waits no longer than `SECONDS`, and takes nothing but JSON for an answer."""

    def request(self, *args: Any, _request_timeout: Any = None, **options: Any) -> Any:
        return super().request(*args, _request_timeout=_request_timeout or SECONDS, **options)

    def deserialize(self, response: Any, response_type: str) -> Any:
        try:
            json.loads(response.data)
        except ValueError:
            raise _NotJsonError from None
        return super().deserialize(response, response_type)


def _token(config: KubeflowConfig) -> str | None:
    if config.auth == "token":
        if not (token := os.environ.get(TOKEN, "").strip()):
            raise UserError(f"kubeflow.auth is token, but {TOKEN} is not set; put the token there.")
        return token
    if config.auth == "in-cluster":
        return _token_of_pod()
    return _token_for_proxy(str(config.iap_client_id)) if config.auth == "iap" else None


def _token_of_pod() -> str:
    from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH

    file = Path(os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH)
    try:
        return file.read_text().strip()
    except OSError:
        raise UserError(
            f"kubeflow.auth is in-cluster, but there is no token in {file}; it is for pods to which"
            " a service account's token for pipelines.kubeflow.org is projected."
        ) from None


def _token_for_proxy(client_id: str) -> str:
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request
    from google.oauth2.id_token import fetch_id_token

    try:
        return str(fetch_id_token(Request(), client_id))  # type: ignore[no-untyped-call]
    except GoogleAuthError:
        raise UserError(
            "kubeflow.auth is iap, but there are no credentials of a Google service account; name"
            " its key file in GOOGLE_APPLICATION_CREDENTIALS, or run where it is attached."
        ) from None


def _message_of(body: Any) -> str:
    """What the server says in the answer of an error; nothing if that is a page."""
    try:
        content = json.loads(body)
        message = content.get("message") or content.get("error") or content.get("error_message")
    except (ValueError, TypeError, AttributeError):
        return ""
    return " ".join(str(message or "").split())[:300].rstrip(".")


def _last(error: BaseException) -> str:
    """The words of an error without the object that urllib3 puts before them."""
    return str(error.args[-1] if error.args else error).rpartition(">: ")[2].rstrip(".")
