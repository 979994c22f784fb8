"""Reads a pipeline's configuration from TOML and says, in words, what is wrong with one."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config import PROJECT, PipelineConfig
from pipeline.errors import UserError, nearest

DEFAULT = PROJECT / "configs" / "flights.toml"
EXTENDS = "extends"
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
    layers = _layers(file)
    settings: dict[str, Any] = {}
    for _, layer in reversed(layers):
        settings = _merged(settings, layer)
    overridden = [_override(settings, text) for text in overrides]
    try:
        # JSON, because strict validation takes lists and strings for tuples and enums only there.
        return PipelineConfig.model_validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        lines = []
        for details in error.errors():
            key, sentence = _explain(details)
            from_set = any(_within(key, set_key) for set_key in overridden)
            source = "--set" if from_set else _shown(_source(layers, key))
            lines.append(f"{source}: {key}: {sentence}" if key else f"{source}: {sentence}")
        raise UserError("\n".join(lines)) from None


def json_schema() -> str:
    """The JSON schema of a configuration file, for editors that complete and check TOML."""
    schema = PipelineConfig.model_json_schema()
    schema["properties"][EXTENDS] = {
        "type": "string",
        "description": "Another configuration file, beside this one: what it sets holds where this "
        "one says nothing.",
    }
    return json.dumps(schema, indent=2) + "\n"


def _layers(file: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The settings of `file`, then those of the file that it extends, and so on."""
    layers: list[tuple[Path, dict[str, Any]]] = []
    below: Path | None = file
    while below is not None:
        if any(below.resolve() == seen.resolve() for seen, _ in layers):
            raise UserError(f"{_shown(layers[-1][0])}: {EXTENDS}: the files extend one another")
        settings = _read(below)
        base = settings.pop(EXTENDS, None)
        if base is not None and not isinstance(base, str):
            raise UserError(f"{_shown(below)}: {EXTENDS}: expected the name of a file beside it")
        layers.append((below, settings))
        below = below.parent / base if base is not None else None
    return layers


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `above` where both say something; tables are merged key by key."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        merged[key] = value
    return merged


def _source(layers: Sequence[tuple[Path, Mapping[str, Any]]], key: str) -> Path:
    """The file that says most about `key`."""

    def depth(settings: Any) -> int:
        for depth, part in enumerate(key.split(".")):
            if not isinstance(settings, dict) or part not in settings:
                return depth
            settings = settings[part]
        return len(key)

    return max(layers, key=lambda layer: depth(layer[1]))[0]


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
        return key, f"is {shown}; expected one of {', '.join(choices)}{nearest(value, choices)}"
    if kind == "string_pattern_mismatch":
        expected = f"a name that matches {details['ctx']['pattern']}"
    return key, f"is {shown}; expected {expected[0].lower()}{expected[1:]}"


def _unknown_key(location: Sequence[int | str]) -> str:
    *section, name = location
    keys = _keys_of(PipelineConfig, section)
    hint = nearest(str(name), keys)
    return f"unknown key{hint or '; known here: ' + ', '.join(keys)}"


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
