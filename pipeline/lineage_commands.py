"""The lineage's command line: `python -m pipeline runs|show|lineage|diff|live|recall`."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.lineage_tables import pairs, print_json, show, table

if TYPE_CHECKING:
    from pipeline.lineage import Artifact, Node, Run, Store
    from pipeline.lineage.drawing import Picture

NEWEST = "newest"
"""Stands for the newest run, in place of its id."""
_RUN_HELP = f"a run's id, or {NEWEST}"
_READERS = 20
"""How many of those who read an artifact a table has: a schema is read in every run."""
_ARTIFACT_HELP = "an artifact's number in the store"
Facts = dict[str, Any]


def add_commands(commands: Any, configured: argparse.ArgumentParser) -> None:
    """Adds the commands that ask the metadata store.

    Args:
        commands: What `add_subparsers` of the main parser gave.
        configured: A parser with the options --config and --set.
    """

    def add(
        name: str,
        run: Callable[[argparse.Namespace], None],
        about: str,
        more: str,
        *,
        drawn: bool = False,
    ) -> Any:
        command = commands.add_parser(name, parents=[configured], help=about, description=more)
        form = command.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print JSON instead of a table")
        if drawn:
            form.add_argument("--picture", metavar="FILE", help="draw it into an SVG file instead")
        command.set_defaults(run=run)
        return command

    command = add("runs", _runs, "list the runs", "List the runs, the newest first.")
    command.add_argument(
        "--limit", type=_count, default=20, metavar="N", help="how many (default: %(default)s)"
    )
    command.add_argument(
        "--span",
        type=_whole,
        metavar="N",
        help="only those on that span, as their own or in their window",
    )

    command = add(
        "show",
        _show,
        "show a run, or an artifact",
        "Show a run with its nodes, or an artifact with those who made and read it.",
        drawn=True,
    )
    command.add_argument("what", metavar="RUN|ARTIFACT_ID", help=f"{_RUN_HELP}; {_ARTIFACT_HELP}")

    command = add(
        "lineage",
        _lineage,
        "show where a model comes from",
        "Show what an artifact was made from, and by which nodes and runs. Models that were live "
        "before end it, as their lineage is their own.",
        drawn=True,
    )
    command.add_argument(
        "artifact",
        nargs="?",
        metavar="ARTIFACT_ID",
        help=f"{_ARTIFACT_HELP} (default: the live model)",
    )
    command.add_argument("--down", action="store_true", help="what was made from it instead")

    command = add(
        "diff",
        _diff,
        "show what changed between two runs",
        "Show what changed from one run to another: result, commit, data, configuration, code, "
        "schema, versions of libraries, metrics.",
    )
    command.add_argument("before", metavar="RUN", help=_RUN_HELP)
    command.add_argument("after", metavar="RUN", help=_RUN_HELP)

    add(
        "live",
        _live,
        "show the live model",
        "Show the live model: its version, run, data, commit, metrics and version in MLflow.",
    )

    command = add(
        "recall",
        _recall,
        "list the models that learned from a span",
        "List the models that learned from a span, or from any artifact, and which are live.",
    )
    of = command.add_mutually_exclusive_group(required=True)
    of.add_argument("span", nargs="?", type=_whole, metavar="SPAN", help="the span's number")
    of.add_argument("--artifact", metavar="ARTIFACT_ID", help=_ARTIFACT_HELP)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, as in 3")
    return int(text)


def _count(text: str) -> int:
    if not _whole(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 or more")
    return int(text)


def _runs(arguments: argparse.Namespace) -> None:
    store, span = _open(arguments), arguments.span
    of_span = (run for run in store if span is None or span in run.spans)
    runs = [run.summary() for run in islice(of_span, arguments.limit)]
    if arguments.json:
        print_json(runs)
        return
    from pipeline.lineage.html import short

    rows = [run | {"commit": short(run["commit"])} for run in runs]
    none = "There is no run yet." if span is None else f"No run was on span {span}."
    show(table(rows) if rows else none)


def _show(arguments: argparse.Namespace) -> None:
    store = _open(arguments)
    of = _artifact if arguments.what.isdecimal() else _run
    if arguments.picture:
        _save(of(store, arguments.what).picture(), arguments.picture)
    elif arguments.what.isdecimal():
        _show_artifact(_artifact(store, arguments.what), as_json=arguments.json)
    else:
        _show_run(_run(store, arguments.what), as_json=arguments.json)


def _save(picture: Picture, file: str) -> None:
    picture.save(file)
    show(f"{picture.title}: drawn in {file}")


def _show_run(run: Run, *, as_json: bool) -> None:
    failed_backfill, decided, deployment = run.failed_backfill, run.retrain_decision, run.deployment
    # Where it failed in a backfill, what there is to see is the backfill's.
    of = failed_backfill or run
    facts = run.summary() | {
        "spans": run.spans,
        "pipeline": run.pipeline,
        "runner": run.runner,
        "failed_in": failed_backfill.id if failed_backfill else None,
        "failure": run.reason,
        "decision": run.decision,
        "backfills": [backfill.id for backfill in run.backfills],
    }
    nodes = [_node_facts(node) for node in of.nodes]
    if as_json:
        facts["started_by"] = decided.facts() if decided else None
        facts["deployment"] = deployment.facts() if deployment else None
        print_json({**facts, "config": run.config, "nodes": nodes})
        return
    if failed_backfill:
        failed = ", ".join(n.name for n in failed_backfill.nodes if n.state == "failed")
        facts["failed_in"] = f"backfill {of.id}: {failed}; its nodes are below (show {of.id})"
    facts["started_by"] = f"decision {decided.id}: {decided.reason}" if decided else None
    columns = ("node", "state", "begun", "seconds")
    rows = [{column: facts[column] for column in columns} for facts in nodes]
    for row, node in zip(rows, of.nodes, strict=True):
        row["gave"] = [f"{artifact.type} {artifact.id}" for artifact in node]
    facts["deployment"] = str(deployment) if deployment else None
    show(pairs(facts), "", table(rows))


def _show_artifact(artifact: Artifact, *, as_json: bool) -> None:
    facts = _artifact_facts(artifact)
    readers = artifact.consumers
    told = readers if as_json else readers[-_READERS:]
    consumers = [{"node": node.name, "run": node.run_id, "state": node.state} for node in told]
    if as_json:
        print_json({**facts, "consumers": consumers})
        return
    properties = facts.pop("properties")
    if producer := artifact.producer:
        facts["producer"] = f"{producer.name} in run {producer.run_id}"
    show(pairs(facts | properties))
    if consumers:
        all_told = len(told) == len(readers)
        last = "" if all_told else f" (the last {len(told)} of {len(readers):,}; --json has all)"
        show(f"\nRead by{last}", table(consumers))


def _lineage(arguments: argparse.Namespace) -> None:
    from pipeline import lineage

    store, given = _open(arguments), arguments.artifact
    artifact = store.live_model() if given is None else _artifact(store, given)
    if arguments.picture:
        _save(artifact.picture(down=arguments.down), arguments.picture)
        return
    if arguments.json:
        near = "children" if arguments.down else "parents"
        reached = lineage.reached(artifact, down=arguments.down)
        print_json([{**_artifact_facts(a), near: [n.id for n in reached[a]]} for a in reached])
        return
    show(lineage.tree(artifact, down=arguments.down))
    # A champion's and a pushed model's alone: others, such as a schema, are only told of with it.
    if "digest" in artifact.properties and (registered := lineage.registration(artifact)):
        name, version = registered
        show(f"In MLflow: {name} version {version} (registry show {version})")


def _diff(arguments: argparse.Namespace) -> None:
    store = _open(arguments)
    before, after = _run(store, arguments.before), _run(store, arguments.after)
    found = before.diff(after)
    if arguments.json:
        changes = [asdict(change) for change in found]
        unread = list(found.unread)
        print_json({"before": before.id, "after": after.id, "changes": changes, "unread": unread})
        return
    rows = [
        {"section": c.section, "what": c.key, before.id: c.before, after.id: c.after} for c in found
    ]
    show(table(rows) if rows else f"Nothing changed from run {before.id} to run {after.id}.")
    for reason in found.unread:
        show(f"Not compared: {reason}")


def _live(arguments: argparse.Namespace) -> None:
    facts = _live_facts(_open(arguments).live_model())
    if arguments.json:
        print_json(facts)
        return
    registered, metrics = facts.pop("mlflow"), facts.pop("metrics")
    facts["MLflow"] = " version ".join(registered.values()) if registered else None
    show(pairs(facts | metrics))


def _recall(arguments: argparse.Namespace) -> None:
    store = _open(arguments)
    if arguments.artifact is None:
        what, sources = f"span {arguments.span}", store.span(arguments.span)
    else:
        artifact = _artifact(store, arguments.artifact)
        what, sources = f"{artifact.type} {artifact.id}", (artifact,)
    models = _models_of(sources)
    if arguments.json:
        print_json(models)
    else:
        show(table(models) if models else f"No model has learned from {what}.")


def _open(arguments: argparse.Namespace) -> Store:
    from pipeline import lineage
    from pipeline.config_file import DEFAULT, load

    return lineage.open(load(arguments.config or DEFAULT, arguments.set))


def _run(store: Store, given: str) -> Run:
    if given != NEWEST:
        return store.run(given)
    for run in store.runs(1):
        return run
    raise UserError("there is no run in the metadata store yet; run the pipeline first")


def _artifact(store: Store, given: str) -> Artifact:
    if not given.isdecimal():
        raise UserError(f"ARTIFACT_ID: {given!r} is not an artifact's number, as in 23")
    try:
        return store.artifact(int(given))
    except UserError as error:
        near = min(store.find(), key=lambda a: abs(a.id - int(given)), default=None)
        raise UserError(f"{error}; the nearest is {near.id}" if near else f"{error}") from None


def _node_facts(node: Node) -> Facts:
    def ids(ends: Mapping[str, Sequence[Artifact]]) -> dict[str, list[int]]:
        return {key: [artifact.id for artifact in artifacts] for key, artifacts in ends.items()}

    return node.facts() | {
        "cached": node.cached,
        "inputs": ids(node.inputs),
        "outputs": ids(node.outputs),
    }


def _artifact_facts(artifact: Artifact) -> Facts:
    producer = artifact.producer
    return {
        "id": artifact.id,
        "type": artifact.type,
        "state": artifact.state,
        "created": artifact.created,
        "uri": artifact.uri,
        "producer": {"node": producer.name, "run": producer.run_id} if producer else None,
        "properties": dict(artifact.properties),
    }


def _live_facts(live: Artifact) -> Facts:
    from pipeline import lineage

    trainers = [model.producer for model in _trained(live) if model.producer]
    registered = lineage.registration(live)
    metrics: dict[str, float | None] = {}
    reason = None
    try:
        metrics = live.metrics()
    except UserError as error:  # The rest is known though its evaluation's folder is gone.
        reason = str(error)
    return {
        "id": live.id,
        "version": live.properties.get("pushed_version"),
        "framework": live.properties.get("framework"),
        "since": live.created,
        "run": live.producer.run_id if live.producer else None,
        "trained": sorted({trainer.run_id for trainer in trainers}),
        "commit": sorted({trainer.run.commit for trainer in trainers} - {""}),
        "spans": live.data_spans(),
        "folder": live.properties.get("pushed_destination"),
        "mlflow": dict(zip(("name", "version"), registered, strict=True)) if registered else None,
        "metrics": metrics,
        "unread": reason,
    }


def _is_trained(artifact: Artifact) -> bool:
    """Whether it is a trainer's model: a champion is a copy, which was made of models."""
    return artifact.type == "Model" and all(p.type != "Model" for p in artifact.parents())


