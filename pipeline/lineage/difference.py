"""What changed from one run to another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.lineage import html
from pipeline.lineage.artifact import EVALUATION, EXAMPLES, MODEL, Artifact

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.lineage.compared import Changes
    from pipeline.lineage.described import Statistics
    from pipeline.lineage.run import Node, Run

_CODE = "code_digest"
_DIGITS = 12
_BUNDLE = "Format-Serving/bundle.json"

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One thing that is not the same."""

    section: str
    """"result", "commit", "data", "config", "code", "statistics", "schema", "versions" or
    "metrics"."""
    key: str
    before: Any
    """None where it was not there."""
    after: Any
    """None where it is not there any more."""


@dataclass(frozen=True, repr=False)
class Difference:
    """What changed from run `before` to run `after`; iterate over it for the changes."""

    before: Run
    after: Run
    changes: tuple[Change, ...]
    unread: tuple[str, ...] = ()
    """Why there is no saying whether some of it changed, a sentence each."""

    def section(self, name: str) -> tuple[Change, ...]:
        """The changes of a section, as in "config"."""
        return tuple(change for change in self.changes if change.section == name)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def frame(self) -> pd.DataFrame:
        """The changes as a table, a row for each."""
        import pandas as pd

        columns = ["section", "key", "before", "after"]
        return pd.DataFrame([asdict(change) for change in self.changes], columns=columns)

    def __repr__(self) -> str:
        counts = {change.section: len(self.section(change.section)) for change in self.changes}
        told = ", ".join(f"{section} {count}" for section, count in counts.items())
        return f"<Difference from {self.before.id} to {self.after.id}: {told or 'none'}>"

    def _repr_html_(self) -> str:
        title = html.facts(f"From run {self.before.id} to run {self.after.id}", {})
        return title + html.table([asdict(change) for change in self.changes])


def difference(before: Run, after: Run) -> Difference:
    """What changed from run `before` to run `after`.

    Where both runs have kept their configuration, that is compared; else their nodes' parameters.
    Of the nodes, those are compared that ran in both. The statistics, the schema, the libraries'
    versions and the metrics are read from the artifacts' files. Of the statistics, the rows of each
    split are compared, and what was counted of a feature in the first one, if it moved noticeably
    (`compared` says what that is).
    """
    changes: list[Change] = []
    unread: list[str] = []
    kept = before.config and after.config
    settings = _of(_config) if kept else _of_nodes(_settings)
    comparisons: dict[str, Callable[[Run, Run], Changes]] = {
        "result": _of(_result),
        "commit": _of(lambda run: {"commit": run.commit or None}),
        "data": _of(_data),
        "config": settings,
        "code": _of_nodes(_code),
        "statistics": _statistics,
        "schema": _schema,
        "versions": _of_first(MODEL, _versions),
        "metrics": _of_first(EVALUATION, _metrics),
    }
    for section, compare in comparisons.items():
        try:
            for change in compare(before, after):
                changes.append(Change(section, *change))
        except UserError as error:
            unread.append(f"{section}: {error}")
    return Difference(before, after, tuple(changes), tuple(unread))


def _of(question: Callable[[Run], Facts]) -> Callable[[Run, Run], Changes]:
    """Compares the answers to a question."""
    return lambda before, after: _changes(question(before), question(after))


def _of_nodes(question: Callable[[Node], Facts]) -> Callable[[Run, Run], Changes]:
    """Compares the answers of the nodes that ran in both runs; then says which did in one alone."""

    def compare(before: Run, after: Run) -> Changes:
        old, new = (_by_node(question, run) for run in (before, after))
        for name in old:
            if name in new:
                yield from _changes(old[name], new[name])
        alone = [
            f"{', '.join(missing)} did not run in run {run.id}"
            for run, theirs, others in ((before, old, new), (after, new, old))
            if (missing := [name for name in others if name not in theirs])
        ]
        if alone:
            raise UserError("; ".join(alone))

    return compare


