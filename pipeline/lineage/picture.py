"""Draws a run's nodes, and where an artifact comes from, or what came of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.lineage.artifact import MODEL, PUSHED_MODEL, Artifact
from pipeline.lineage.drawing import Box, Picture, Text, drawn, headline
from pipeline.lineage.layout import Edge
from pipeline.lineage.run import parent_of
from pipeline.lineage.tree import reached
from pipeline.report import theme

if TYPE_CHECKING:
    from pipeline.lineage.run import Node, Run

Near = Mapping[Artifact, Sequence[Artifact]]
"""Artifacts with their parents, or their children."""
Makers = Mapping[int, "Node | None"]
"""The nodes that made artifacts, by the artifacts' ids."""
Groups = dict[str, list[Artifact]]
"""Boxes' names with the artifacts in them."""
Ends = dict[str, dict[str, None]]
"""Boxes' names with those that they are joined to, in a fixed order."""

_MOST = 60
"""Boxes of an artifact's picture; what is farther away is counted only."""
_ALIKE = 3
"""Nodes that did the same for the same ones, up to which each has its own box."""
_MORE = "more"
_STATES = {
    "complete": ("good", "✓", ""),
    "cached": ("muted", "↺", "cached"),
    "failed": ("bad", "✗", "failed"),
    "running": ("warn", "●", "running"),
    "new": ("warn", "●", "running"),
}
"""A state's colour, sign and word; a word is left out where the sign says enough."""


def of_run(run: Run) -> Picture:
    """The nodes of a run from left to right, each with an arrow to those that read what it gave.

    Where it failed in a backfill, these are the backfill's.
    """
    of = run.failed_backfill or run
    nodes = of.nodes
    boxes = {node.name: _node_box(node) for node in nodes}
    if not nodes:
        none, (color, sign, word) = "No node has begun", _STATES.get(run.state, _STATES["running"])
        state = Text(f"{sign} {word or run.state}", color)
        boxes["none"] = Box((headline(none), state), f"{none}. {run.reason}".strip(), color)
    counts = Counter(_STATES.get(node.state, ("", "", node.state))[2] for node in nodes)
    told = ", ".join(f"{count} {state or 'complete'}" for state, count in counts.most_common())
    place = f" in backfill {of.id}" if of != run else ""
    return drawn(
        f"Run {run.id}: {run.state}{place}; nodes: {told or 'none has begun'}",
        "An arrow goes from a node to one that read what it gave.",
        boxes,
        _reads(run, nodes),
    )


def _node_box(node: Node) -> Box:
    color, sign, word = _STATES.get(node.state, ("warn", "?", node.state))
    seconds = "" if node.seconds is None else f"{node.seconds:,.1f} s"
    # How long it took to look into the cache is of no interest.
    state = Text(" ".join(filter(None, (sign, word, "" if node.cached else seconds))), color)
    whole = f"{node.name}: {', '.join(filter(None, (word or 'complete', seconds)))}"
    if node.error:
        whole += f": {node.error}"
    return Box((headline(node.name), state), whole, color)


def _reads(run: Run, nodes: Sequence[Node]) -> Iterator[Edge]:
    """From a node to each that read what it gave, by their names."""
    reader = run._reader
    makes, gives, reads = reader.made(nodes), reader.outputs(nodes), reader.inputs(nodes)
    made: dict[Artifact, str] = {}
    passed: dict[Artifact, list[str]] = defaultdict(list)
    for node in nodes:  # In the order of their begin: nobody read what was not yet there.
        for artifact in _each(reads[node.id]):
            # What another run made came by a resolver; what this one made need not have.
            for giver in [made[artifact]] if artifact in made else passed[artifact]:
                yield giver, node.name
        for artifact in _each(gives[node.id]):
            if artifact in made:
                yield made[artifact], node.name
            elif artifact in makes[node.id]:
                made[artifact] = node.name
            else:
                passed[artifact].append(node.name)


def _each(ends: Mapping[str, Sequence[Artifact]]) -> Iterable[Artifact]:
    return dict.fromkeys(artifact for artifacts in ends.values() for artifact in artifacts)


