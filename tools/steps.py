"""The steps of the set-up: each a command, and when it fails a sentence that says what to do."""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from tools.environment import ROOT, TOOLS

LOG = TOOLS / "setup.log"
DISK_GB = 5
# What commands print when they fail, and what that means; the first that is found is told.
MEANINGS = [
    (
        ("no space left", "disk quota exceeded"),
        f"the disk is full: free some space (the set-up needs about {DISK_GB} GB) and try again.",
    ),
    (
        ("no_pubkey", "not signed", "missing key", "verification failed"),
        "apt does not know the key of the newer release: bring the system's keys up to date"
        " (Debian: sudo apt update && sudo apt install debian-archive-keyring) and try again.",
    ),
    (
        ("certificate", "unknownissuer"),
        "the certificate of a package index is not trusted here: install ca-certificates, or name"
        " the file with its authority in SSL_CERT_FILE and PIP_CERT, and try again.",
    ),
    (
        ("hash mismatch", "do not match the hashes"),
        "a package is not the one that was locked: try again, and if it stays so do not trust"
        " the index that it came from.",
    ),
    (
        (
            "connection refused",
            "connection reset",
            "connection broken",
            "could not connect",
            "could not resolve",
            "dns error",
            "error sending request",
            "failed to download",
            "failed to establish",
            "failed to fetch",
            "name resolution",
            "network is unreachable",
            "none of the mirrors",
            "timed out",
            "unable to connect",
            "from versions: none",
        ),
        "the network does not answer: check the connection and the proxy (an index of your own is"
        " named in UV_DEFAULT_INDEX and PIP_INDEX_URL) and try again.",
    ),
]


class SetupError(Exception):
    """Something is missing: the message says in a sentence what, and what to do."""


class Steps:
    """Runs commands one after the other, their output in a log; they hold the set-up's lock."""

    def __init__(self, lock: int) -> None:
        """Start an empty log, under the lock that `only_one` gave."""
        self._lock = lock
        LOG.write_bytes(b"")

    def run(
        self,
        title: str,
        command: Sequence[object],
        *,
        shown: bool = True,
        settings: dict[str, str] | None = None,
    ) -> str:
        """Run a command and give what it printed; raise SetupError if it fails.

        Args:
            title: What the command does, for the person who waits.
            command: The program and its arguments.
            shown: Whether the title is worth a line on the terminal.
            settings: Environment variables to set for the command.
        """
        words = [str(word) for word in command]
        with LOG.open("r+b") as log:
            start = log.seek(0, os.SEEK_END)
            log.write(f"$ {' '.join(words)}\n".encode())
            log.flush()
            try:
                process = subprocess.Popen(
                    words,
                    cwd=ROOT,
                    env={**os.environ, **(settings or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[self._lock],
                )
            except OSError as error:
                raise SetupError(f"{title}: {words[0]} does not start ({error}).") from error
            code = wait(process, title if shown else "")
            log.seek(start)
            output = log.read().decode(errors="replace").partition("\n")[2]
        if code:
            raise SetupError(explain(title, output))
        return output


def wait(process: "subprocess.Popen[bytes]", title: str) -> int:
    """Wait for a command, with the seconds beside its title on a terminal; give its exit code."""
    started = time.monotonic()
    live = bool(title) and sys.stdout.isatty()
    if title:
        print(title, end="" if live else " ...\n", flush=True)
    try:
        while True:
            try:
                return process.wait(1)
            except subprocess.TimeoutExpired:
                if live:
                    print(f"\r{title}, {time.monotonic() - started:.0f} s", end="", flush=True)
    finally:
        process.wait()
        if live:
            print(flush=True)


def explain(title: str, output: str) -> str:
    """A sentence on what went wrong and what to do, from what a command printed."""
    lowered = output.lower()
    for signs, meaning in MEANINGS:
        if any(sign in lowered for sign in signs):
            return meaning
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else "it printed nothing"
    return f"{title}: this failed ({last}); all that it printed is in {LOG.relative_to(ROOT)}."


@contextlib.contextmanager
def only_one() -> Iterator[int]:
    """Hold the project's folder for one set-up at a time, waiting while another is at work.

    The lock is on the folder itself, so nothing is left to delete, and it ends with the last
    process that has it: what a killed set-up left running is waited for as well.
    """
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is at work in this folder: waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)
