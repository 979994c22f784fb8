"""Draws where an artifact comes from, or what came of it, for a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.lineage.artifact import PUSHED_MODEL, REGISTRATION, Artifact

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree


def reached(artifact: Artifact, *, down: bool = False) -> dict[Artifact, tuple[Artifact, ...]]:
    """An artifact's ancestors, or its descendants, with their parents or children.

    They end at models that were live before, whose own lineage is another one: these have none
    here. The artifact itself comes first, then the nearest.
    """
    found: dict[Artifact, tuple[Artifact, ...]] = {}
    generation = [artifact]
    while generation:
        going_on = [a for a in generation if a == artifact or a.type != PUSHED_MODEL]
        reader = artifact._reader
        near = reader.children(going_on) if down else reader.parents(going_on)
        found |= {a: near.get(a.id, ()) for a in generation}
        generation = list(dict.fromkeys(n for ns in near.values() for n in ns if n not in found))
    return found


def tree(artifact: Artifact, *, down: bool = False) -> Tree:
    """`reached` for a terminal: each artifact is told once, where it is nearest."""
    from rich.tree import Tree

    found = reached(artifact, down=down)
    root = Tree(_label(artifact))
    told = {artifact}
    waiting = deque([(artifact, root)])
    while waiting:
        one, branch = waiting.popleft()
        elsewhere = [f"{a.type} {a.id}" for a in found[one] if a in told]
        for near in found[one]:
            if near in told:
                continue
            told.add(near)
            added = branch.add(_label(near))
            waiting.append((near, added))
            if near.type == PUSHED_MODEL and (near.children() if down else near.parents()):
                command = f"lineage {near.id}{' --down' if down else ''}"
                added.add(f"[dim]{command} goes on from here")
        if elsewhere:
            branch.add(f"{', '.join(elsewhere)} [dim](in a branch of this tree)")
    return root


def registration(artifact: Artifact) -> tuple[str, str] | None:
    """The name and the version in MLflow of a pushed model or a champion."""
    for near in (artifact, *artifact.parents()):
        for child in near.children():
            if child.type == REGISTRATION and child.properties.get("model_version"):
                return child.properties["model_name"], child.properties["model_version"]
    return None


def _label(artifact: Artifact) -> Text:
    from rich.text import Text

    facts = [f"{artifact.created.astimezone():%Y-%m-%d %H:%M:%S}", *_facts(artifact.properties)]
    if artifact.producer:
        facts.insert(0, f"{artifact.producer.name} in run {artifact.producer.run_id}")
    return Text.assemble(
        (f"{artifact.type} {artifact.id}", "bold"),
        f"  {', '.join(facts)}\n",
        (artifact.uri, "dim"),
    )


def _facts(properties: Mapping[str, Any]) -> Iterator[str]:
    if "span" in properties:
        yield f"span {properties['span']}"
    for key in sorted(properties, reverse=True):  # rows_train, rows_eval, rows_dropped
        if key.startswith("rows_") and isinstance(properties[key], int) and properties[key]:
            yield f"{properties[key]:,} {key.removeprefix('rows_')} rows"
    if "blessed" in properties and isinstance(properties["blessed"], int):
        yield "blessed" if properties["blessed"] else "not blessed"
    if properties.get("framework"):
        yield str(properties["framework"])
    if "pushed_version" in properties:
        yield f"version {properties['pushed_version']}"