def _trained(pushed: Artifact) -> list[Artifact]:
    """The models that a pushed one is a copy of; several are an ensemble's."""
    champions = pushed.parents()
    near = dict.fromkeys(a for c in champions for a in (c, *c.parents()) if _is_trained(a))
    return [model for model in near if model.uri in _source_uris(pushed)]


def _source_uris(pushed: Artifact) -> list[str]:
    from custom_components.selection import SOURCE_MODEL_URI

    return str(pushed.properties.get(SOURCE_MODEL_URI, "")).splitlines()


def _models_of(sources: Iterable[Artifact]) -> list[Facts]:
    """The trainers' models that learned from `sources`, and where each went live."""
    found = dict.fromkeys(a for source in sources for a in (source, *source.models()))
    pushes: dict[str, list[Artifact]] = defaultdict(list)
    for pushed in found:
        if pushed.properties.get("pushed") == 1:
            for uri in _source_uris(pushed):
                pushes[uri].append(pushed)
    rows = []
    for model in sorted(filter(_is_trained, found), key=lambda a: a.id):
        own = pushes[model.uri]
        is_live = any(pushed.is_live for pushed in own)
        rows.append(
            {
                "id": model.id,
                "node": model.producer.name if model.producer else None,
                "run": model.producer.run_id if model.producer else None,
                "live": "now" if is_live else "before" if own else "never",
                "versions": [pushed.properties.get("pushed_version") for pushed in own],
                "pushed_in": [pushed.producer.run_id for pushed in own if pushed.producer],
            }
        )
    return rows