def of_artifact(artifact: Artifact, *, down: bool = False, depth: int | None = None) -> Picture:
    """What an artifact was made of, or what was made of it: a box for each node with what it made.

    It ends at models that were live before, whose own lineage is another one. Many nodes that did
    the same for the same ones, as those that ingested a window's spans, are one box; in a long
    history, all of a kind are.

    Args:
      artifact: the one that it is about.
      down: what was made of it instead.
      depth: how many generations; None for as many as can be read.
    """
    near = reached(artifact, down=down)
    makers = artifact._reader.producers(near)
    groups = _groups(_within(near, makers, depth), makers)
    shown = {name: groups[name] for name in _nearest(_ends(near, groups)[0])}
    runs: dict[str, str] = {}
    boxes = {}
    for name, artifacts in shown.items():
        nodes = {node.id: node for a in artifacts if (node := makers[a.id])}
        boxes[name] = _artifacts_box(nodes, artifacts, artifact, runs, down=down)
    box_of = {a.id: name for name, artifacts in shown.items() for a in artifacts}
    edges = dict.fromkeys(
        (box_of[a.id], box_of.get(other.id, _MORE))
        for a, others in near.items()
        if a.id in box_of
        for other in others
    )
    hidden = {makers[a.id] or a for a in near if a.id not in box_of}
    if hidden:
        more = f"… and {len(hidden):,} more node{'' if len(hidden) == 1 else 's'}"
        lines = headline(more), Text("farther away, not drawn", "muted")
        boxes[_MORE] = Box(lines, f"{more}, farther away, not drawn", "muted", "many")
    count = f"{len(near) - 1:,} artifact{'' if len(near) == 2 else 's'}"
    return drawn(
        f"{artifact.type} {artifact.id} and the {count} {'made of it' if down else 'behind it'}",
        "A box is a node of a run with what it made; an arrow goes to one that read it.",
        boxes,
        edges if down else [(far, name) for name, far in edges],
    )


def _within(near: Near, makers: Makers, depth: int | None) -> Near:
    """As much of it as was made by nodes that are that many generations away."""
    if depth is None:
        return near
    generation = list(near)[:1]
    found = dict.fromkeys(generation)
    while generation and depth > 0:
        reached = dict.fromkeys(other for a in generation for other in near[a])
        generation = [a for a in reached if a not in found]
        found |= dict.fromkeys(generation)
        depth -= 1
    nodes = {makers[a.id] or a for a in found}
    return {a: others for a, others in near.items() if (makers[a.id] or a) in nodes}


def _groups(near: Near, makers: Makers) -> Groups:
    """The artifacts of each box, the one that all is about in the first."""
    groups: Groups = defaultdict(list)
    kinds: dict[str, tuple[object, ...]] = {}
    for a in near:
        maker = makers[a.id]
        name = f"node {maker.id}" if maker else f"artifact {a.id}"
        groups[name].append(a)
        kinds.setdefault(name, (maker.type,) if maker and len(groups) > 1 else (name,))
    ahead, behind = _ends(near, groups)
    alike = {
        name: (*kinds[name], frozenset(ahead[name]), frozenset(behind[name])) for name in groups
    }
    counts = Counter(alike.values())
    for name, artifacts in groups.items():
        # A node's name is asked for only where it matters, as that takes long.
        if counts[alike[name]] > _ALIKE and (maker := makers[artifacts[0].id]):
            alike[name] = (*alike[name], maker.name)
    groups = _merged(groups, alike)
    return _merged(groups, kinds) if len(groups) > _MOST else groups


def _merged(groups: Groups, kinds: Mapping[str, tuple[object, ...]]) -> Groups:
    """Those of a kind as one, where they are many."""
    same: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name in groups:
        same[kinds[name]].append(name)
    found: Groups = {}
    for names in same.values():
        if len(names) > _ALIKE:
            found[names[0]] = [a for name in names for a in groups[name]]
        else:
            found |= {name: groups[name] for name in names}
    return found


def _ends(near: Near, groups: Groups) -> tuple[Ends, Ends]:
    """The boxes ahead of each, away from the artifact that all is about, and those behind it."""
    box_of = {a.id: name for name, artifacts in groups.items() for a in artifacts}
    ahead: Ends = {name: {} for name in groups}
    behind: Ends = {name: {} for name in groups}
    for name, artifacts in groups.items():
        for other in (other for a in artifacts for other in near[a]):
            far = box_of.get(other.id, name)
            if far != name:
                ahead[name][far] = None
                behind[far][name] = None
    return ahead, behind


