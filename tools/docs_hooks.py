"""What MkDocs asks while it builds the site: pages that are made from the code, and links.

The READMEs of the repository are pages of the site too, and the reference is made from the
configuration's schema and the commands' parsers, so that nothing is told twice. A link that leads
to a file that is no page leads to the repository, where mkdocs.yml names one.
"""

from __future__ import annotations

import argparse
import json
import os
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "benchmarks/RESULTS.md": "reference/measured.md",
    "data/README.md": "reference/data.md",
    "deploy/airflow/README.md": "deploy/airflow.md",
    "deploy/cloudbuild/README.md": "deploy/cloudbuild.md",
    "deploy/docker/README.md": "deploy/docker.md",
    "deploy/docker/trainer/README.md": "deploy/trainers.md",
    "deploy/kubernetes/README.md": "deploy/kubernetes.md",
    "deploy/systemd/README.md": "deploy/systemd.md",
    "deploy/terraform/README.md": "deploy/terraform.md",
}
"""Files of the repository that are pages, and where."""

_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that do not lie below docs/."""
    sys.path.insert(0, str(ROOT))  # MkDocs imports this file by its path, and without the others.
    made = {page: (ROOT / file).read_text(encoding="utf-8") for file, page in PAGES.items()}
    made["reference/configuration.md"] = configuration()
    made["reference/commands.md"] = commands()
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files of the repository into links to their pages, or to the repository."""
    there = {page: file for file, page in PAGES.items()}
    source = there.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = _FENCE.split(markdown)
    parts[::2] = [
        _LINK.sub(lambda link: _link(link, source, page, config, files), part)
        for part in parts[::2]
    ]
    return "".join(parts)


def _link(link: re.Match[str], source: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    words, target = link.groups()
    path, _, anchor = target.partition("#")
    if not path or ":" in path:
        return link[0]
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    found = PAGES.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else None)
    if found and files.get_file_from_path(found):
        here = posixpath.dirname(page.file.src_uri)
        return f"[{words}]({posixpath.relpath(found, here)}{'#' * bool(anchor)}{anchor})"
    if not (ROOT / file).exists():
        return link[0]  # MkDocs says that there is no such page.
    if config.repo_url:
        return f"[{words}]({config.repo_url.rstrip('/')}/blob/main/{file})"
    return words if f"`{file}`" == words else f"{words} (`{file}`)"


def configuration() -> str:
    """Every setting, with its type, its default and its meaning."""
    from pipeline.config_file import json_schema

    schema = json.loads(json_schema())
    lines = [
        "# Configuration",
        "",
        "What a TOML file in `configs/` may hold. `python -m pipeline config --config FILE` checks",
        "one and prints all of it, `--set section.key=value` overrides a setting for one command.",
        "",
        *_section("", schema, schema["$defs"]),
    ]
    return "\n".join(lines) + "\n"


def _section(path: str, section: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    """A table of a section's settings, then the sections below it."""
    below = []
    rows = []
    required = section.get("required", ())
    for name, setting in section["properties"].items():
        inner = _inner(setting, known)
        meaning = " ".join(setting.get("description", "").split()).replace("|", "\\|")
        if inner is not None:
            below.append((f"{path}.{name}".lstrip("."), inner, meaning))
            continue
        default = "required" if name in required else f"`{json.dumps(setting.get('default'))}`"
        kind = _kind(setting, known).replace("|", "\\|")
        rows.append(f"| `{name}` | {kind} | {default} | {meaning} |")
    if path:
        yield from [f"## [{path}]", "", " ".join(section.get("description", "").split()), ""]
    if rows:
        yield from [
            "| setting | type | default | meaning |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    for name, inner, meaning in below:
        yield from _section(
            name, inner | {"description": meaning or inner.get("description", "")}, known
        )


def _inner(setting: dict[str, Any], known: dict[str, Any]) -> dict[str, Any] | None:
    """The section that a setting is, if it is one."""
    choices = [setting, *setting.get("anyOf", ()), *setting.get("allOf", ())]
    for choice in choices:
        found: dict[str, Any] = known.get(choice.get("$ref", "").rpartition("/")[2], {})
        if "properties" in found:
            return found
    return None


def _kind(setting: dict[str, Any], known: dict[str, Any]) -> str:
    """The type of a setting in words."""
    if "$ref" in setting:
        return _kind(known[setting["$ref"].rpartition("/")[2]], known)
    if "enum" in setting or "const" in setting:
        return ", ".join(f"`{each}`" for each in setting.get("enum", [setting.get("const")]))
    if "anyOf" in setting:
        kinds = [_kind(each, known) for each in setting["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    match setting.get("type"):
        case "array":
            return f"list of {_kind(setting.get('items', {}), known)}"
        case "object" if isinstance(setting.get("additionalProperties"), dict):
            return f"table of {_kind(setting['additionalProperties'], known)}"
        case "object":
            return ", ".join(f"`{name}`" for name in setting.get("properties", ())) or "table"
        case "number":
            return "number"
        case "integer":
            return "whole number"
        case "boolean":
            return "true or false"
        case _:
            return "text"


def commands() -> str:
    """Every command, with its options, as `--help` prints them."""
    import kubeflow_runner
    import local_runner
    from models import train
    from pipeline.__main__ import parser

    os.environ["COLUMNS"] = "82"
    lines = [
        "# Commands",
        "",
        "`make` alone lists the targets; these are the programs behind them.",
        "",
    ]
    for one in (local_runner.parser(), kubeflow_runner.parser(), parser(), train.parser()):
        lines += _command(one, level=2)
    return "\n".join(lines) + "\n"


def _command(parser: argparse.ArgumentParser, *, level: int) -> Iterator[str]:
    yield from [
        f"{'#' * level} {parser.prog}",
        "",
        "```text",
        parser.format_help().rstrip(),
        "```",
        "",
    ]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in dict.fromkeys(action.choices.values()):
                yield from _command(each, level=min(level + 1, 4))
