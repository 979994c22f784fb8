"""Secrets are fetched from something that answers as Secret Manager does."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError

from pipeline.cluster import secrets
from pipeline.errors import UserError
from tests.services import free_port

NAME = "projects/p/secrets/store-password/versions/latest"
VALUE = "pässword\n"


class Credentials(AnonymousCredentials):
    def refresh(self, request: object) -> None:
        """Nothing changes by it."""


class SecretManager(BaseHTTPRequestHandler):
    answer: tuple[int, bytes]

    def do_GET(self) -> None:
        known = self.path == f"/v1/{NAME}:access"
        status, body = self.answer if known else (404, b"{}")
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def holding(value: bytes) -> tuple[int, bytes]:
    data = base64.b64encode(value).decode()
    return 200, json.dumps({"name": NAME, "payload": {"data": data}}).encode()


@pytest.fixture(autouse=True)
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SecretManager]]:
    monkeypatch.setattr("google.auth.default", lambda scopes: (Credentials(), "p"))
    monkeypatch.setenv("STORE_PASSWORD", "unset")
    ask_for(monkeypatch, STORE_PASSWORD=NAME)
    SecretManager.answer = holding(VALUE.encode())
    with HTTPServer(("127.0.0.1", 0), SecretManager) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(secrets, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield SecretManager
        server.shutdown()
        thread.join()


def ask_for(monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    monkeypatch.setenv(secrets.VARIABLE, json.dumps(names))


def refusal() -> str:
    with pytest.raises(UserError) as raised:
        secrets.load()
    assert os.environ["STORE_PASSWORD"] == "unset"
    return str(raised.value)


def test_a_variable_gets_what_the_secret_holds() -> None:
    secrets.load()
    assert os.environ["STORE_PASSWORD"] == VALUE


def test_nothing_is_asked_for_where_no_secret_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(secrets.VARIABLE)
    monkeypatch.setattr("google.auth.default", lambda scopes: pytest.fail("asked"))
    secrets.load()
    assert os.environ["STORE_PASSWORD"] == "unset"


@pytest.mark.parametrize(
    "text", ["password", "[]", '{"A": 1}', '{"A": "store-password"}', '{"A": "../../x"}']
)
def test_a_variable_that_names_no_secrets_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(secrets.VARIABLE, text)
    assert "PIPELINE_SECRETS does not name secrets" in refusal()


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "Secret Manager Secret Accessor"), (401, "cannot sign in"), (503, "try again")],
)
def test_a_secret_that_may_not_be_read_is_named_with_what_to_do(
    manager: type[SecretManager], status: int, said: str
) -> None:
    manager.answer = status, holding(VALUE.encode())[1]
    message = refusal()
    assert NAME in message
    assert said in message
    assert VALUE not in message


def test_a_secret_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = NAME.replace("store", "stoer")
    ask_for(monkeypatch, STORE_PASSWORD=missing)
    assert f"the secret {missing} cannot be fetched (HTTP status 404)" in refusal()


@pytest.mark.parametrize("answer", [(200, b"{}"), (200, b"no JSON"), holding(b"\xff\xfe")])
def test_a_secret_that_is_no_text_is_named(
    manager: type[SecretManager], answer: tuple[int, bytes]
) -> None:
    manager.answer = answer
    assert f"the secret {NAME} holds no text" in refusal()


def test_no_credentials_and_no_network_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert "may this machine reach" in refusal()

    def none(scopes: list[str]) -> None:
        raise DefaultCredentialsError("none here")

    monkeypatch.setattr("google.auth.default", none)
    assert "there are no Google credentials to fetch them with: none here" in refusal()
