"""Where the environment lies and whether it is ready; as a program, exit code 0 if it is."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
TOOLS = ROOT / ".tools"
STAMP = VENV / "setup.json"
# What can be installed, each with all that is in those before it.
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}


def read_stamp() -> dict[str, Any] | None:
    """What the last set-up that came to its end wrote; None if nothing that still holds."""
    try:
        stamp: dict[str, Any] = json.loads(STAMP.read_text(encoding="utf-8"))
        base = Path(stamp["python"][0])
        holds = stamp["root"] == str(ROOT) and stamp["python"] == identity(base)
    except (OSError, ValueError, LookupError):
        return None
    return stamp if holds else None


def write_stamp(base: Path, name: str) -> None:
    """Note that .venv, made with that Python, holds what the lock of that name says."""
    names = list(LOCKS)[: list(LOCKS).index(name) + 1]
    stamp = {
        "root": str(ROOT),
        "python": identity(base),
        "locks": {each: digest(ROOT / LOCKS[each]) for each in names},
    }
    draft = STAMP.with_suffix(".draft")
    draft.write_text(json.dumps(stamp), encoding="utf-8")
    draft.replace(STAMP)


def is_ready(stamp: dict[str, Any] | None, name: str) -> bool:
    """Whether .venv holds what the lock of that name says now."""
    return stamp is not None and stamp["locks"].get(name) == digest(ROOT / LOCKS[name])


def identity(python: Path) -> list[str | int]:
    """A Python's path, and what changes when another is put in its place."""
    facts = python.stat()
    return [str(python), facts.st_size, facts.st_mtime_ns]


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(0 if is_ready(read_stamp(), sys.argv[1]) else 1)
