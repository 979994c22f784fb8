"""The pages of the documentation, as a test reads them: blocks of code, and commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.config import PROJECT
from tools.docs_hooks import PAGES

RUN = "sh"
"""The language of a block whose commands a test runs; others are only read."""

_FENCE = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<text>.*?)^```$", re.M | re.S
)
_PROMPTS = (".venv/bin/python ", "make ")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
      page: the file, relative to the project.
      line: the line of the fence.
      language: what stands behind the fence.
      title: the file that it is to be, if it says so.
      text: its lines.
    """

    page: str
    line: int
    language: str
    title: str
    text: str

    def commands(self) -> Iterator[list[str]]:
        """The words of each of the project's own commands, line by line."""
        if self.language in ("", RUN):
            for line in self.text.replace("\\\n", " ").splitlines():
                if line.startswith(_PROMPTS):
                    yield [word for word in shlex.split(line, comments=True) if word != "&"]


def pages() -> list[str]:
    """The files of all pages, in the order of the site's navigation, notebooks left out."""
    # What names Python objects in it is MkDocs' to read.
    text = re.sub(r"!!python\S*( \{.*\})?", "", (PROJECT / "mkdocs.yml").read_text())
    of_page = {page: file for file, page in PAGES.items()}
    files = [of_page.get(page, f"docs/{page}") for page in _leaves(yaml.safe_load(text)["nav"])]
    return [f for f in files if (PROJECT / f).is_file() and not f.startswith("docs/notebooks")]


def _leaves(entries: object) -> Iterator[str]:
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, dict):
        for value in entries.values():
            yield from _leaves(value)
    elif isinstance(entries, list):
        for entry in entries:
            yield from _leaves(entry)


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    text = Path(PROJECT, page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            found["title"] or "",
            found["text"],
        )
        for found in _FENCE.finditer(text)
    ]
