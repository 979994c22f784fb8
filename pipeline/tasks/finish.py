"""Ends a run on a cluster, however it went: keeps the outcome, tells a webhook, leaves a page."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import node
from pipeline.cluster import secrets
from pipeline.errors import UserError
from pipeline.store import connect, decisions, record
from pipeline.store.record import FAILED, SUCCEEDED

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore
    from tfx.proto.orchestration import pipeline_pb2

WEBHOOK_VARIABLE = "PIPELINE_WEBHOOK"
"""Holds a webhook that is secret, in place of --webhook."""
_RESULT = "__execution_result__"
_TRIES, _WAIT_SECONDS, _TIMEOUT_SECONDS = 3, 2.0, 10.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended; where it failed, at which node and why."""

    outcome: str
    failed_node: str = ""
    reason: str = ""
    span: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the module says; 0 even if the run failed, 2 if nobody can say how it went."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.tasks.finish", description=__doc__)
    node.add_arguments(parser)
    parser.add_argument("--webhook", metavar="URL", help=f"or {WEBHOOK_VARIABLE}")
    parser.add_argument("--link", help="the run's page, to tell the webhook")
    arguments = parser.parse_args(argv)
    try:
        secrets.load()
        ir = node.given_pipeline(arguments)
    except UserError as error:
        print(f"finish: {error}", file=sys.stderr)
        return 2
    try:
        outcome, code = _recorded(arguments, ir), 0
    except UserError as error:
        outcome, code = Outcome(FAILED, "", f"the metadata store cannot be asked: {error}"), 2
    at = f" at {outcome.failed_node}" if outcome.failed_node else ""
    print(f"Run {arguments.run_id} {outcome.outcome}{at}. {outcome.reason}".strip())
    webhook = arguments.webhook or os.environ.get(WEBHOOK_VARIABLE)
    if webhook:
        message = {"pipeline": ir.pipeline_info.id, "run_id": arguments.run_id, **vars(outcome)}
        tell(webhook, message | ({"link": arguments.link} if arguments.link else {}))
    if outcome.outcome == FAILED and not code:
        _leave_page(arguments, ir)
    return code


def _recorded(arguments: argparse.Namespace, ir: pipeline_pb2.Pipeline) -> Outcome:
    """How the run ended, which the store keeps as well if it knows the run."""
    connection = connect.connection_to(arguments.store)
    if not connect.exists(connection):
        return Outcome(FAILED, "init", "it did not get to make the store's tables; see its log")
    store = connect.opened(connection)
    facts = record.read(store, arguments.run_id)
    if not facts:
        return Outcome(FAILED, "init", "it did not begin the run; see its log")
    outcome = outcome_of(store, ir, arguments.run_id, facts)
    facts = record.ended(outcome.outcome, failed_node=outcome.failed_node, reason=outcome.reason)
    record.write(store, arguments.run_id, facts)
    if outcome.outcome == SUCCEEDED:  # Of one that failed there may be another try.
        for one in decisions.read(store, ir.pipeline_info.id):
            if (one.state, one.run_id) == (decisions.RUNNING, arguments.run_id):
                decisions.ended(store, one.id, decisions.COMPLETE)
    return outcome


def _leave_page(arguments: argparse.Namespace, ir: pipeline_pb2.Pipeline) -> None:
    """Writes the page of a run that did not come to its report; that it cannot be is no matter."""
    from pipeline import lineage
    from pipeline.report import pages

    root = ir.runtime_spec.pipeline_root.runtime_parameter.default_value.string_value
    try:
        run = lineage.open(arguments.store).run(arguments.run_id)
        print(f"Report: {pages.write(run, root)}")
    except UserError as error:
        print(f"There is no report: {error}")


def outcome_of(
    store: MetadataStore, ir: pipeline_pb2.Pipeline, run_id: str, facts: dict[str, str]
) -> Outcome:
    """How run `run_id` of `ir` ended, by what the store has of its nodes and its backfills."""
    span = facts.get("span", "")
    if not span:  # init records it last.
        reason = facts.get("reason") or "it did not come to its end; see its log"
        return Outcome(FAILED, "init", reason)
    states = ended(store, run_id)
    nodes = [entry.pipeline_node.node_info.id for entry in ir.nodes]
    for node_id in nodes:
        if states.get(node_id, ""):
            return Outcome(FAILED, node_id, states[node_id], span)
    missing = next((node_id for node_id in nodes if node_id not in states), None)
    if not missing:
        return Outcome(SUCCEEDED, span=span)
    # The last one: those before it were refused, with which the backfill goes on.
    for earlier in reversed(json.loads(facts.get("backfill", "[]"))):
        for node_id, reason in ended(store, f"{run_id}-span-{earlier}").items():
            if reason:
                return Outcome(FAILED, f"{node_id} of span {earlier} (backfill)", reason, span)
    return Outcome(FAILED, missing, "it never began; see the log of its task", span)


def ended(store: MetadataStore, run_id: str) -> dict[str, str]:
    """The nodes of a run that began, each with why it failed; empty where it did not."""
    from ml_metadata.proto import metadata_store_pb2 as pb

    run = store.get_context_by_type_and_name(record.RUN, run_id)
    executions = store.get_executions_by_context(run.id) if run else []
    reasons: dict[str, str] = {}
    for execution in sorted(executions, key=lambda execution: execution.id):
        contexts = store.get_contexts_by_execution(execution.id)
        node_id = next(c.name for c in contexts if c.type == "node").partition(".")[2]
        reason = ""
        if execution.last_known_state == pb.Execution.RUNNING:
            reason = "it did not come to its end: its container was stopped, or its time was over"
        elif execution.last_known_state not in (pb.Execution.COMPLETE, pb.Execution.CACHED):
            result = execution.custom_properties[_RESULT].string_value or "{}"
            reason = json.loads(result).get("resultMessage", "") or "see the log of its task"
        reasons[node_id] = reason
    return reasons


def tell(webhook: str, message: dict[str, str]) -> None:
    """Posts `message` as JSON; that it cannot be posted is said, and no more."""
    content = json.dumps(message).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "pipeline"}
    problem = ""
    for attempt in range(_TRIES):
        time.sleep(_WAIT_SECONDS if attempt else 0)
        try:
            request = urllib.request.Request(webhook, content, headers)
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):
                return
        except urllib.error.HTTPError as error:
            problem = f"HTTP status {error.code}"
        except urllib.error.URLError as error:
            problem = str(error.reason)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = type(error).__name__  # Its text may hold the URL.
    # The URL itself may be the secret.
    print(f"warning: the webhook was not told: {problem}")


if __name__ == "__main__":
    sys.exit(main())
