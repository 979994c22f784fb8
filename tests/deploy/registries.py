"""Registries of images for tests: a real one, one that refuses, and a Docker that is none."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NEEDED = ("buildah", "skopeo", "docker-registry")


def skip_without_buildah() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Images are pushed where {', '.join(NEEDED)} are: no {missing[0]} here.")
    if os.geteuid() != 0:
        pytest.skip("Images are built by root alone: others need user namespaces.")


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry that keeps its images in a folder; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = folder / "registry.yml"
    settings.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"http: {{addr: {address}}}\n"
        "log: {level: error}\n"
    )
    command = ["docker-registry", "serve", str(settings)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait(address, server)
            yield address
        finally:
            server.kill()


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://{address}/v2/", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "the registry has ended"
            threading.Event().wait(0.05)
    pytest.fail("the registry does not answer")


@contextlib.contextmanager
def refusing(status: int) -> Iterator[str]:
    """A registry that answers every request with that status."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def buildah(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry to which buildah pushes from here; the test is skipped where they are not."""
    skip_without_buildah()
    home = folder / "home"
    for key, value in settings(home).items():
        monkeypatch.setenv(key, value)
    with registry(folder) as address:
        yield address
    # what it unpacks is large, and belongs to several users
    shutil.rmtree(home, ignore_errors=True)


def settings(folder: Path) -> dict[str, str]:
    """The environment in which buildah and skopeo keep to a folder, and speak HTTP to 127.0.0.1."""
    containers = folder / ".config" / "containers"
    containers.mkdir(parents=True)
    (containers / "registries.conf").write_text(
        '[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n'
    )
    (containers / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    storage = containers / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n'
    )
    return {
        "HOME": str(folder),
        "CONTAINERS_STORAGE_CONF": str(storage),
        "BUILDAH_ISOLATION": "chroot",
    }


DOCKER = f"""#!{sys.executable}
import argparse, hashlib, json, os, pathlib, sys

state = pathlib.Path(os.environ["DOCKER_STATE"])
known = {{"builders": [], "tags": {{}}, "calls": []}}
if state.exists():
    known = json.loads(state.read_text())
words = sys.argv[1:]
known["calls"].append(words)

def end(code=0, said=""):
    state.write_text(json.dumps(known))
    print(said, file=sys.stderr if code else sys.stdout)
    sys.exit(code)

if known.get("failure") and words[:2] == ["buildx", known["failure"][0]]:
    end(1, known["failure"][1])
match words:
    case ["version", "--format", "{{{{.Server.Version}}}}"] | ["buildx", "version"]:
        end(0, "29.0")
    case ["buildx", "inspect", name]:
        end(0 if name in known["builders"] else 1, name)
    case ["buildx", "create", "--name", name, "--driver", "docker-container"]:
        known["builders"].append(name)
        end()
    case ["buildx", "imagetools", "inspect", reference, "--format", template]:
        digest = known["tags"].get(reference)
        if template == "{{{{json .SBOM.SPDX}}}}":
            end(0, json.dumps({{"spdxVersion": "SPDX-2.3", "name": "sbom"}}))
        assert template == "{{{{json .Manifest}}}}"
        if digest is None:
            end(1, f"ERROR: {{reference}}: not found")
        end(0, json.dumps({{"mediaType": "…", "digest": digest}}))
    case ["buildx", "build", *rest]:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        for name in ("--progress", "--builder", "--file", "--tag", "--output", "--sbom",
                     "--provenance", "--metadata-file", "--cache-from", "--cache-to"):
            parser.add_argument(name)
        parser.add_argument("--build-arg", action="append", default=[])
        parser.add_argument("--secret", action="append", default=[])
        parser.add_argument("context", type=pathlib.Path)
        given = parser.parse_args(rest)
        assert given.builder in known["builders"] and pathlib.Path(given.file).is_file()
        content = [f.read_bytes() for f in sorted(given.context.rglob("*")) if f.is_file()]
        digest = "sha256:" + hashlib.sha256(b"".join(content)).hexdigest()
        facts = json.dumps({{"containerimage.digest": digest}})
        pathlib.Path(given.metadata_file).write_text(facts)
        if given.output == "type=image,push=true":
            known["tags"][given.tag] = digest
        end(0, "#1 done")
    case _:
        end(125, f"docker: unknown command: {{words}}")
"""
"""Stands in for Docker's command line: takes what it has, and no other option."""
