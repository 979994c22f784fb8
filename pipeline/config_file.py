"""Reads a pipeline's configuration from TOML and says, in words, what is wrong with one."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config import PROJECT, PipelineConfig
from pipeline.errors import UserError

DEFAULT = PROJECT / "configs" / "flights.toml"
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": 'a string, as in "text"',
    "bool_type": "true or false",
    "tuple_type": 'a list, as in ["a", "b"]',
    "dict_type": "a table of keys and values",
    "model_type": "a section, as in [section] with keys below it",
    "finite_number": "a finite number",
}


def load(file: Path = DEFAULT, overrides: Iterable[str] = ()) -> PipelineConfig:
    """The configuration in `file`, after `overrides` such as "data.window=3".

    Raises:
      UserError: the file cannot be read, or it or an override is not a valid configuration; the
        message names each key, what is wrong with it and what would be right.
    """
    settings = _read(file)
    overridden = [_override(settings, text) for text in overrides]
    try:
        # JSON, because strict validation takes lists and strings for tuples and enums only there.
        return PipelineConfig.model_validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        lines = []
        for details in error.errors():
            key, sentence = _explain(details)
            from_set = any(_within(key, set_key) for set_key in overridden)
            source = "--set" if from_set else _shown(file)
            lines.append(f"{source}: {key}: {sentence}" if key else f"{source}: {sentence}")
        raise UserError("\n".join(lines)) from None


def json_schema() -> str:
    """The JSON schema of a configuration file, for editors that complete and check TOML."""
    return json.dumps(PipelineConfig.model_json_schema(), indent=2) + "\n"


def _shown(file: Path) -> str:
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(f"configs/{f.name}" for f in DEFAULT.parent.glob("*.toml")))
        raise UserError(f"{_shown(file)}: no such configuration file; there are: {there}") from None
    except IsADirectoryError:
        raise UserError(f"{_shown(file)}: is a folder; name a TOML file in it") from None
    except PermissionError:
        raise UserError(f"{_shown(file)}: may not be read; check its permissions") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{_shown(file)}: byte {error.start} is not UTF-8; save the file in that encoding"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{_shown(file)}: not valid TOML: {error}") from None


def _override(settings: dict[str, Any], text: str) -> str:
    """Sets in `settings` what `text` ("section.key=value") says, and gives back its key."""
    key, equals, value = text.partition("=")
    key = key.strip()
    parts = key.split(".")
    if not equals or not all(parts):
        raise UserError(
            f"--set {text}: expected section.key=value, as in --set data.window=3 "
            "or --set 'train.keras.hidden_units=[64, 32]'"
        )
    section: Any = settings
    for depth, part in enumerate(parts[:-1], start=1):
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise UserError(
                f"--set {text}: {'.'.join(parts[:depth])} is a value, not a section: "
                "it has no keys below it"
            )
    section[parts[-1]] = _parse_value(value.strip())
    return key


def _parse_value(text: str) -> Any:
    """`text` as a TOML value, or as a string where it is none, so that quotes may be left out."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _within(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _explain(details: ErrorDetails) -> tuple[str, str]:
    """The dotted key of a validation error, and a sentence on it."""
    location = [part for part in details["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in location)
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        return key, _unknown_key(location)
    if kind == "missing":
        return key, "is missing and has no default; add it"
    if kind == "json_invalid":
        return key, "holds a number that is not finite (nan or inf)"
    if kind == "value_error":
        return key, str(details["ctx"]["error"])
    shown = json.dumps(value, default=str)
    if kind in _EXPECTED:
        return key, f"is {shown}; expected {_EXPECTED[kind]}"
    expected = details["msg"].removeprefix("Input should be ").removeprefix("Input should have ")
    if kind in ("enum", "literal_error") and isinstance(value, str):
        choices = str(details["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return key, f"is {shown}; expected one of {', '.join(choices)}{_nearest(value, choices)}"
    if kind == "string_pattern_mismatch":
        expected = f"a name that matches {details['ctx']['pattern']}"
    return key, f"is {shown}; expected {expected[0].lower()}{expected[1:]}"


def _unknown_key(location: Sequence[int | str]) -> str:
    *section, name = location
    keys = _keys_of(PipelineConfig, section)
    hint = _nearest(str(name), keys)
    return f"unknown key{hint or '; known here: ' + ', '.join(keys)}"


def _nearest(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _keys_of(model: type[BaseModel], section: Sequence[int | str]) -> list[str]:
    """Names of the settings in a section of `model`, found by walking its JSON schema."""
    schema = model.model_json_schema()
    node: Mapping[str, Any] = schema
    for part in section:
        node = _resolve(schema, node)
        below = node.get("properties", {}).get(part) or node.get("additionalProperties")
        node = below or node.get("items", {}) if isinstance(part, str) else node.get("items", {})
    return list(_resolve(schema, node).get("properties", {}))


def _resolve(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in node:
        target: Mapping[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return target
    return node
