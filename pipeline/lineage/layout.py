"""Places the nodes of a graph in layers from left to right, so that its edges are easy to follow.

After K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures", IEEE Transactions on Systems, Man, and Cybernetics 11(2), 1981.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import fmean

_TURNS = 25
"""How often the layers are gone through, to the right and to the left in turn."""
_STRAIGHT = 4.0
"""How much more a long edge is to be straight than a box is to be amid its neighbours."""
_LOOSE = 0.01
"""The same of a box without neighbours."""
_LANE = 4.0
"""The height that an edge takes where it passes a layer."""
_STEEP, _WIDEST = 0.15, 3.0
"""The space between layers in parts of what an edge rises there, and in multiples of the least."""

Edge = tuple[str, str]
Point = tuple[float, float]
Rows = list[list[int]]
"""The vertices of each layer from top to bottom: nodes, and edges that pass it."""
Links = dict[int, list[int]]
"""The vertices that are joined to each in the next layer, or in the one before."""


@dataclass(frozen=True)
class Box:
    """A node's place; its top is the less the higher it is."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Where everything is, from (0, 0) to the right and down."""

    boxes: dict[str, Box]
    routes: dict[Edge, tuple[Point, ...]]
    """From the right side of a box to the left side of another; between these come two points for
    each layer that the edge passes, where it enters and where it leaves it."""
    width: float
    height: float


def layered(
    sizes: Mapping[str, tuple[float, float]], edges: Iterable[Edge], *, across: float, down: float
) -> Layout:
    """The layout of a graph: the same for the same graph.

    An edge that others imply, as a → c where a → b → c, is left out, and so is one that closes a
    cycle. A box is as wide as the widest of its layer.

    Args:
      sizes: the nodes' widths and heights.
      edges: from a node to a node.
      across: the least space between two layers.
      down: the least space between two boxes of a layer.
    """
    sources = _sources(sizes, edges)
    layers = _layers(sources)
    number = {name: i for i, name in enumerate(sources)}
    heights = {i: sizes[name][1] for name, i in number.items()}
    rows: Rows = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    linked = {name for b, near in sources.items() for name in (*near, *([b] if near else ()))}
    for name in filter(linked.__contains__, sources):
        rows[layers[name]].append(number[name])
    paths: dict[Edge, list[int]] = {}
    for b, near in sources.items():
        for a in near:
            passed = rows[layers[a] + 1 : layers[b]]
            lanes = range(len(heights), len(heights) + len(passed))
            heights |= dict.fromkeys(lanes, _LANE)
            for row, lane in zip(passed, lanes, strict=True):
                row.append(lane)
            paths[a, b] = [number[a], *lanes, number[b]]
    before: Links = {i: [] for i in heights}
    after: Links = {i: [] for i in heights}
    for one, other in chain.from_iterable(map(pairwise, paths.values())):
        after[one].append(other)
        before[other].append(one)
    rows = _untangled(rows, before, after)
    for name in sources:
        if name not in linked:
            rows[layers[name]].append(number[name])
    middles = _middles(rows, before, after, heights, down)

    widths = [0.0] * len(rows)
    for name, layer in layers.items():
        widths[layer] = max(widths[layer], sizes[name][0])
    lefts = [0.0]
    for row, width in zip(rows, widths, strict=True):
        rise = max((abs(middles[i] - middles[n]) for i in row for n in after[i]), default=0.0)
        lefts.append(lefts[-1] + width + min(max(across, _STEEP * rise), _WIDEST * across))
    boxes = {
        name: Box(lefts[layer], middles[i] - heights[i] / 2, widths[layer], heights[i])
        for (name, layer), i in zip(layers.items(), number.values(), strict=True)
    }
    routes = {}
    for edge, path in paths.items():
        sides = (
            ((lefts[layer], middles[i]), (lefts[layer] + widths[layer], middles[i]))
            for layer, i in enumerate(path, start=layers[edge[0]])
        )
        routes[edge] = tuple(chain.from_iterable(sides))[1:-1]
    right = max((box.left + box.width for box in boxes.values()), default=0.0)
    bottom = max((middles[i] + height / 2 for i, height in heights.items()), default=0.0)
    return Layout(boxes, routes, right, bottom)


def _sources(nodes: Iterable[str], edges: Iterable[Edge]) -> dict[str, list[str]]:
    """Each node's sources, and itself behind all of these."""
    waiting: dict[str, dict[str, None]] = {node: {} for node in nodes}
    for a, b in edges:
        if a != b:
            waiting[b][a] = None
    found: dict[str, list[str]] = {}
    above: dict[str, set[str]] = {}
    while waiting:
        ready = (node for node, near in waiting.items() if near.keys() <= found.keys())
        node = next(ready, next(iter(waiting)))  # In a cycle, the first one does not wait.
        near = [a for a in waiting.pop(node) if a in found]
        implied = set[str]().union(*(above[a] for a in near))
        found[node] = [a for a in near if a not in implied]
        above[node] = implied.union(near)
    return found


