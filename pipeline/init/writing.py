"""Writes the two files, both or none, and only what loads."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import PROJECT, absolute
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.init.making import Understood
from pipeline.init.proposal import Facts, proposal
from pipeline.init.schema import schema
from pipeline.init.toml import toml

if TYPE_CHECKING:
    from pipeline.sources import Source


def facts_of(
    found: Understood,
    source: Source,
    name: str,
    files: tuple[Path, Path],
    *,
    asked: str,
    frameworks: Sequence[str],
) -> Facts:
    """All that the settings depend on.

    Args:
        found: What was understood.
        source: Where the rows are.
        name: The pipeline's name.
        files: The configuration and the schema.
        asked: The source as it was named: {SPAN} in it stays.
        frameworks: Those to train.
    """
    location = _location(source, asked)
    if found.spelling.missing:
        known = source.location.csv.null_values
        told = list(dict.fromkeys((*known, *found.spelling.missing)))
        location["csv"] = {**location.get("csv", {}), "null_values": told}
    return Facts(
        name=name,
        rows=found.rows,
        spans=found.spans,
        where=source.describe(),
        location=location,
        schema_file=_relative(files[1]),
        columns={n: c for n, c in found.columns.items() if c.guess.is_read},
        label=found.label,
        split=found.split,
        baselines=found.baselines,
        bad_rows=found.bad_rows,
        judging=found.judging,
        deciding=found.deciding,
        frameworks=frameworks,
    )


def _location(source: Source, asked: str) -> dict[str, Any]:
    """The keys of [data] that say where the rows are."""
    location: dict[str, Any] = source.location.settings()
    if "{SPAN" in asked and "pattern" in location:
        parts = asked.split("/")[-1 - location["pattern"].count("/") :]
        location["pattern"] = "/".join(parts)
    return location


def spans_of(source: Source, asked: str) -> int:
    """How many numbers the files' names have in the place of {SPAN}; 1 without it."""
    files, pattern = source.files, _location(source, asked).get("pattern", "")
    before, *after = (
        re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        for part in re.split(r"\{SPAN[^}]*\}", pattern)
    )
    name = re.compile(f"(?:.*/)?{before}([0-9]+){''.join(after)}")
    return max(
        1, len({int(found[1]) for file in files if after and (found := name.fullmatch(file))})
    )


def write(facts: Facts, files: tuple[Path, Path], *, command: str) -> None:
    """Writes the configuration and the schema, each whole.

    Raises:
        UserError: The configuration would not load, or the folder cannot be written to.
    """
    config, schema_file = files
    editors = ["#:schema ./schema.json"] if (config.parent / "schema.json").is_file() else []
    head: Sequence[str] = (
        *editors,
        f"# What `{command}`",
        "# made of the data. Each guess has its reason beside it: edit it, if it is wrong. What",
        "# settings mean, and which there are: pipeline/config.py and the *_config.py beside it.",
    )
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=config.parent, prefix=".init-") as folder:
            new = Path(folder) / config.name, Path(folder) / schema_file.name
            new[0].write_text(toml(proposal(facts), head), encoding="utf-8")
            new[1].write_text(
                schema(facts.columns, facts.label, facts.split, facts.rows), encoding="utf-8"
            )
            _check(new[0])
            new[1].replace(schema_file)
            new[0].replace(config)
    except OSError as error:
        raise UserError(f"{config.parent}: cannot be written to: {error.strerror}") from None


def _check(file: Path) -> None:
    try:
        load(file)
    except UserError as error:
        raise UserError(str(error).replace(str(file), f"what {file.name} would be")) from None


def _relative(file: Path) -> str:
    """A location as a configuration has it: relative to the project where it is below that."""
    file = Path(absolute(str(file.absolute())))
    return str(file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else file)