def _nearest(ahead: Ends) -> list[str]:
    """The first box and those that are nearest to it, as many as can be read."""
    generation = list(ahead)[:1]
    shown = dict.fromkeys(generation)
    while generation and len(shown) < _MOST:
        reached = dict.fromkeys(far for name in generation for far in ahead[name])
        generation = [name for name in reached if name not in shown][: _MOST - len(shown)]
        shown |= dict.fromkeys(generation)
    return list(shown)


def _artifacts_box(
    nodes: Mapping[int, Node],
    artifacts: Sequence[Artifact],
    about: Artifact,
    runs: dict[str, str],
    *,
    down: bool,
) -> Box:
    """A node with what it made, or several that are alike; `runs` has the runs' colours so far."""
    name, place, stripe = "Made elsewhere", "", "muted"
    if len(nodes) == 1:
        (node,) = nodes.values()
        name, place = node.name, node.run_id
        run = parent_of(place) or place  # A backfill has its run's colour.
        stripe = runs.setdefault(run, theme.SERIES[len(runs) % len(theme.SERIES)])
    elif nodes:
        first, last = (f"{nodes[i].begun.astimezone():%Y-%m-%d}" for i in (min(nodes), max(nodes)))
        # As in 4 Trainer, of whichever frameworks.
        name = f"{len(nodes):,} {nodes[min(nodes)].name.partition('.')[0]}"
        place = first if first == last else f"{first} to {last}"
    lines, told = [headline(name), Text(place, "muted")], []
    by_type: dict[str, list[Artifact]] = defaultdict(list)
    for a in sorted(artifacts, key=lambda a: a.id):
        by_type[a.type].append(a)
    for kind, same in by_type.items():
        facts = list(_facts(same))
        title = f"{kind} {same[0].id}" if len(same) == 1 else f"{len(same):,} {kind}"
        lines += [Text(title, bold=about in same), *facts]
        ids = f" ({same[0].id} to {same[-1].id})" if len(same) > 1 else ""
        told.append(", ".join((f"{title}{ids}", *(fact.words for fact in facts))))
    ends = [a for a in by_type.get(PUSHED_MODEL, ()) if a != about]
    further = any(a.children() if down else a.parents() for a in ends)
    if further:
        told.append(f"lineage {ends[-1].id}{' --down' if down else ''} goes on from there")
    style = "this" if about in artifacts else "many" if len(nodes) > 1 or further else ""
    return Box(lines, f"{name} ({place}): {'; '.join(told)}", stripe, style)


def _facts(artifacts: Sequence[Artifact]) -> Iterator[Text]:
    """What is known of artifacts of one type, a few words for each line."""
    spans = sorted({a.properties["span"] for a in artifacts if "span" in a.properties})
    if len(spans) > 1:
        in_a_row = spans == list(range(spans[0], spans[-1] + 1))
        yield Text(f"spans {spans[0]}-{spans[-1]}{'' if in_a_row else ', not all'}", "muted")
    elif spans:
        yield Text(f"span {spans[0]}", "muted")
    live = [a for a in artifacts if a.type in (MODEL, PUSHED_MODEL) and a.is_live]
    if len(artifacts) == 1:
        properties = artifacts[0].properties
        if properties.get("framework"):
            yield Text(str(properties["framework"]), "muted")
        if properties.get("pushed_version"):
            yield Text(f"version {properties['pushed_version']}", "muted")
        if properties.get("blessed") in (0, 1):
            yield Text("blessed" if properties["blessed"] else "not blessed", "muted")
        if properties.get("pushed") == 0:
            yield Text("not pushed", "muted")
        elif "pushed" in properties and not live:
            yield Text("live before", "muted")
    elif pushed := sum(a.properties.get("pushed") == 1 for a in artifacts):
        yield Text(f"{pushed:,} went live", "muted")
    if live:
        count = f"{len(live)} " if len(artifacts) > 1 else ""
        yield Text(f"★ {count}live", "good", bold=True)
