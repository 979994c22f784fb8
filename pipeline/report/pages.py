"""Writes the pages of runs, and knows where they lie."""

from __future__ import annotations

import uuid
from html import escape
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.lineage import Run

REPORT_FILE = "index.html"
"""The page in the folder of a Report artifact."""
PAGE_FILE = "report.html"
"""The page in the folder of a run."""
INDEX_FILE = "index.html"
"""The page of all runs, beside their folders."""

_WITHOUT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{run}</title>
<h1>Run {run}</h1>
<p>This run has no report: it could not be made ({reason}). The run itself is what it was:
<code>python -m pipeline show {run}</code> tells of it, and <code>python -m pipeline report
{run}</code> tries once more.
</html>
"""


def place(root: str | Path, run_id: str) -> str:
    """Where the page of a run lies that has no Report artifact, or that was asked for later."""
    return f"{root}/runs/{run_id}/{PAGE_FILE}"


def of_all(root: str | Path) -> str:
    """Where the page of all runs lies."""
    return f"{root}/runs/{INDEX_FILE}"


def rendered(run: Run) -> tuple[str, Exception | None]:
    """The run's page; where it cannot be made, one that says so, and the error."""
    from pipeline.report import page

    try:
        return page.render(run), None
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        reason = f"{type(error).__name__}: {first_line}".rstrip(": ")
        return _WITHOUT.format(run=escape(run.id), reason=escape(reason)), error


def write(run: Run, root: str | Path) -> str:
    """Writes the run's page below `root`, a folder or a bucket; where it is.

    Raises:
      UserError: nothing can be written there.
    """
    location = place(root, run.id)
    save(location, rendered(run)[0])
    return location


def save(location: str, text: str) -> None:
    """Writes a page, which is there whole or not at all.

    Raises:
      UserError: nothing can be written there.
    """
    if storage.is_remote(location):
        storage.write(location, text.encode())
        return
    file = Path(location)
    fresh = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None