def _by_node(question: Callable[[Node], Facts], run: Run) -> dict[str, Facts]:
    """The answers of the nodes that have one."""
    return {node.name: found for node in run.nodes if (found := question(node))}


def _changes(before: Facts, after: Facts) -> Changes:
    for key in dict.fromkeys((*before, *after)):
        if before.get(key) != after.get(key):
            yield key, before.get(key), after.get(key)


def _result(run: Run) -> Facts:
    champion = run.champion
    return {
        "state": run.state,
        "champion": champion.properties.get("framework") if champion else None,
    }


def _data(run: Run) -> Facts:
    """The artifacts by the spans that the run ingested or trained on."""
    found: dict[str, str] = {}
    models = run.outputs(MODEL)
    learned_from = models[0].data() if models else ()
    examples = run.outputs(EXAMPLES)
    ingested = [a for a in examples if all(p.type != EXAMPLES for p in a.parents())]
    for artifact in (*learned_from, *ingested):
        found[f"span {artifact.properties.get('span', '?')}"] = f"{artifact.type} {artifact.id}"
    return found


def _config(run: Run) -> Facts:
    return dict(_flat(run.config))


def _settings(node: Node) -> Facts:
    settings = dict(_flat(_maker(node).settings, f"{node.name}."))
    settings.pop(f"{node.name}.{_CODE}", None)
    return settings


def _maker(node: Node) -> Node:
    """Who made the node's outputs: a node that found them knows its settings but in part."""
    outputs = [a for artifacts in node.outputs.values() for a in artifacts] if node.cached else []
    return (outputs[0].producer if outputs else None) or node


def _code(node: Node) -> Facts:
    """The digest, which is of the node's code and of its settings."""
    return {node.name: str(node.settings[_CODE])[:_DIGITS]} if _CODE in node.settings else {}


def _statistics(before: Run, after: Run) -> Changes:
    from pipeline.lineage import compared

    old, new = _both(before, after, "ExampleStatistics")
    if old == new or not (old and new):
        return
    was, now = _splits(old), _splits(new)
    yield from _changes(*({f"rows of {s.split}": s.rows for s in splits} for splits in (was, now)))
    yield from compared.statistics(was[0], now[0])


def _splits(artifact: Artifact) -> list[Statistics]:
    """The statistics of each split."""
    first = artifact.statistics()
    return [first, *(artifact.statistics(name) for name in first.splits if name != first.split)]


def _schema(before: Run, after: Run) -> Changes:
    from pipeline.lineage import compared

    old, new = _both(before, after, "Schema")
    if old != new and old and new:
        yield from compared.schema(old.schema(), new.schema())


def _both(before: Run, after: Run, kind: str) -> tuple[Artifact | None, Artifact | None]:
    """The first artifact of a type of each run; None if neither has one.

    Raises:
      UserError: one of them alone has.
    """
    old, new = _first(before, kind), _first(after, kind)
    if (old is None) != (new is None):
        raise UserError(f"run {(before if old is None else after).id} has made no {kind}")
    return old, new


def _of_first(kind: str, question: Callable[[Artifact], Facts]) -> Callable[[Run, Run], Changes]:
    """Compares what is said of the first artifact of a type of each run."""

    def compare(before: Run, after: Run) -> Changes:
        old, new = _both(before, after, kind)
        if old and new:
            yield from _changes(question(old), question(new))

    return compare


def _versions(model: Artifact) -> Facts:
    bundle = json.loads(model.read(_BUNDLE))
    return dict(bundle.get("provenance", {}).get("versions", {}))


def _metrics(evaluation: Artifact) -> Facts:
    return {
        f"{name}.{metric}": value
        for name, metrics in evaluation.verdict().models.items()
        for metric, value in metrics.items()
    }


def _first(run: Run, kind: str) -> Artifact | None:
    return next(iter(run.outputs(kind)), None)


def _flat(content: Facts, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested settings by their dotted names; a text may be JSON, and nested too."""
    for key, value in content.items():
        inner = _parsed(value)
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            pass
    return value
