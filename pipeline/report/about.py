"""What the page says of the model as a whole, and of the code: the model card, versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from custom_components.evaluator import verdict
from pipeline.lineage import Artifact
from pipeline.report.evidence import Evidence
from pipeline.report.predicted import predicted

_WORDS = {
    "intended_use": "Intended use",
    "out_of_scope": "Not for",
    "data": "Data",
    "limits": "Limits",
    "owners": "Owners",
    "contact": "Contact",
    "licence": "Licence",
}
"""The headings of the configuration's section [card]."""
_KINDS = {
    "numeric": "numeric",
    "log": "logarithmic",
    "categorical": "categorical",
    "cyclical": "cyclical",
    "bucketized": "bucketized",
    "hashed": "hashed",
    "target_encoded": "target-encoded",
    "dates": "date",
    "text": "text",
}
"""The kinds of columns, by their keys in the section [features]."""


@dataclass(frozen=True)
class Card:
    """The model card, after M. Mitchell et al., "Model Cards for Model Reporting", 2019."""

    words: dict[str, str]
    """What people have written, by its heading."""
    model: str
    """Which model the facts are of."""
    standing: str
    """What came of that one, in words; empty if it was put live."""
    predicts: str
    """What it predicts, in words; empty where that was not kept."""
    features: dict[str, tuple[str, ...]]
    """The columns by kind."""
    spans: tuple[int, ...]
    rows: int
    """Rows that it learned from."""
    trained: datetime | None
    metrics: verdict.Metrics


def card(found: Evidence) -> Card | None:
    """The card of the model that the run chose, or else of its best candidate."""
    models = found.run.outputs("Model")
    if not models or found.best is None:
        return None
    config, best = found.run.config, found.best
    learned = models[0].data()
    judged = found.verdict.content
    splits = ("train", "eval") if judged and judged.cross_validation else ("train",)
    producers = [model.producer for model in models if model.producer]
    return Card(
        words=_words(config.get("card") or {}),
        model=best,
        standing=_standing(found),
        predicts=predicted(config.get("features") or {}),
        features=_features(config.get("features") or {}),
        spans=tuple(a.properties["span"] for a in learned if "span" in a.properties),
        rows=sum(a.properties.get(f"rows_{split}", 0) for a in learned for split in splits),
        trained=min((node.changed for node in producers), default=None),
        metrics=judged.models.get(best, {}) if judged else {},
    )


def _standing(found: Evidence) -> str:
    if found.pushed is not None:
        return ""
    return "chosen, not live" if found.champion else "the best candidate, not chosen"


def _words(section: Mapping[str, Any]) -> dict[str, str]:
    said = {
        heading: ", ".join(value) if isinstance(value, list) else str(value)
        for key, heading in _WORDS.items()
        if (value := section.get(key))
    }
    return said


def _features(section: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {kind: tuple(section[key]) for key, kind in _KINDS.items() if section.get(key)}


@dataclass(frozen=True)
class Versions:
    """By what code and with which libraries it was made, and where everything lies."""

    commit: str
    changed: bool
    """Whether files were changed since that commit."""
    image: str
    runner: str
    libraries: dict[str, str]
    config: str
    """As JSON; empty where it was not kept."""
    artifacts: tuple[tuple[str, Artifact], ...]
    """With the node that gave each."""
    registration: Mapping[str, Any]


def versions(found: Evidence) -> Versions:
    """The versions of a run."""
    run = found.run
    outputs = dict.fromkeys(
        (node.name, artifact)
        for node in run.nodes
        for named in node.outputs.values()
        for artifact in named
    )
    provenance = found.bundle.get("provenance", {})
    return Versions(
        commit=run.commit.removesuffix("+"),
        changed=run.commit.endswith("+"),
        image=run.facts.get("image", ""),
        runner=run.runner,
        libraries=dict(provenance.get("versions", {})),
        config=json.dumps(run.config, indent=2, ensure_ascii=False) if run.config else "",
        artifacts=tuple(outputs),
        registration=found.registration.properties if found.registration else {},
    )