def _layers(sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Each node's layer: behind all its sources; if it has none, just before its first target."""
    layers: dict[str, int] = {}
    first: dict[str, int] = {}
    for node, near in sources.items():
        layers[node] = max((layers[a] + 1 for a in near), default=0)
    for node, near in sources.items():
        first |= {a: min(layers[node], first.get(a, layers[node])) for a in near}
    layers |= {a: target - 1 for a, target in first.items() if not sources[a]}
    # Those without any edge fill up the layers that have the least.
    alone = [node for node, near in sources.items() if not near and node not in first]
    held = [0] * max(max(layers.values(), default=-1) + 1, math.isqrt(len(alone)))
    for node in layers.keys() - set(alone):
        held[layers[node]] += 1
    for node in alone:
        layers[node] = held.index(min(held))
        held[layers[node]] += 1
    return layers


def _turns(rows: Rows, before: Links, after: Links) -> Iterable[list[tuple[int, Links]]]:
    """The layers that have one before them and their links to it; then the other way; and so on."""
    right = [(layer, before) for layer in range(1, len(rows))]
    left = [(layer, after) for layer in reversed(range(len(rows) - 1))]
    return (left if turn % 2 else right for turn in range(_TURNS))


def _untangled(rows: Rows, before: Links, after: Links) -> Rows:
    """The rows in an order in which few edges cross: each amid its neighbours, in turn."""
    best, fewest = rows, _crossings(rows, after)
    place = {i: float(k) for row in rows for k, i in enumerate(row)}
    for turn in _turns(rows, before, after):
        rows = list(rows)
        for layer, near in turn:
            centre = {i: fmean([place[n] for n in near[i]] or [place[i]]) for i in rows[layer]}
            rows[layer] = sorted(rows[layer], key=centre.__getitem__)
            place |= {i: float(k) for k, i in enumerate(rows[layer])}
        if (crossings := _crossings(rows, after)) < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(rows: Rows, after: Links) -> int:
    count = 0
    for row, following in pairwise(rows):
        place = {i: k for k, i in enumerate(following)}
        above: list[int] = []
        for i in row:
            ends = [place[n] for n in after[i]]
            count += sum(len(above) - bisect_right(above, end) for end in ends)
            for end in ends:
                insort(above, end)
    return count


def _middles(
    rows: Rows, before: Links, after: Links, heights: Mapping[int, float], down: float
) -> dict[int, float]:
    """How far down each vertex is: amid its neighbours, in turn; the uppermost begins at 0."""
    steps = [[(heights[a] + heights[b]) / 2 + down for a, b in pairwise(row)] for row in rows]
    middles: dict[int, float] = {}
    for row, apart in zip(rows, steps, strict=True):
        middles |= dict(zip(row, _apart([(0.0, 1.0)] * len(row), apart), strict=True))
    weights = {
        i: _STRAIGHT if height == _LANE else 1.0 if before[i] or after[i] else _LOOSE
        for i, height in heights.items()
    }
    # The last turn is to the right, so that what comes one by one is level.
    for turn in _turns(rows, before, after):
        for layer, near in turn:
            wishes = [
                (fmean([middles[n] for n in near[i]] or [middles[i]]), weights[i])
                for i in rows[layer]
            ]
            middles |= dict(zip(rows[layer], _apart(wishes, steps[layer]), strict=True))
    top = min((middles[i] - height / 2 for i, height in heights.items()), default=0.0)
    return {i: middle - top for i, middle in middles.items()}


def _apart(wishes: Sequence[tuple[float, float]], steps: Sequence[float]) -> list[float]:
    """The places nearest to the wished ones, by weighted least squares, that are steps apart.

    By pooling adjacent violators: those that would come too near are moved as one.
    """
    offsets = [0.0]
    for step in steps:
        offsets.append(offsets[-1] + step)
    pools: list[tuple[float, float, int]] = []  # The first one's place, the weight, how many.
    for (wish, weight), offset in zip(wishes, offsets, strict=False):
        place, count = wish - offset, 1
        while pools and pools[-1][0] > place:
            other, more, others = pools.pop()
            place = (place * weight + other * more) / (weight + more)
            weight, count = weight + more, count + others
        pools.append((place, weight, count))
    places = (place for place, _, count in pools for _ in range(count))
    return [place + offset for place, offset in zip(places, offsets, strict=False)]
