"""Which spans lie in a folder of data."""

from __future__ import annotations

import re

from tfx.components.example_gen import utils
from tfx.dsl.io import fileio

from pipeline.data_config import ONLY_SPAN
from pipeline.files import filesystem


def spans_there(folder: str, pattern: str) -> list[str]:
    """What stands in the span's place in the names of the files that are there, sorted.

    Args:
      folder: where to look, absolute or a URL.
      pattern: a glob below it, in which {SPAN} or {SPAN:WIDTH} stands for the span; where it does
        not, all files that match are span 1.
    """
    filesystem.register()
    pattern = re.sub(utils.VERSION_FULL_REGEX, "*", pattern)
    if "{SPAN" not in pattern:
        return [str(ONLY_SPAN)] if fileio.glob(f"{folder.rstrip('/')}/{pattern}") else []
    before, after = re.split(utils.SPAN_FULL_REGEX, pattern, maxsplit=1)[::2]
    base = folder.rstrip("/") + "/"
    name = re.compile(re.escape(base) + _regex(before) + "([^/]*?)" + _regex(after))
    files = fileio.glob(f"{base}{before}*{after}")
    return sorted({found[1] for file in files if (found := name.fullmatch(file))})


def with_span(text: str, span: int) -> str:
    """`text` with the number of the span in the place of {SPAN} or {SPAN:WIDTH}."""
    return re.sub(utils.SPAN_FULL_REGEX, lambda found: f"{span:0{found['width'] or 1}}", text)


def available_spans(folder: str, pattern: str) -> list[int]:
    """The numbers of the spans that are there, in order."""
    return sorted({int(span) for span in spans_there(folder, pattern) if span.isdigit()})


def _regex(glob: str) -> str:
    """What a glob's * and ? match, as a regular expression."""
    return re.escape(glob).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
