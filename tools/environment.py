"""Where the environment lies and whether it is ready; as a program, exit code 0 if it is."""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
TOOLS = ROOT / ".tools"
STAMP = VENV / "setup.json"
# What can be installed, each with all that is in those before it.
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
# What can be added to each of these, and stays once it is there.
EXTRAS = {name: f"requirements-{name}.lock" for name in ("pytorch", "notebook", "docs")}
# In place of extras: PyTorch, where this machine offers a small build of it.
OFFERED = "--offered"


def read_stamp() -> dict[str, Any] | None:
    """What the last set-up that came to its end wrote; None if nothing that still holds."""
    try:
        stamp: dict[str, Any] = json.loads(STAMP.read_text(encoding="utf-8"))
        base = Path(stamp["python"][0])
        holds = stamp["root"] == str(ROOT) and stamp["python"] == identity(base)
    except (OSError, ValueError, LookupError):
        return None
    return stamp if holds else None


def write_stamp(base: Path, name: str, extras: Iterable[str] = ()) -> None:
    """Note that .venv, made with that Python, holds what that lock and those extras' say."""
    names = list(LOCKS)[: list(LOCKS).index(name) + 1]
    stamp = {
        "root": str(ROOT),
        "python": identity(base),
        "locks": {each: digest(ROOT / LOCKS[each]) for each in names},
        "extras": {each: digest(ROOT / EXTRAS[each]) for each in extras},
    }
    draft = STAMP.with_suffix(".draft")
    draft.write_text(json.dumps(stamp), encoding="utf-8")
    draft.replace(STAMP)


def is_ready(stamp: dict[str, Any] | None, name: str, extras: Iterable[str] = ()) -> bool:
    """Whether .venv holds what the lock of that name says now, and what those extras' say."""
    if stamp is None or stamp["locks"].get(name) != digest(ROOT / LOCKS[name]):
        return False
    return all(is_current(stamp, each) for each in extras)


def is_current(stamp: dict[str, Any], extra: str) -> bool:
    """Whether .venv holds what that extra's lock says now."""
    return extra in EXTRAS and installed(stamp).get(extra) == digest(ROOT / EXTRAS[extra])


def installed(stamp: dict[str, Any] | None) -> dict[str, str]:
    """The extras that .venv holds, each with the digest of the lock that it came from."""
    extras: dict[str, str] = (stamp or {}).get("extras", {})  # older stamps know of none
    return extras


def identity(python: Path) -> list[str | int]:
    """A Python's path, and what changes when another is put in its place."""
    facts = python.stat()
    return [str(python), facts.st_size, facts.st_mtime_ns]


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    name, *extras = sys.argv[1:]
    # what is offered is asked only where an extra is missing
    extras = ["pytorch"] if extras == [OFFERED] else extras
    sys.exit(0 if is_ready(read_stamp(), name, extras) else 1)
