"""Signing in to a Kubeflow Pipelines server, and what its errors are called."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.errors import UserError
from tests.pipeline.kfp_server import KfpServer, kfp_server
from tests.pipeline.test_kfp_client import server

SECRET = "tok-3ad1f2"


@pytest.fixture
def api() -> Iterator[KfpServer]:
    with kfp_server() as server:
        yield server
        assert server.refused == []


def test_the_token_is_sent_and_in_no_message(
    api: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEFLOW_TOKEN", SECRET)
    signed_in = server(api, 'kubeflow.auth="token"')
    signed_in.runs()
    assert set(api.tokens) == {f"Bearer {SECRET}"}
    api.on_request = lambda *_: (500, json.dumps({"message": f"bad token {SECRET}"}).encode())
    with pytest.raises(UserError) as caught:
        signed_in.runs()
    assert SECRET not in str(caught.value)
    assert "bad token" in str(caught.value)


def test_a_pod_signs_in_with_its_projected_token(
    api: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    with pytest.raises(UserError, match="there is no token in"):
        server(api, 'kubeflow.auth="in-cluster"').runs()
    file.write_text(f"{SECRET}\n")
    server(api, 'kubeflow.auth="in-cluster"').runs()
    assert set(api.tokens) == {f"Bearer {SECRET}"}


def test_a_proxy_is_passed_with_an_identity_for_its_client(
    api: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.exceptions import DefaultCredentialsError
    from google.oauth2 import id_token

    overrides = ("kubeflow={auth = 'iap', iap_client_id = 'client'}", f"kubeflow.host='{api.url}'")
    asked: list[str] = []

    def identity(_: object, client_id: str) -> str:
        asked.append(client_id)
        return SECRET

    monkeypatch.setattr(id_token, "fetch_id_token", identity)
    server(api, *overrides).runs()
    assert (asked, set(api.tokens)) == (["client"], {f"Bearer {SECRET}"})

    def nobody(*_: object) -> str:
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(id_token, "fetch_id_token", nobody)
    with pytest.raises(UserError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        server(api, *overrides).runs()


def test_a_token_that_is_missing_is_named(api: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEFLOW_TOKEN", raising=False)
    with pytest.raises(UserError, match="KUBEFLOW_TOKEN is not set"):
        server(api, 'kubeflow.auth="token"').runs()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (401, b"Unauthorized"),
            'does not know who is asking (401). Set kubeflow.auth: it is "none"',
        ),
        ((302, b""), "does not know who is asking (302)"),
        ((403, b'{"message": "no rights."}'), "forbids it (403: no rights). Have whoever signs in"),
        ((404, b"<html>nginx</html>"), "try it with /pipeline at its end"),
        ((409, b'{"message": "busy"}'), "has it already, or is changing it (409: busy)"),
        ((400, b'{"error_message": "bad cron"}'), "refused it (400: bad cron)"),
        ((500, b"oops"), "failed (500: Internal Server Error)"),
        ((200, b"<html>Sign in</html>"), "answered with a page and not with JSON"),
        ((0, b""), "broke the connection off"),
    ],
)
def test_every_refusal_is_a_sentence(api: KfpServer, answer: tuple[int, bytes], said: str) -> None:
    api.on_request = lambda *_: answer
    with pytest.raises(UserError) as caught:
        server(api).runs()
    assert said in str(caught.value)
    assert api.url in str(caught.value)


def test_a_server_that_is_not_there_or_does_not_answer_is_a_sentence(
    api: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"cannot be reached \(.*refused.*port-forward"):
        server(api, "kubeflow.host='http://127.0.0.1:1'").runs()
    with pytest.raises(UserError, match=r"cannot be trusted .*begins with http://"):
        server(api, f"kubeflow.host='{api.url.replace('http', 'https')}'").runs()
    monkeypatch.setattr("pipeline.cluster.kfp_connection.SECONDS", (1, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match="did not answer within"):
            server(api, f"kubeflow.host='{host}'").runs()


def test_a_certificate_of_one_s_own_authority_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_bytes(self_signed())
    with kfp_server(certificate) as api:
        with pytest.raises(UserError, match=r"cannot be trusted \(.*self-signed.*ca_certificate"):
            server(api).runs()
        assert server(api, f"kubeflow.ca_certificate='{certificate}'").runs() == []
        certificate.write_text("not a certificate")
        with pytest.raises(UserError, match=r"ca_certificate: .* is no certificate"):
            server(api, f"kubeflow.ca_certificate='{certificate}'").runs()


def self_signed() -> bytes:
    """A key and a certificate for this machine, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return written + certificate.public_bytes(pem)


def test_a_certificate_that_is_missing_is_named(api: KfpServer) -> None:
    with pytest.raises(UserError, match=r"nope\.pem is no certificate \(.*No such file"):
        server(api, "kubeflow.ca_certificate='nope.pem'").runs()
