"""A configuration as TOML, with its reasons as comments."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.init.proposal import Line, Part
from pipeline.init.values import one_line, printable

_WIDTH, _COMMENT = 100, 42
_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


def toml(parts: Sequence[Part], head: Sequence[str]) -> str:
    """The text of the file.

    Args:
        parts: Its sections, the first one without a name.
        head: Comments at its beginning, a line each.
    """
    lines = [printable(line) for line in head]
    for part in parts:
        lines.append("")
        if part.name:
            if part.why:
                lines += _comment(part.why)
            lines.append(f"[{part.name}]")
        for line in part.lines:
            lines += _line(line)
    return "\n".join(lines) + "\n"


def _line(line: Line) -> Iterator[str]:
    key = (
        ".".join(map(_key, line.key.split("."))) if line.key.startswith("csv.") else _key(line.key)
    )
    if isinstance(line.value, Mapping) and line.key in _LISTS:
        yield f"{key} = ["
        for name, why in line.value.items():
            yield from _beside(f"    {_value(name)},", why)
        yield "]"
        return
    value = _value(line.value)
    if len(f"{key} = {value}") > _WIDTH and isinstance(line.value, list):
        yield from _comment(line.why) if line.why else ()
        yield f"{key} = ["
        wrapped = textwrap.wrap(
            ", ".join(map(_value, line.value)) + ",",
            _WIDTH - 4,
            break_long_words=False,
            break_on_hyphens=False,
        )
        # A text with blanks must not be broken inside.
        whole = all(isinstance(item, str) and " " not in item for item in line.value)
        yield from (
            (f"    {row}" for row in wrapped)
            if whole
            else (f"    {_value(item)}," for item in line.value)
        )
        yield "]"
        return
    yield from _beside(f"{key} = {value}", line.why)


_LISTS = ("numeric", "log", "categorical", "target_encoded", "keep")


def _beside(text: str, why: str) -> Iterator[str]:
    """A line with its comment behind it, or above where there is no room."""
    if not why:
        yield text
        return
    why = one_line(why)
    if len(text) < _COMMENT and _COMMENT + len(why) + 2 <= _WIDTH:
        yield f"{text:<{_COMMENT}}# {why}"
    elif len(text) + len(why) + 4 <= _WIDTH:
        yield f"{text}  # {why}"
    else:
        indent = " " * (len(text) - len(text.lstrip()))
        yield from _comment(why, indent)
        yield text


def _comment(why: str, indent: str = "") -> list[str]:
    lead = f"{indent}# "
    return textwrap.wrap(one_line(why), _WIDTH, initial_indent=lead, subsequent_indent=lead)


def _key(name: str) -> str:
    return name if _BARE.match(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
