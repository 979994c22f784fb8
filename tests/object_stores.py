"""Object stores for the tests: programs of this machine that stand in for S3 and Google's."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.files import storage

BUCKET = "bucket"
_SECONDS = 60.0


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextlib.contextmanager
def reached(server: Callable[[], AbstractContextManager[dict[str, str]]]) -> Iterator[None]:
    """Has this process, and those it starts, take `server` (`s3` or `gcs`) for the cloud's."""
    with pytest.MonkeyPatch.context() as patch, server() as environment:
        for name, value in environment.items():
            patch.setenv(name, value)
        storage._filesystem.cache_clear()
        yield
        storage._filesystem.cache_clear()


@contextlib.contextmanager
def s3() -> Iterator[dict[str, str]]:
    """A server of S3 with an empty bucket; the environment that leads there."""
    port = free_port()
    program = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1"]
    with _running([*program, "-p", str(port)], port):
        address = f"http://127.0.0.1:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT")).close()
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def gcs() -> Iterator[dict[str, str]]:
    """A server of Google Cloud Storage with an empty bucket; the environment that leads there."""
    port = free_port()
    program = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1"]
    program += ["--in-memory", "--default-bucket", BUCKET]
    with _running([*program, "--port", str(port)], port):
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    """A server in a process of its own, since Arrow may hold this one's interpreter meanwhile."""
    environment = {k: v for k, v in os.environ.items() if k != "STORAGE_EMULATOR_HOST"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as server:
        try:
            _wait_for(server, port)
            yield
        finally:
            server.terminate()


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{server.args!r} did not begin to listen on port {port}")
