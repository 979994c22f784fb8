"""The page of one run, as HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from pipeline.report import about, course, decision, judged, predictions, rows, theme, why
from pipeline.report.evidence import Evidence
from pipeline.report.figures import figure, moment

if TYPE_CHECKING:
    from pipeline.lineage import Run

CONTENTS = {
    "why": "Why this run",
    "metrics": "Metrics",
    "candidates": "Candidates",
    "slices": "Slices",
    "predictions": "Predictions",
    "data": "Data",
    "training": "Training",
    "canary": "Canary",
    "timeline": "Timeline",
    "lineage": "Lineage",
    "card": "Model card",
    "versions": "Versions",
}
"""The sections by the ids of their headings, in their order."""


def environment() -> jinja2.Environment:
    """The templates of pages; what they are given is escaped, and must be there."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"figure": figure, "moment": moment}
    return made


def styles() -> Markup:
    """The style sheet of pages, in both themes."""
    loader = jinja2.PackageLoader("pipeline.report", "")
    css, _, _ = loader.get_source(jinja2.Environment(autoescape=True), "page.css")
    return Markup(f"{theme.style(':root')}\n{css}")


def render(run: Run) -> str:
    """The page of a run, whatever became of it.

    What cannot be read any more, as its folder is gone, is left out with a sentence that says so.
    """
    found = Evidence(run)
    there = set(_there(found))
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            found=found,
            contents={id: title for id, title in CONTENTS.items() if id in there},
            left_out=[title for id, title in CONTENTS.items() if id not in there],
            styles=styles(),
            written=datetime.now(UTC),
            decision=decision.decision(found),
            hints=list(decision.hints(found)),
            why=why.why(run),
            metrics=judged.metrics(found),
            candidates=judged.candidates(found),
            margin=judged.margin(found),
            select_confidence=run.config.get("select", {}).get("confidence"),
            slices=judged.slices(found),
            predictions=predictions.predictions(found),
            no_predictions=predictions.why_none(found),
            data=rows.data(found),
            trainings=course.trainings(found),
            unread_trainings=[r.why for r in found.histories.values() if r.why],
            course=course.course(run),
            picture=Markup(found.data_run.picture().svg) if "lineage" in there else "",
            lineage_of=_lineage(found),
            card=about.card(found),
            versions=about.versions(found),
        )
    )


def _there(found: Evidence) -> Iterator[str]:
    """The sections of which the run has made something, be it gone since."""
    yield "why"
    artifacts = {
        "metrics": found.verdict.artifact,
        "candidates": found.selection.artifact,
        "slices": found.verdict.artifact,
        "predictions": found.verdict.artifact,
        "data": found.last("Examples"),
        "training": found.last("ModelRun"),
        "canary": found.canary.artifact,
        "card": found.last("Model"),
    }
    yield from (id for id, artifact in artifacts.items() if artifact is not None)
    if found.data_run.tries:
        yield from ("timeline", "lineage")
    yield "versions"


def _lineage(found: Evidence) -> tuple[str, Markup] | None:
    """The model that was pushed, or else chosen, in words; and where it comes from."""
    model = found.pushed or found.champion
    if model is None:
        return None
    name = model.properties.get("framework") or f"{model.type} {model.id}"
    return str(name), Markup(model.picture().svg)
