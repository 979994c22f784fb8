"""The page to try one row: a form made from what the model says that it takes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from models.manifest import Manifest, Type
from pipeline.features_config import Problem
from pipeline.report import theme
from pipeline.serve.folder import Served

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    # The page is whole as it is: it asks nobody but this server.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'",
}
_HINTS: dict[Type, str] = {
    "string": "text",
    "int64": "whole number, required",
    "float64": "whole number",
    "float32": "number",
}
_LINE = 60
"""Characters that a field of one line shows."""


@dataclass(frozen=True)
class Field:
    """An input of the model, as the form shows it.

    Attributes:
      name: the raw column.
      hint: what it holds, in words.
      mode: which keyboard a phone shows.
      example: its value in the example row, empty where that lacks it.
      long: whether that takes more than a line.
      choices: values to offer.
    """

    name: str
    hint: str
    mode: str
    example: str
    long: bool
    choices: tuple[str, ...]


def render(name: str, served: Served | None) -> str:
    """The page.

    Args:
      name: of the model.
      served: the version that answers, if there is one yet.
    """
    model = served.bundle.manifest if served else None
    return _template().render(
        name=name,
        served=served,
        model=model,
        fields=_fields(served) if served else (),
        predicts=_predicts(model) if model else "",
        styles=Markup(theme.style(":root")),
        facts=json.dumps(
            {
                "path": f"/v1/models/{name}:predict",
                "label": model.label if model else "",
                "problem": model.problem if model else "",
                "classes": model.classes if model else (),
            }
        ),
        example=json.dumps({"instances": [model.example]}) if model else "",
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.serve", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _fields(served: Served) -> list[Field]:
    model, row = served.bundle.manifest, served.bundle.manifest.example
    fields = []
    for column, type_ in model.inputs.items():
        text = "" if row[column] is None else str(row[column])
        mode = "text" if type_ == "string" else "decimal"
        long = len(text) > _LINE or "\n" in text
        choices = served.choices.get(column, ())
        fields.append(Field(column, _HINTS[type_], mode, text, long, choices))
    return fields


def _predicts(model: Manifest) -> str:
    if model.problem is Problem.REGRESSION:
        return f"{model.label}, a number"
    if model.problem is Problem.BINARY:
        return (
            f"the probability that {model.label} is {model.classes[1]}, and not {model.classes[0]}"
        )
    return f"which of {len(model.classes)} classes {model.label} is"
