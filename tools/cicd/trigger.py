"""Stands for Cloud Build's trigger: `python -m tools.cicd.trigger FOLDER COMMIT` builds a push.

A checkout of the commit is built by its own cloudbuild.yaml, which the local executor runs. The
commit's folder below FOLDER/builds stays, with what was printed and what came of it beside it.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tools.cicd.remote import MAIN, Build, Remote, environment, git, lend_environment, python

REGISTRY = "registry.example.com/flights"


def main(argv: Sequence[str]) -> int:
    """Build a commit that was pushed; the executor's exit code."""
    folder, commit = argv
    return build(Remote(Path(folder)), commit).code


def build(remote: Remote, commit: str) -> Build:
    """Build a commit in a fresh checkout, and keep what came of it."""
    trigger, started = remote.trigger(), time.monotonic()
    workspace = _checkout(remote, commit)
    if not trigger.has_image:
        stand_in_image(workspace, commit)
    known = {"BRANCH_NAME": MAIN, "TRIGGER_NAME": "post-receive"}
    command = [python(workspace), "-m", "pipeline", "cloudbuild", "run", "cloudbuild.yaml"]
    command += ["--workspace", "."]
    for name, value in {**known, **trigger.substitutions}.items():
        command += ["--substitutions", f"{name}={value}"]
    skip = {*trigger.skip}
    if "scan" not in skip and shutil.which("trivy") is None:
        print("Not scanned: there is no trivy here, which the step `scan` wants.", flush=True)
        skip.add("scan")
    for step in sorted(skip):
        command += ["--skip", step]
    log = workspace.with_suffix(".log")
    code = _run(command, workspace, trigger.environment, log)
    seconds = time.monotonic() - started
    result = Build(commit, code, seconds, str(workspace), str(log))
    workspace.with_suffix(".json").write_text(json.dumps(asdict(result)), encoding="utf-8")
    return result


def stand_in_image(checkout: Path, commit: str) -> str:
    """Write into build/ what `deploy image` would, of an image that nobody has built.

    Returns:
        Its reference, by a digest that is the commit's own.
    """
    digest = f"sha256:{hashlib.sha256(commit.encode()).hexdigest()}"
    facts = {
        "repository": REGISTRY,
        "commit": commit,
        "tag": commit,
        "digest": digest,
        "pushed": False,
        "sbom": None,
        "reference": f"{REGISTRY}@{digest}",
    }
    file = checkout / "build" / "image.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return str(facts["reference"])


def _checkout(remote: Remote, commit: str) -> Path:
    """A fresh checkout of the commit, in a folder of its own."""
    folder = remote.folder / "builds"
    folder.mkdir(exist_ok=True)
    number = 1
    while True:
        workspace = folder / f"{commit[:9]}-{number}"
        try:
            workspace.mkdir()
            break
        except FileExistsError:
            number += 1
    git(workspace, "clone", "--quiet", "--no-checkout", str(remote.bare), ".")
    git(workspace, "checkout", "--quiet", "--detach", commit)
    lend_environment(workspace)
    return workspace


def _run(command: Sequence[str], folder: Path, more: Mapping[str, str], log: Path) -> int:
    """Run a command, what it prints shown and kept; its exit code."""
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            kept.write(line)
            print(line, end="", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
