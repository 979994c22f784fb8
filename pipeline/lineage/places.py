"""Which node of which run an execution is: what the store tells of one execution at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from pipeline.lineage.run import parent_of
from pipeline.store import record

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.lineage.reader import Reader
    from pipeline.lineage.run import Node, Run

_NODE = "node"
_MANY = 32
"""As many executions of a node were asked for one by one: then all of that node's are, at once."""


class Place(NamedTuple):
    """Where an execution belongs; what is not known is empty."""

    node: str = ""
    """The node's id."""
    run: str = ""
    pipeline: str = ""


class Places:
    """The places of executions, each asked for once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[int, Place] = {}
        self._nodes: dict[int, str] = {}
        """The names of nodes' contexts by execution, where all of a node's were read."""
        self._asked: Counter[int] = Counter()

    def of(self, node: Node) -> Place:
        """The place of an execution."""
        if node.id not in self._known:
            self._known[node.id] = self._of_many(node) or self._of_one(node)
        return self._known[node.id]

    def _of_one(self, node: Node) -> Place:
        contexts = self._reader.store.get_contexts_by_execution(node.id)
        names = {context.type: context.name for context in contexts}
        for context in contexts:
            if context.type == _NODE:
                self._asked[context.id] += 1
                if self._asked[context.id] == _MANY:
                    others = self._reader.executions_of(context.id)
                    self._nodes |= {other.id: context.name for other in others}
        name = names.get(_NODE, "").partition(".")[2]
        return Place(name, names.get(record.RUN, ""), names.get(record.PIPELINE, ""))

    def _of_many(self, node: Node) -> Place | None:
        """The place, as far as it follows from questions about other executions too."""
        if node.id not in self._nodes:
            return None
        begun, runs = self._runs
        last = bisect_right(begun, node.begun) - 1
        # Nearly always it is of the run that began last before it, or the one of that backfill.
        run = runs[last] if last >= 0 else None
        while run and node not in run.tries:
            parent = parent_of(run.id)
            run = self._reader.known_run(parent) if parent else None
        if run is None:
            return None
        pipeline, _, name = self._nodes[node.id].partition(".")
        return Place(name, run.id, pipeline)

    @cached_property
    def _runs(self) -> tuple[list[datetime], list[Run]]:
        """When each run began, and the runs, the oldest first."""
        runs = list(self._reader.runs())[::-1]
        return [run.begun for run in runs], runs
