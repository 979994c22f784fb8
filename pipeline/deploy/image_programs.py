"""Programs that are run for images, and what their failures mean to a person."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from collections.abc import Sequence

from pipeline.errors import UserError

_LINES = 8
"""Of what a program printed last, shown with its failure."""
_MEANINGS = {
    r"no space left on device": "the disk is full: free some of it (`docker buildx prune`, "
    "`buildah prune`), or build where there is more",
    r"unauthorized|access denied|permission.*denied on resource|denied:|insufficient_scope"
    r"|no basic auth|\b40[13]\b": "the registry refused: sign in (`docker login HOST`, `buildah "
    "login HOST`, `gcloud auth configure-docker HOST`) as somebody who may read and write there",
    r"cannot overwrite|immutable": "the registry lets no tag be moved, and has this one",
    r"failed to resolve source metadata|creating build container.*initializing source": "the base "
    "image cannot be pulled: see its name (--build-arg BASE_IMAGE=…), and that it can be reached",
    r"connection refused|no such host|i/o timeout|TLS handshake|Temporary failure in name"
    r"|network is unreachable|server gave HTTP response": "it cannot be reached: see the address, "
    "and the network",
    r"operation not permitted|newuidmap|user namespace": "this user may not make containers here: "
    "be root, or set BUILDAH_ISOLATION=chroot",
}


def run(command: Sequence[str], failure: str) -> None:
    """Runs a program whose output goes to stderr, line by line.

    Args:
      command: The program and its arguments; none of them is a secret.
      failure: What it means if it fails, such as `X could not be built`.

    Raises:
      UserError: it is not there, or it failed: with the failure, its reason, and its last lines.
    """
    last: deque[str] = deque(maxlen=_LINES)
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", file=sys.stderr)
                last.append(line.rstrip())
    except FileNotFoundError:
        raise UserError(f"{failure}: {command[0]} is not installed") from None
    if process.returncode:
        raise UserError(_said(failure, command, "\n".join(last)))


def ask(command: Sequence[str], *, absent: Sequence[str] = ()) -> str | None:
    """What a program prints; None if it fails with one of the words that say `not there`.

    Raises:
      UserError: it is not there, or it failed otherwise.
    """
    failure = f"`{' '.join(command[:3])}` failed"
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise UserError(f"{failure}: {command[0]} is not installed") from None
    if done.returncode == 0:
        return done.stdout
    if any(word in done.stderr for word in absent):
        return None
    raise UserError(_said(failure, command, done.stderr.strip()))


def succeeds(command: Sequence[str]) -> bool:
    """Whether a program is there and ends well."""
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _said(failure: str, command: Sequence[str], output: str) -> str:
    meaning = next(
        (text for pattern, text in _MEANINGS.items() if re.search(pattern, output, re.IGNORECASE)),
        f"see what {command[0]} said",
    )
    lines = "\n".join(f"  {line}" for line in output.splitlines()[-_LINES:])
    return f"{failure}: {meaning}\n{lines}"
