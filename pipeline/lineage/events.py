"""Who read and who made what, by numbers: asked of the metadata store in bulk, and remembered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)
MADE = (pb.Event.OUTPUT,)
GIVEN = (pb.Event.OUTPUT, pb.Event.INTERNAL_OUTPUT)
"""A resolver's event is an INTERNAL_OUTPUT: it passes on what others made."""

SHORT_CUTS = ("analyzer_cache",)
"""Inputs that only save time: what was made would be the same without, and does not descend."""

Ids = tuple[int, ...]


@dataclass(slots=True)
class Users:
    """The executions around an artifact, in the order of their numbers."""

    makers: list[int] = field(default_factory=list)
    """Those that had it as an output: found in the cache, too."""
    readers: list[int] = field(default_factory=list)
    heirs: list[int] = field(default_factory=list)
    """Those of the readers whose outputs descend from it."""


class Events:
    """What executions read and gave. Artifacts and executions are meant by their numbers."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._users: dict[int, Users] = {}
        self._of: dict[int, list[pb.Event]] = {}
        self._read: dict[int, Ids] = {}
        self._made: dict[int, Ids] = {}

    def users(self, artifacts: Iterable[int]) -> dict[int, Users]:
        """Who made and who read each artifact."""
        wanted = list(dict.fromkeys(artifacts))
        if unknown := [i for i in wanted if i not in self._users]:
            self._users |= {i: Users() for i in unknown}
            for event in self._store.get_events_by_artifact_ids(unknown):
                users = self._users[event.artifact_id]
                if event.type in MADE:
                    users.makers.append(event.execution_id)
                elif event.type in INPUTS:
                    users.readers.append(event.execution_id)
                    if any(key not in SHORT_CUTS for key, _ in _steps(event)):
                        users.heirs.append(event.execution_id)
            for i in unknown:
                users = self._users[i]
                users.makers = sorted(set(users.makers))
                users.readers = sorted(set(users.readers))
                users.heirs = sorted(set(users.heirs))
        return {i: self._users[i] for i in wanted}

    def ends(self, execution: int, types: Iterable[int]) -> dict[str, Ids]:
        """What an execution read, or gave, by its names, in their order; `load` it before."""
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for event in self._of[execution]:
            if event.type in types:
                for key, index in _steps(event):
                    found[key].append((index, event.artifact_id))
        return {key: tuple(i for _, i in sorted(found[key])) for key in sorted(found)}

    def load(self, executions: Iterable[int]) -> None:
        """Reads the events of executions, those of them that are not known yet."""
        if unknown := [i for i in dict.fromkeys(executions) if i not in self._of]:
            self._of |= {i: [] for i in unknown}
            for event in self._store.get_events_by_execution_ids(unknown):
                self._of[event.execution_id].append(event)

    def read(self, executions: Iterable[int]) -> dict[int, Ids]:
        """What each execution's outputs descend from, once, in the order of its inputs' names."""
        wanted = list(dict.fromkeys(executions))
        self.load(wanted)
        for i in wanted:
            if i not in self._read:
                ends = self.ends(i, INPUTS)
                self._read[i] = once({key: ends[key] for key in ends if key not in SHORT_CUTS})
        return {i: self._read[i] for i in wanted}

    def made(self, executions: Iterable[int]) -> dict[int, Ids]:
        """What each execution made, or found in the cache, in the order of their numbers."""
        wanted = list(dict.fromkeys(executions))
        self.load(wanted)
        for i in wanted:
            if i not in self._made:
                self._made[i] = tuple(e.artifact_id for e in self._of[i] if e.type in MADE)
        return {i: self._made[i] for i in wanted}


def once(ends: Mapping[str, Ids]) -> Ids:
    """Each artifact once, though a node may have it under two names."""
    return tuple(dict.fromkeys(i for ids in ends.values() for i in ids))


def _steps(event: pb.Event) -> Iterator[tuple[str, int]]:
    """The names under which a node has an artifact, with its place among those of the name.

    TFX writes the place as a step of its own.
    """
    key, index = "", 0
    for step in event.path.steps:
        if step.HasField("index"):
            index = step.index
            continue
        if key:
            yield key, index
        key, index = step.key, 0
    yield key, index
